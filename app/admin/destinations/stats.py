"""Statistics of one destination: counts, waiting events, rates, match keys, failures."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.events.journeys import counts_of
from app.admin.events.search import find_visible_row
from app.domain.destination import State
from app.domain.event_query import EventQuery
from app.domain.observed.coverage import match_key_coverage
from app.domain.outcomes.reasons import DEAD_LETTERS, REASONS, DeadLetter
from app.domain.outcomes.status import WAITING, tally
from app.store import PipelineConnection, replays
from app.store.destinations import figures as delivery_figures
from app.store.events import figures as event_figures
from app.store.events.batches import DestinationRef

_RATE_WINDOW = timedelta(minutes=5)
_SAMPLED_BATCHES = 20


@dataclass(frozen=True, slots=True)
class DestinationStats:
    """The statistics as the API returns them. `waiting` counts queued, retrying, held and parked events."""

    destination_id: str
    state: str
    counts: dict[str, int]
    waiting: int
    dead_open: int
    oldest_waiting_seconds: float | None
    earliest_expiry_at: datetime | None
    rate_limit: dict[str, float]
    learned_rate: float | None
    rates: delivery_figures.Rates
    match_key_coverage: dict[str, Any]
    unreadable_batches: int  # damaged batches, left out of the match key coverage
    breaker: dict[str, Any]
    lane_owned: bool
    shared_account: bool
    rejections: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FilteredStats:
    """The statistics of a journey, a node or an execution: only the members that the filter applies to."""

    destination_id: str
    counts: dict[str, int]
    waiting: int


async def read_stats(context: AppContext, caller: Caller, destination_id: str) -> DestinationStats:
    """Return the statistics of a destination. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        return await destination_stats(connection, destination, max_event_age=context.max_event_age)


async def read_filtered_stats(
    context: AppContext, caller: Caller, destination_id: str, wanted: EventQuery
) -> FilteredStats:
    """Return the statistics of a journey, a node or an execution. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        counts = await counts_of(connection, destination, wanted)
    return FilteredStats(destination.id, counts, sum(counts[status] for status in WAITING))


async def destination_stats(
    connection: PipelineConnection, destination: DestinationRef, *, max_event_age: timedelta
) -> DestinationStats:
    """Read the statistics of a destination."""
    figures = await event_figures.destination_figures(connection, destination.number)
    assert figures is not None
    rates = await delivery_figures.rates(connection, destination.number, _RATE_WINDOW)
    samples = await delivery_figures.samples(connection, destination.number, _SAMPLED_BATCHES)
    shapes, unreadable = delivery_figures.shapes_in(samples)
    counts = tally(figures.totals, State(figures.state))
    return DestinationStats(
        destination_id=destination.id,
        state=figures.state,
        counts=counts,
        waiting=sum(counts[status] for status in WAITING),
        dead_open=await replays.dead_open(connection, destination.number),
        oldest_waiting_seconds=_seconds_since(figures.oldest_waiting),
        earliest_expiry_at=figures.earliest_expiry + max_event_age if figures.earliest_expiry else None,
        rate_limit={"requests_per_second": figures.requests_per_second, "burst": figures.burst},
        learned_rate=figures.learned_rate,
        rates=rates,
        match_key_coverage=match_key_coverage(shapes),
        unreadable_batches=unreadable,
        breaker={"state": figures.breaker, "error_rate": round(figures.error_rate, 3)},
        lane_owned=figures.lane_owned,
        shared_account=figures.shared_account,
        rejections=[
            {"code": code, "reason": reason, "count": count} for code, reason, count in figures.rejected
        ],
        dead_letters=[
            {
                "code": REASONS[reason].code,
                "reason": reason,
                "count": count,
                "class": DEAD_LETTERS.get(reason, DeadLetter.SYSTEM),
                "remedy": REASONS[reason].remedy,
            }
            for reason, count in figures.dead
            if reason in REASONS
        ],
    )


def _seconds_since(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return round(max(0.0, (datetime.now(UTC) - moment).total_seconds()), 3)
