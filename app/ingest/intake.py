"""The first half of the road: received → matched → converted and hashed → stored."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from typing import Any

import asyncpg
import msgspec
from msgspec import structs

from app.domain.conversion.convert import EventWarning
from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId
from app.domain.observed.preview import preview, rejection_view
from app.ingest.dedup import DedupVerdict, FlushBatch
from app.ingest.destination_cache import DestinationCache
from app.ingest.evaluate import Candidate, Evaluated
from app.ingest.flush_writer import FlushWriter
from app.ingest.group_commit import GroupCommit, NotStored, PendingPost, PostResults
from app.store.clock import DatabaseClock
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry


class EventResult(msgspec.Struct, frozen=True):
    """What the door says of one event: accepted, duplicate or rejected. Holds no value of the event's."""

    index: int
    event_id: str | None
    status: str
    rejection: Rejection | None = None
    warnings: Sequence[EventWarning] = ()
    preview: dict[str, Any] | None = None


class Intake:
    """Takes events in. One per API process; `run` must be running for `receive` to return."""

    def __init__(
        self,
        *,
        flusher: GroupCommit,
        targets: DestinationCache,
        stores: FlushWriter,
        pool: asyncpg.Pool,
        clock: DatabaseClock,
        telemetry: Telemetry,
        observe: Callable[[Sequence[Event | Rejection], PostResults], None] | None = None,
    ) -> None:
        self._observe = observe
        self._flusher = flusher
        self._targets = targets
        self._stores = stores
        self._pool = pool
        self._clock = clock
        self._telemetry = telemetry
        # Finding a series by its label costs more than counting.
        self._received = {
            status: telemetry.received.labels(status) for status in ("accepted", "duplicate", "rejected")
        }

    async def receive(
        self,
        events: Sequence[Event | Rejection],
        *,
        allowed: frozenset[DestinationId] | None,
        low: bool = False,
    ) -> list[EventResult] | NotStored:
        """Judge, convert and store these events; return one result for each, in order, once committed.

        `allowed` limits the caller to some destinations, None to none. What is `low` waits behind what is
        live, as replays do. NotStored means that nothing was
        acknowledged and that the same request may be sent again.
        """
        answer = await self._flusher.store(events, allowed, low=low)
        if isinstance(answer, NotStored):
            return answer
        results = _results(events, answer)
        self._count(results)
        if self._observe is not None:
            self._observe(events, answer)
        return results

    def _count(self, results: Sequence[EventResult]) -> None:
        statuses = [result.status for result in results]
        for status, received in self._received.items():
            if number := statuses.count(status):
                received.inc(number)
        if "rejected" in statuses:
            reasons = Counter([one.rejection.reason for one in results if one.rejection is not None])
            for reason, number in reasons.items():
                self._telemetry.rejected.labels(reason).inc(number)

    async def rehearse(
        self, events: Sequence[Event | Rejection], *, allowed: frozenset[DestinationId] | None
    ) -> list[EventResult] | NotStored:
        """Answer as `receive` would, with a preview of each event; nothing is stored (dry run)."""
        post = PendingPost(events, allowed, asyncio.get_running_loop().create_future())
        try:
            async with self._pool.acquire() as connection, connection.transaction(readonly=True):
                generation = await self._flusher.evaluate_again(connection, post)
                flush = FlushBatch([post.evaluated], generation, [post.destinations])
                await self._stores.read(connection, flush)
        except DRIVER_ERRORS:
            return NotStored("database")
        results = _results(events, PostResults(post.evaluated, flush.verdicts_of(0)))
        now = self._clock.now()
        return [
            structs.replace(result, preview=_preview(event, evaluated, result, now))
            for event, evaluated, result in zip(events, post.evaluated, results, strict=True)
        ]

    @property
    def waiting(self) -> int:
        """How many events wait for a commit."""
        return self._flusher.waiting

    async def run(self) -> None:
        """Flush until closed; the task that `receive` depends on."""
        await self._flusher.run()

    def close(self) -> None:
        """Take no more events; those taken are still stored and answered."""
        self._flusher.close()


def _results(events: Sequence[Event | Rejection], answer: PostResults) -> list[EventResult]:
    assert len(events) == len(answer.evaluated) == len(answer.verdicts)
    return list(map(_result, count(), answer.evaluated, answer.verdicts))


def _result(index: int, evaluated: Evaluated, verdict: DedupVerdict | None) -> EventResult:
    if isinstance(evaluated, Rejection):
        return EventResult(index, evaluated.event_id, "rejected", evaluated)
    event_id = evaluated.conversion.event_id
    match verdict:
        case DedupVerdict.ACCEPTED:
            return EventResult(index, event_id, "accepted", warnings=evaluated.warnings)
        case DedupVerdict.DUPLICATE:
            return EventResult(index, event_id, "duplicate", warnings=evaluated.warnings)
        case DedupVerdict.CONFLICT:
            return EventResult(index, event_id, "rejected", _conflict(evaluated))
        case None:
            raise AssertionError("a candidate left the flush without a verdict")


def _conflict(candidate: Candidate) -> Rejection:
    mapped = candidate.mapping.compiled is not None and candidate.mapping.compiled.uses_event_id_field
    return Rejection(
        reason="event_id_conflict",
        field="event_id",
        mapping_field="event_id" if mapped else None,
        detail="This id was accepted before with other content; nothing was changed.",
        event_id=candidate.conversion.event_id,
    )


def _preview(
    event: Event | Rejection, evaluated: Evaluated, result: EventResult, now: datetime
) -> dict[str, Any]:
    if result.rejection is not None:
        return rejection_view(result.rejection)
    assert isinstance(event, Event)
    assert isinstance(evaluated, Candidate)
    assert evaluated.mapping.compiled is not None
    return preview(
        event, evaluated.conversion.event_id, evaluated.mapping.compiled, evaluated.mapping.rules, now=now
    )
