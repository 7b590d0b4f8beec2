"""Read waiting events, their ages, and the rates of destinations, for the metrics of a process."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.domain.ids import OrganisationId
from app.store import PipelineConnection, fetch_rows, read_sql

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
