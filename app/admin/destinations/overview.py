"""The content of a destination's page: statistics, history, requests, times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.admin.context import AppContext
from app.admin.destinations.stats import DestinationStats, destination_stats
from app.admin.events.search import find_visible_row
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.destinations import figures, outcome_history
from app.store.destinations.figures import ConnectionInfo, FailureRun, RequestRow, ResponseTimes
from app.store.destinations.outcome_history import OutcomeBucket, Period
from app.store.replays import dead_letters

_REQUESTS: Final = 20
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RecentOutcomes:
    """Counts of the last hour and day; the diagnosis uses them to decide whether a fault has ended."""

    received_in_hour: int = 0
    rejected_in_hour: int = 0
    expired_in_day: int = 0


@dataclass(frozen=True, slots=True)
class DiagnosisFacts:
    """What the diagnosis of a destination needs in addition to the statistics."""

    about: ConnectionInfo
    requests: Sequence[RequestRow]
    failures: FailureRun | None
    open_dead_letters: Sequence[tuple[str, int]]
    recent_rejections: Sequence[tuple[str, str, int]]
    recent: RecentOutcomes
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
    response_times: Sequence[ResponseTimes]
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
        times = await figures.response_times(connection, number, since=since, bucket=bucket)
        return DestinationOverview(
            stats=await destination_stats(connection, destination, max_event_age=context.max_event_age),
            facts=await _facts(connection, number, context.now()),
            history=history[number],
            response_times=times,
            rejections=await figures.rejection_reasons(connection, number, since=since.date()),
            first_answer=await figures.first_answer(connection, number),
            previous=None
            if previous is None
            else await outcome_history.total_between(connection, number, previous),
        )


async def read_diagnosis_facts(context: AppContext, number: DestinationNumber) -> DiagnosisFacts:
    """Read the input of the diagnosis, for pages without the overview."""
    async with context.pool.acquire() as connection:
        return await _facts(connection, number, context.now())


async def _facts(connection: PipelineConnection, number: DestinationNumber, now: datetime) -> DiagnosisFacts:
    about = await figures.connection_of(connection, number)
    assert about is not None
    return DiagnosisFacts(
        about=about,
        requests=await figures.requests(connection, number, _REQUESTS),
        failures=await figures.failure_run(connection, number),
        open_dead_letters=await dead_letters.open_dead_letters(connection, number),
        recent_rejections=await figures.rejection_reasons(connection, number, since=(now - _HOUR).date()),
        recent=await _recent(connection, number, now),
        next_attempt_at=await figures.next_attempt_at(connection, number),
    )


async def _recent(connection: PipelineConnection, number: DestinationNumber, now: datetime) -> RecentOutcomes:
    minute, quarter = timedelta(minutes=1), timedelta(minutes=15)
    hour = await outcome_history.buckets(connection, [number], width=minute, since=now - _HOUR)
    day = await outcome_history.buckets(connection, [number], width=quarter, since=now - _DAY)
    return RecentOutcomes(
        received_in_hour=sum(
            bucket.accepted + bucket.duplicates + bucket.rejected for bucket in hour[number]
        ),
        rejected_in_hour=sum(bucket.rejected for bucket in hour[number]),
        expired_in_day=sum(bucket.expired for bucket in day[number]),
    )
