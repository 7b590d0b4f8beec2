"""Record, after the response, rejected events and repeated Amazon eventIds, both without values of events.

Records are collected in memory and written soon, so that no response waits for them. A crash loses those of
the last half second. It loses no count of rejections, because counts are committed with the flush.

An event that repeats an eventId was answered as a duplicate or rejected, so Amazon never gets it. The counts
show why ids repeat.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from app.domain.batch import EventMetadata, read_shapes
from app.domain.event import Rejection, journey_id
from app.domain.ids import DestinationNumber, MappingNumber
from app.ingest.evaluate import Candidate, DedupResult, PendingRequest
from app.store import PipelineConnection, ledger, transactions
from app.store.errors import DRIVER_ERRORS
from app.store.events import rejections
from app.store.events.rejections import MOST_A_MINUTE, NewRejection
from app.store.match_quality import repeated_ids
from app.telemetry import Telemetry

_WRITE_REJECTIONS_EVERY_S: Final = 0.5
_MOST_RECORDS: Final = 20_000  # records of all destinations; further rejections are only counted
_WRITE_REPETITIONS_EVERY_S: Final = 1.0
_MOST_REPETITIONS: Final = 200  # further ones are not counted
_REPEATED: Final = (DedupResult.AMAZON_ID_CONFLICT, DedupResult.DUPLICATE)


@dataclass(slots=True)
class RejectionRecorder:
    """Collects and writes the records of one process."""

    pool: asyncpg.Pool
    telemetry: Telemetry
    _records: list[NewRejection] = field(default_factory=list)
    _minute: datetime | None = None
    _recorded: dict[DestinationNumber, int] = field(default_factory=dict)  # within the minute
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def record(self, request: PendingRequest, rejections: Sequence[Rejection | None], at: datetime) -> None:
        """Record the rejections of a request, up to the budgets of their destinations.

        `at` is the time at which they were counted.
        """
        if not any(rejections):
            return
        request_id = journey_id(request.trace.request_id)  # the caller's id may be personal
        minute = at.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute = minute
            self._recorded.clear()
        for rejection, number in zip(rejections, request.destinations, strict=True):
            if rejection is None or number is None:
                continue
            recorded = self._recorded.get(number, 0)
            if recorded >= MOST_A_MINUTE or len(self._records) >= _MOST_RECORDS:
                continue
            self._recorded[number] = recorded + 1
            self._records.append(NewRejection(number, at, request_id, rejection))

    async def run(self) -> None:
        """Write the collected records twice a second, until cancelled."""
        while True:
            await asyncio.sleep(_WRITE_REJECTIONS_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write the records collected so far; return when they can be read."""
        async with self._write_lock:
            records, self._records = self._records, []
            if not records:
                return
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    await transactions.commit_without_waiting(connection)
                    await rejections.add(connection, records)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("rejections.write_failed", error, level=30, records=len(records))


@dataclass(slots=True)
class RepeatedIdRecorder:
    """Counts repeated Amazon eventIds that mappings set. Losing some is harmless."""

    pool: asyncpg.Pool
    telemetry: Telemetry
    _waiting: list[Candidate] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def observe(self, request: PendingRequest) -> None:
        """Choose the events that repeat an Amazon eventId which their mapping sets."""
        for evaluated, result in zip(request.evaluated, request.dedup, strict=True):
            if len(self._waiting) >= _MOST_REPETITIONS:
                break
            if result in _REPEATED and type(evaluated) is Candidate and len(evaluated.keys) > 1:
                self._waiting.append(evaluated)
        if self._waiting:
            self._arrived.set()

    async def run(self) -> None:
        """Write the counts once a second, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_WRITE_REPETITIONS_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Count the events that were chosen so far."""
        self._arrived.clear()
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            async with self.pool.acquire() as connection:
                earlier = await _earlier(connection, waiting)
                counted = Counter(
                    repeated_ids.Repetition(
                        each.destination.stored.number,
                        each.mapping.number,
                        each.conversion.event_type,
                        MappingNumber(other.mapping),
                        other.event_type,
                    )
                    for each in waiting
                    if (other := earlier.get(each.keys[1])) is not None and not _is_retry(each, other)
                )
                if counted:
                    await repeated_ids.add(connection, counted)
        except DRIVER_ERRORS as error:
            self.telemetry.failed("repeated_ids.write_failed", error, level=30, events=len(waiting))


def _is_retry(event: Candidate, earlier: EventMetadata) -> bool:
    """Return whether the caller sent the same event again, which is no fault of its ids."""
    return earlier.event_id == event.conversion.event_id and earlier.mapping == event.mapping.number


async def _earlier(
    connection: PipelineConnection, events: Sequence[Candidate]
) -> Mapping[bytes, EventMetadata]:
    """Return the accepted event that has the Amazon eventId of each of these events, by ledger key."""
    generation = await ledger.current_generation(connection)
    rows = await ledger.find(connection, generation, [event.keys[1] for event in events])
    stored = await repeated_ids.shapes(connection, {row.batch for row in rows.values()})
    shapes = {
        (batch, shape.place): shape for batch, packed in stored.items() for shape in read_shapes(packed) or ()
    }
    return {
        key: shape for key, row in rows.items() if (shape := shapes.get((row.batch, row.place))) is not None
    }
