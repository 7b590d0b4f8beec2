"""Read waiting events, their ages, and the rates of destinations, for the metrics of a process."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.store import PipelineConnection, fetch_map, fetch_rows, read_sql

SQL: Final = read_sql(__file__)


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
    """The rate, the circuit breaker and the remaining token life of an active destination.

    `rate` is in requests per second. `token_left_s` is None without waiting events.
    """

    destination: str
    rate: float
    breaker_open: bool
    token_left_s: float | None


async def paces(connection: PipelineConnection) -> list[DestinationPace]:
    """Return the rate, breaker and token of each active destination."""
    return await fetch_rows(connection, DestinationPace, SQL["paces"])


async def longest_waits(connection: PipelineConnection) -> dict[str, timedelta]:
    """Return how long the first due live batch of each active destination has waited, by destination id.

    It costs one index probe per destination and partition, regardless of the backlog.
    """
    return await fetch_map(connection, SQL["longest_waits"])
