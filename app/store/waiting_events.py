"""Waiting events: read their ages and the rates of destinations for the metrics, and discard them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.domain.ids import DestinationNumber, OrganisationId
from app.store import PipelineConnection, callbacks, counts, fetch_rows, read_sql
from app.store.counts import CountDelta, CountWriter

SQL: Final = read_sql(__file__)
DISCARD_LIMIT = 50_000  # per transaction; a statement may take 30 s


@dataclass(frozen=True, slots=True)
class WaitingCounts:
    """Waiting events of a destination, either with a failed request (`failing`) or without."""

    destination: str
    state: str
    failing: bool
    events: int
    age_s: float  # of the oldest of these events


async def read(connection: PipelineConnection) -> list[WaitingCounts]:
    """Return two counts for each destination: waiting events with a failed request, and without.

    The cost grows with the number of waiting batches, so the caller limits the time.
    """
    return await fetch_rows(connection, WaitingCounts, SQL["read"])


@dataclass(frozen=True, slots=True)
class DestinationPace:
    """The rate, the circuit breaker and the remaining token life of a destination that sends.

    `rate` is in requests per second. `token_left_s` is None without waiting events.
    """

    destination: str
    rate: float
    breaker_open: bool
    token_left_s: float | None


async def paces(connection: PipelineConnection) -> list[DestinationPace]:
    """Return the rate, breaker and token of each destination that sends."""
    return await fetch_rows(connection, DestinationPace, SQL["paces"])


@dataclass(frozen=True, slots=True)
class LongestWait:
    """How long the first due live batch of a destination that sends has waited."""

    organisation: OrganisationId
    destination: str
    waited: timedelta


async def longest_waits(connection: PipelineConnection) -> list[LongestWait]:
    """Return the longest wait of each destination that sends and has live batches.

    It costs one index probe per destination and partition, regardless of the backlog.
    """
    return await fetch_rows(connection, LongestWait, SQL["longest_waits"])


async def of_archived(connection: PipelineConnection, *, age: timedelta) -> list[DestinationNumber]:
    """Return the destinations that were archived longer than `age` ago and have waiting events.

    A destination whose request of the last day has no result yet is left out.
    """
    return [row["number"] for row in await connection.fetch(SQL["of_archived"], age)]


async def discard(connection: PipelineConnection, number: DestinationNumber, writer: CountWriter) -> int:
    """Mark waiting events of an archived destination as dead, with reason `discarded`.

    Return their number, 0 if none is left: a transaction discards up to `DISCARD_LIMIT` batches and retrying
    events. The destination is archived, so no flush adds an event. Call it in a transaction, when no request
    to Amazon is in flight for the destination.
    """
    [(events, retrying)] = await connection.fetch(SQL["discard"], number, DISCARD_LIMIT)
    await counts.add(connection, writer.number, {number: CountDelta(dead=events, retrying=-retrying)})
    if writer.callbacks_enabled and events:
        await callbacks.mark_failed(connection, [number])
    return int(events)
