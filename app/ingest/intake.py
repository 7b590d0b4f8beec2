"""Receive the events of requests: match, convert and store them, and return a result for each event.

The age of the waiting events decides whether a destination can receive more.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import asyncpg
import msgspec
from msgspec import structs

from app.domain.admission import backlog_too_old
from app.domain.conversion.convert import EventWarning, Work
from app.domain.event import Event, Rejection
from app.domain.ids import OrganisationId
from app.domain.observed.preview import ConversionPreview, RejectionPreview, preview, rejection_view
from app.ingest.dedup import Flush, conflict_field
from app.ingest.evaluate import (
    SLICE_EVENTS,
    SLICE_STEPS,
    Candidate,
    DedupResult,
    Evaluated,
    Evaluator,
    PendingRequest,
)
from app.ingest.flush_writer import FlushWriter
from app.ingest.group_commit import GroupCommit, Notifier
from app.ingest.recorders import RejectionRecorder, RepeatedIdRecorder
from app.ingest.schema_sampler import SchemaSampler
from app.ingest.shadows import ShadowRunner
from app.store import waiting_events
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

_CHECK_QUEUES_EVERY_S = 30.0


class EventResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The response for one event: accepted, duplicate or rejected. Contains no values from the event.

    Encoded as JSON, it is the result in the response, unless it has a rejection.
    """

    index: int
    event_id: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    rejection: Rejection | None = None
    warnings: Sequence[EventWarning] = ()
    preview: ConversionPreview | RejectionPreview | None = None


@dataclass
class Intake:
    """Receives the events of an API process. `receive` returns only while the task of `run` is running."""

    group_commit: GroupCommit
    evaluator: Evaluator
    writer: FlushWriter
    pool: asyncpg.Pool
    telemetry: Telemetry
    notifier: Notifier
    sampler: SchemaSampler
    recorder: RejectionRecorder
    repeated: RepeatedIdRecorder
    shadows: ShadowRunner

    def __post_init__(self) -> None:
        self._find = self.evaluator.destinations.get
        # The task of `run` flushes until `close` was called; queued events are still stored and answered.
        self.run, self.close = self.group_commit.run, self.group_commit.close
        # Limits the evaluation of large requests to one at a time.
        self.evaluating_large = self.group_commit.evaluating_large
        self.parse_large = self.evaluator.thread.run
        # Matches and converts the events of a request, with pauses for other requests.
        self.evaluate = self.evaluator.evaluate

    async def receive(self, request: PendingRequest) -> list[EventResult] | None:
        """Match, convert and store the events of a request; return one result per event, in order, after the
        commit.

        None means that no event was acknowledged and the same request may be sent again.
        """
        await self.evaluate(request)
        return await self.store(request)

    async def store(self, request: PendingRequest) -> list[EventResult] | None:
        """Store the events of an evaluated request; the results are those of `receive`."""
        if not await self.group_commit.store(request):
            return None
        results = _results(request)
        accepted = self._count(results, request)
        self.sampler.observe(self._find, request)
        if accepted < len(results):
            self.repeated.observe(request)
        if self.shadows.active:
            self.shadows.observe(self._find, request)
        if request.rejected_at is not None:
            self.recorder.record(request, [result.rejection for result in results], request.rejected_at)
        return results

    def _count(self, results: Sequence[EventResult], request: PendingRequest) -> int:
        """Count the results for the metrics; return the number of accepted events."""
        accepted = request.dedup.count(DedupResult.ACCEPTED)
        duplicates = request.dedup.count(DedupResult.DUPLICATE)
        rejected = len(results) - accepted - duplicates
        if accepted:
            self.telemetry.received["accepted"].inc(accepted)
        if duplicates:
            self.telemetry.received["duplicate"].inc(duplicates)
        if rejected:
            self.telemetry.received["rejected"].inc(rejected)
            reasons = Counter([result.rejection.reason for result in results if result.rejection is not None])
            for reason, number in reasons.items():
                self.telemetry.rejected[reason].inc(number)
        for evaluated, result in zip(request.evaluated, request.dedup, strict=True):
            if result is DedupResult.ACCEPTED and type(evaluated) is Candidate:
                for match_key, reason in evaluated.conversion.dropped_keys:
                    self.telemetry.dropped_keys.labels(match_key, reason).inc()
        return accepted

    async def dry_run(self, request: PendingRequest) -> list[EventResult] | None:
        """Return what `store` would return, with a preview of each event, and store nothing."""
        try:
            async with self.pool.acquire() as connection, connection.transaction(readonly=True):
                current = await self.evaluator.refresh(connection, [request])
                for each in self.evaluator.outdated([request]):
                    await self.evaluate(each)
                flush = Flush([request], current.generation)
                await self.writer.read(connection, flush)
        except DRIVER_ERRORS:
            return None
        request.evaluated, request.dedup = flush.evaluated[0], flush.results[0]
        results = _results(request)
        await self._add_previews(request, results)
        return results

    async def _add_previews(self, request: PendingRequest, results: list[EventResult]) -> None:
        """Add the preview of each event to its result, with pauses for other requests of this process."""
        now, work = self.evaluator.clock.now(), Work(SLICE_STEPS)
        owner = request.access.organisation
        for index, evaluated in enumerate(request.evaluated):
            if index % SLICE_EVENTS == 0 or work.left < 0:
                work = Work(SLICE_STEPS)
                await asyncio.sleep(0)
            result = results[index]
            show = partial(_preview, request.events.reader(index), evaluated, result, now, work)
            shown = await self.parse_large(owner, show) if request.events.is_large(index) else show()
            results[index] = structs.replace(result, preview=shown)


def _results(request: PendingRequest) -> list[EventResult]:
    return [
        # The usual case, without a call for each event.
        EventResult(index, each.conversion.event_id, "accepted", None, each.warnings)
        if result is DedupResult.ACCEPTED and type(each) is Candidate
        else _result(index, each, result)
        for index, (each, result) in enumerate(zip(request.evaluated, request.dedup, strict=True))
    ]


def _result(index: int, evaluated: Evaluated, dedup_result: DedupResult | None) -> EventResult:
    if isinstance(evaluated, Rejection):
        return EventResult(index, evaluated.event_id, "rejected", evaluated)
    event_id = evaluated.conversion.event_id
    match dedup_result:
        case DedupResult.DUPLICATE:
            return EventResult(index, event_id, "duplicate", warnings=evaluated.warnings)
        case DedupResult.CONFLICT | DedupResult.AMAZON_ID_CONFLICT:
            return EventResult(index, event_id, "rejected", _conflict(evaluated, dedup_result))
        case _:
            raise AssertionError("a candidate left the flush without a dedup result")


def _conflict(candidate: Candidate, dedup_result: DedupResult) -> Rejection:
    path, mapping_field = conflict_field(candidate, dedup_result), None
    detail = "This event_id was accepted before with other content; nothing was changed."
    if dedup_result is DedupResult.AMAZON_ID_CONFLICT:
        mapping_field = "event_id"
        where = f"is mapped to {path}" if path is not None else "is a constant"
        detail = (
            f"Deduplication ID {where}, and an event with other content was accepted before with the same "
            "value there; nothing was changed."
        )
    return candidate.rejected("event_id_conflict", path, mapping_field, detail)


def _preview(
    read: Callable[[], Event], evaluated: Evaluated, result: EventResult, now: datetime, work: Work
) -> ConversionPreview | RejectionPreview:
    if result.rejection is not None:
        return rejection_view(result.rejection)
    assert isinstance(evaluated, Candidate)
    assert evaluated.mapping.plan is not None
    return preview(read(), evaluated.conversion.event_id, evaluated.mapping.plan, now=now, work=work)


@dataclass(slots=True)
class QueueAgeMonitor:
    """Checks the oldest event of every queue twice a minute: new events could expire before they are sent.

    `overdue` holds, for each organisation, the ids of its destinations whose oldest event was too old at the
    last check. `jitter` returns a number in [0, 1): it spreads the checks of several processes.
    """

    pool: asyncpg.Pool
    max_age: timedelta
    jitter: Callable[[], float]
    telemetry: Telemetry
    overdue: dict[OrganisationId, set[str]] = field(default_factory=dict)

    async def check(self) -> None:
        """Check the live queues of all active destinations."""
        async with self.pool.acquire() as connection:
            waits = await waiting_events.longest_waits(connection)
        overdue: dict[OrganisationId, set[str]] = {}
        for wait in waits:
            if backlog_too_old(wait.waited, self.max_age):
                overdue.setdefault(wait.organisation, set()).add(wait.destination)
        new = set[str]().union(*overdue.values()).difference(*self.overdue.values())
        if new:
            self.telemetry.log("queue_age.overdue", level=30, destinations=sorted(new)[:20])
        self.overdue.clear()
        self.overdue.update(overdue)

    async def run(self) -> None:
        """Check until cancelled. A database error keeps the last result."""
        while True:
            await asyncio.sleep(_CHECK_QUEUES_EVERY_S * (0.5 + self.jitter()))
            try:
                await self.check()
            except DRIVER_ERRORS as error:
                self.telemetry.failed("queue_age.check_failed", error, level=30)
