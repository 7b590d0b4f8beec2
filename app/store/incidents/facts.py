"""Read the facts from which incidents are computed: requests, waiting events, dead letters, workers.

A statement costs some index probes per destination, regardless of the backlog. For an idle destination it
costs one probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.incidents.alerting import AlertingRow, alerting_row
from app.store.rows import fetch_only, read_row
from app.store.sql import read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class WatchedDestination:
    """A destination, the state of its lane, and its alerting settings.

    `no_token_since` is the expiry of an access token whose refresh was tried, but did not succeed.
    """

    number: DestinationNumber
    id: str
    organisation: str
    lane: int
    sign_in_reason: str | None
    breaker: str
    is_blocked: bool
    is_paused: bool
    no_token_since: datetime | None
    alerting: AlertingRow


async def watched(connection: PipelineConnection) -> list[WatchedDestination]:
    """Return every destination of all organisations, without archived ones."""
    rows = await connection.fetch(SQL["watched"])
    return [read_row(WatchedDestination, row, alerting=alerting_row(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The requests, waiting events and open dead letters of one destination.

    `requests` and `failed` count the requests with a result within the window of the incident `failing`.
    `silent_since` is the start of the oldest request without a response since the newest response.
    """

    number: DestinationNumber
    requests: int = 0
    failed: int = 0
    last_outcome: str | None = None
    last_status: int | None = None
    success_at: datetime | None = None
    unanswered_since: datetime | None = None
    silent_since: datetime | None = None
    oldest_live_at: datetime | None = None
    oldest_waiting_at: datetime | None = None
    dead_open: int = 0
    oldest_dead_at: datetime | None = None


async def delivery(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, DeliveryFacts]:
    """Return the facts of these destinations by number.

    `windows` has the window of the incident `failing` for each destination, in seconds.
    """
    facts: dict[DestinationNumber, dict[str, Any]] = {number: {"number": number} for number in numbers}
    for rows in (
        await connection.fetch(SQL["requests"], list(numbers), list(windows)),
        await connection.fetch(SQL["waiting"]),
        await connection.fetch(SQL["dead"]),
    ):
        for row in rows:
            if row["number"] in facts:  # other destinations are archived
                facts[row["number"]] |= dict(row)
    return {number: DeliveryFacts(**values) for number, values in facts.items()}


_TODAY = "(now() AT TIME ZONE 'UTC')::date"


@dataclass(frozen=True, slots=True)
class ExpiringEvents:
    """The number of waiting events of a destination that expire soon.

    `first_event_at` is the oldest time of an event. `since` is the earliest time of acceptance.
    """

    events: int
    first_event_at: datetime
    since: datetime


async def expiring(
    connection: PipelineConnection, *, before: datetime
) -> dict[DestinationNumber, ExpiringEvents]:
    """Return the waiting events whose time is before `before`, by destination."""
    rows = await connection.fetch(SQL["expiring"], before)
    return {DestinationNumber(row["destination"]): read_row(ExpiringEvents, row) for row in rows}


@dataclass(frozen=True, slots=True)
class WaitingFacts:
    """The number of waiting events of a destination, and the time of the oldest of them."""

    events: int
    first_event_at: datetime | None


async def waiting_events(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, WaitingFacts]:
    """Return the waiting events of each of these destinations. A long queue is counted in part."""
    rows = await connection.fetch(SQL["waiting_events"], list(numbers))
    return {DestinationNumber(row["number"]): read_row(WaitingFacts, row) for row in rows}


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Whether a worker owns a lane now, the latest end of any lease, and the oldest sendable batch.

    `oldest_sendable_at` is the time at which the oldest sendable batch was accepted.
    """

    is_leased: bool
    lapsed_at: datetime | None
    oldest_sendable_at: datetime | None


async def workers(connection: PipelineConnection) -> WorkerFacts:
    """Return whether a worker owns a lane, and how long sendable batches have waited."""
    return await fetch_only(connection, WorkerFacts, SQL["workers"])
