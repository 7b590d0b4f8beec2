"""Read facts about processes, lanes and the database for the console's system page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.store import PipelineConnection, fetch_only, fetch_rows, read_sql
from app.store.lanes import WORKER_LOCKS

SQL: Final = read_sql(__file__)

_MAX_COUNTED: Final = 50_000  # batches, and events that are retried separately


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The database and its sessions. `workers` is the number of running worker processes."""

    version: str
    size_bytes: int
    connections: int
    max_connections: int
    fsync: bool
    synchronous_commit: bool
    started_at: datetime
    now: datetime
    revision: str | None
    workers: int


@dataclass(frozen=True, slots=True)
class ProcessRole:
    """The database sessions of all processes with one role, such as `api` or `worker`."""

    role: str
    sessions: int
    active: int
    since: datetime


@dataclass(frozen=True, slots=True)
class WorkerLanes:
    """The number of lanes that a worker owns, and their state. `owner` is None for lanes without an owner."""

    owner: str | None
    lanes: int
    blocked: int
    breakers_open: int
    leased_until: datetime | None


async def database(connection: PipelineConnection) -> DatabaseFacts:
    """Return the facts about the database and its sessions."""
    return await fetch_only(connection, DatabaseFacts, SQL["database"], WORKER_LOCKS)


async def processes(connection: PipelineConnection, prefix: str) -> list[ProcessRole]:
    """Return the sessions by role. The application name of a session is `prefix` followed by the role."""
    return await fetch_rows(connection, ProcessRole, SQL["processes"], prefix)


async def lanes_by_worker(connection: PipelineConnection) -> Sequence[WorkerLanes]:
    """Return the lanes of the acting organisation's destinations by worker, the largest number first."""
    return await fetch_rows(connection, WorkerLanes, SQL["lanes_by_worker"])


@dataclass(frozen=True, slots=True)
class WaitingEvents:
    """The number of accepted events without a final state. With `is_least`, it is a lower bound."""

    events: int
    is_least: bool


async def waiting_events(connection: PipelineConnection) -> WaitingEvents:
    """Count the waiting events of the acting organisation, in a limited number of batches."""
    return await fetch_only(connection, WaitingEvents, SQL["waiting_events"], _MAX_COUNTED)
