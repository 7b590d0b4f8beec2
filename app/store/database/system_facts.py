"""Read facts about processes, lanes and the database for the console's system page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.store import PipelineConnection
from app.store.lanes import WORKER_LOCKS
from app.store.rows import read_row

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
    row = await connection.fetchrow(
        """
        SELECT current_setting('server_version') AS version,
          pg_database_size(current_database()) AS size_bytes,
          (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())::int AS connections,
          current_setting('max_connections')::int AS max_connections,
          current_setting('fsync') = 'on' AS fsync,
          current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
          pg_postmaster_start_time() AS started_at, clock_timestamp() AS now,
          (SELECT max(version_num) FROM alembic_version) AS revision,
          -- Every worker holds this lock while it runs.
          (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
             AND classid::bigint = $1 AND objid::bigint = 0
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))::int AS workers
        """,
        WORKER_LOCKS,
    )
    assert row is not None
    return read_row(DatabaseFacts, row)


async def processes(connection: PipelineConnection, prefix: str) -> list[ProcessRole]:
    """Return the sessions by role. The application name of a session is `prefix` followed by the role."""
    rows = await connection.fetch(
        """
        SELECT substr(application_name, length($1::text) + 1) AS role, count(*)::int AS sessions,
          count(*) FILTER (WHERE state = 'active')::int AS active, min(backend_start) AS since
        FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1::text)
        GROUP BY 1 HAVING min(backend_start) IS NOT NULL ORDER BY 1
        """,
        prefix,
    )
    return [read_row(ProcessRole, row) for row in rows]


async def lanes_by_worker(connection: PipelineConnection) -> Sequence[WorkerLanes]:
    """Return the lanes of the acting organisation's destinations by worker, the largest number first."""
    rows = await connection.fetch(
        """
        SELECT CASE WHEN l.leased_until > now() THEN l.owner END AS owner, count(*)::int AS lanes,
          count(*) FILTER (WHERE l.blocked_until > now())::int AS blocked,
          count(*) FILTER (WHERE l.breaker <> 'closed')::int AS breakers_open,
          max(l.leased_until) AS leased_until
        FROM lanes l WHERE EXISTS (SELECT FROM destinations d WHERE d.lane = l.id
          AND d.organisation_id = acting_organisation() AND d.archived_at IS NULL)
        GROUP BY 1 ORDER BY count(*) DESC LIMIT 50
        """
    )
    return [read_row(WorkerLanes, row) for row in rows]


@dataclass(frozen=True, slots=True)
class WaitingEvents:
    """The number of accepted events without a final state. With `is_least`, it is a lower bound."""

    events: int
    is_least: bool


async def waiting_events(connection: PipelineConnection) -> WaitingEvents:
    """Count the waiting events of the acting organisation, in a limited number of batches."""
    row = await connection.fetchrow(
        """
        SELECT coalesce(sum(events), 0)::bigint AS events, count(*) >= $1 AS is_least FROM (
          (SELECT s.events FROM batch_states s JOIN destinations d ON d.number = s.destination
           WHERE s.settled_at IS NULL AND s.events > 0 AND d.organisation_id = acting_organisation()
           LIMIT $1)
          UNION ALL
          -- Events that are retried separately from their batch.
          (SELECT 1 FROM exceptions e JOIN destinations d ON d.number = e.destination
           WHERE e.status = 'retrying' AND d.organisation_id = acting_organisation()
           LIMIT $1)) AS waiting
        """,
        _MAX_COUNTED,
    )
    assert row is not None
    return WaitingEvents(row["events"], row["is_least"])
