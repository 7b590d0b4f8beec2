"""Statistics of one destination: counts, waiting events, rates, match keys, failures; and its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from app.admin.context import AppContext, EvaluationSettings
from app.admin.destinations import find_visible_row, reading_row
from app.admin.events.figures import count_stored, counts_of
from app.domain.destination import RequestRate, State
from app.domain.event_query import EventQuery
from app.domain.ids import DestinationNumber
from app.domain.match_quality.match_keys import MatchKeyCoverage, match_key_coverage
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import AcceptedEventCounts, EventCounts, tally
from app.store import PipelineConnection
from app.store.destinations import figures as delivery_figures
from app.store.destinations import outcome_history
from app.store.destinations.outcome_history import OutcomeBucket, Period
from app.store.events.batches import DestinationRef
from app.store.replays import selection

_RATE_WINDOW = timedelta(minutes=5)
_SAMPLED_BATCHES = 20
_REQUESTS: Final = 20
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breaker of the lane."""

    state: Annotated[str, Field(examples=["closed"])]
    error_rate: float


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """The number of events with one reason."""

    code: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class DestinationStats:
    """Statistics of a destination. The API returns them as they are."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    destination_id: str
    state: State
    counts: EventCounts
    waiting: int
    """Queued, retrying, held and parked events."""
    dead_open: int
    """Dead letters that were neither replayed nor dismissed."""
    oldest_waiting_seconds: float | None
    earliest_expiry_at: datetime | None
    rate_limit: RequestRate
    learned_rate: float | None
    rates: delivery_figures.Rates
    """Over five minutes."""
    match_key_coverage: MatchKeyCoverage
    unreadable_batches: int
    """The number of damaged batches. They are not in the match key coverage."""
    breaker: Breaker
    lane_owned: bool
    shared_account: bool
    """Whether another organisation uses the same advertiser and region too."""
    rejections: Sequence[ReasonCount]
    dead_letters: Sequence[ReasonCount]


@dataclass(frozen=True, slots=True)
class JourneyStats:
    """Statistics of a journey or a journey node."""

    destination_id: str
    counts: EventCounts
    waiting: int


@dataclass(frozen=True, slots=True)
class ExecutionStats:
    """Statistics of an execution: of its accepted events that are still stored."""

    destination_id: str
    counts: AcceptedEventCounts
    waiting: int
    counted_back_to: Annotated[
        datetime | None,
        Field(
            description="If counting took too long, only events accepted since this time were counted. Null "
            "if all were counted."
        ),
    ]


async def read_stats(context: AppContext, destination_id: str) -> DestinationStats:
    """Return the statistics of a destination. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        return await destination_stats(connection, destination, context)


async def read_filtered_stats(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> JourneyStats | ExecutionStats:
    """Return the statistics of a journey, a node or an execution. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        if wanted.execution_id is not None:
            stored, back_to = await count_stored(connection, destination, wanted)
            return ExecutionStats(destination.id, stored, stored.waiting, back_to)
        counts = await counts_of(connection, destination, wanted)
    return JourneyStats(destination.id, counts, counts.waiting)


async def destination_stats(
    connection: PipelineConnection, destination: DestinationRef, settings: EvaluationSettings
) -> DestinationStats:
    """Read the statistics of a destination."""
    figures = await delivery_figures.destination_figures(connection, destination.number)
    rates = await delivery_figures.rates(connection, destination.number, _RATE_WINDOW)
    shapes, unreadable = await delivery_figures.newest_metadata(
        connection, destination.number, _SAMPLED_BATCHES
    )
    counts = tally(figures.totals, State(figures.state))
    max_age = settings.deployment.max_age
    waited = None if figures.oldest_waiting is None else settings.now() - figures.oldest_waiting
    return DestinationStats(
        destination_id=destination.id,
        state=State(figures.state),
        counts=counts,
        waiting=counts.waiting,
        dead_open=await selection.dead_open(connection, destination.number),
        oldest_waiting_seconds=None if waited is None else round(max(0.0, waited.total_seconds()), 3),
        earliest_expiry_at=figures.earliest_expiry + max_age if figures.earliest_expiry else None,
        rate_limit=RequestRate(figures.requests_per_second, figures.burst),
        learned_rate=figures.learned_rate,
        rates=rates,
        match_key_coverage=match_key_coverage(shapes),
        unreadable_batches=unreadable,
        breaker=Breaker(figures.breaker, round(figures.error_rate, 3)),
        lane_owned=figures.lane_owned,
        shared_account=figures.shared_account,
        rejections=[ReasonCount(*row) for row in figures.rejected],
        dead_letters=[
            ReasonCount(REASONS[reason].code, reason, count)
            for reason, count in figures.dead
            if reason in REASONS
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisFacts:
    """What the diagnosis of a destination needs in addition to the statistics.

    The counts of the last hour and day say whether a fault has ended.
    """

    about: delivery_figures.ConnectionInfo
    requests: Sequence[delivery_figures.RequestRow]
    failures: delivery_figures.FailureRun | None
    open_dead_letters: Sequence[tuple[str, int]]
    recent_rejections: Sequence[tuple[str, str, int]]
    received_in_hour: int = 0
    rejected_in_hour: int = 0
    expired_in_day: int = 0
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DestinationOverview:
    """The statistics of a destination and its history since the start of a time range.

    `first_answer` is when Amazon first accepted an event, in the range or before it. `previous` has the
    counts of the time before the range.
    """

    stats: DestinationStats
    facts: DiagnosisFacts
    history: Sequence[OutcomeBucket]
    response_times: Sequence[delivery_figures.ResponseTimes]
    rejections: Sequence[tuple[str, str, int]]
    first_answer: datetime | None
    previous: OutcomeBucket | None


async def read_overview(
    context: AppContext, destination_id: str, *, since: datetime, bucket: timedelta, previous: Period | None
) -> DestinationOverview:
    """Read the overview of a destination in one snapshot, so that its figures agree. Raises Refusal (404)."""
    async with context.snapshot() as connection:
        destination = await find_visible_row(connection, context.caller, destination_id)
        number = destination.number
        history = await outcome_history.buckets(connection, [number], width=bucket, since=since)
        times = await delivery_figures.response_times(connection, number, since=since, bucket=bucket)
        return DestinationOverview(
            stats=await destination_stats(connection, destination, context),
            facts=await _facts(connection, number, context.now()),
            history=history[number],
            response_times=times,
            rejections=await delivery_figures.rejection_reasons(connection, number, since=since.date()),
            first_answer=await delivery_figures.first_answer(connection, number),
            previous=None
            if previous is None
            else await outcome_history.total_between(connection, number, previous),
        )


async def read_diagnosis_facts(context: AppContext, number: DestinationNumber) -> DiagnosisFacts:
    """Read the input of the diagnosis, for pages without the overview."""
    async with context.pool.acquire() as connection:
        return await _facts(connection, number, context.now())


async def _facts(connection: PipelineConnection, number: DestinationNumber, now: datetime) -> DiagnosisFacts:
    minute, quarter = timedelta(minutes=1), timedelta(minutes=15)
    hour = await outcome_history.buckets(connection, [number], width=minute, since=now - _HOUR)
    day = await outcome_history.buckets(connection, [number], width=quarter, since=now - _DAY)
    return DiagnosisFacts(
        about=await delivery_figures.connection_of(connection, number),
        requests=await delivery_figures.requests(connection, number, _REQUESTS),
        failures=await delivery_figures.failure_run(connection, number),
        open_dead_letters=await selection.open_dead_letters(connection, number),
        recent_rejections=await delivery_figures.rejection_reasons(
            connection, number, since=(now - _HOUR).date()
        ),
        received_in_hour=sum(
            bucket.accepted + bucket.duplicates + bucket.rejected for bucket in hour[number]
        ),
        rejected_in_hour=sum(bucket.rejected for bucket in hour[number]),
        expired_in_day=sum(bucket.expired for bucket in day[number]),
        next_attempt_at=await delivery_figures.next_attempt_at(connection, number),
    )
