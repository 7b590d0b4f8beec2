"""Convert a share of live events with drafts, after the response. Nothing is sent; only counts are stored.

A shadow never delays a response: under load, events are skipped and counted as skipped.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from app.domain.conversion.convert import ConversionPlan, Work
from app.domain.conversion.results import Conversion
from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.differences import ShadowCounts
from app.ingest.destination_cache import CachedDestination, DestinationLookup
from app.ingest.evaluate import SLICE_STEPS, Candidate, DedupResult, PendingRequest
from app.store.errors import DRIVER_ERRORS
from app.store.match_quality import shadows
from app.telemetry import Telemetry

READ_EVERY_S: Final = 1.0
_MOST_WAITING: Final = 500
_LONGEST_WAIT_S: Final = 0.5  # an event that waits longer shows that the process is busy
_GATHER_S: Final = 0.25  # converting many events in a row costs less than waking up for each request
_SLICE: Final = 50  # events that are converted without a pause


@dataclass(slots=True)
class _Shadow:
    """A shadow in this process. The plan is compiled with the rules of the published version."""

    running: shadows.RunningShadow
    counts: ShadowCounts = field(default_factory=ShadowCounts)
    plan: ConversionPlan | None = None

    def plan_for(self, destination: CachedDestination) -> ConversionPlan | None:
        published = destination.mappings.get(self.running.mapping_id)
        document = self.running.document
        if self.plan is None and published and published.plan and document is not None:
            compiled = compile_mapping(document)
            if isinstance(compiled, Mapping):
                self.plan = ConversionPlan(compiled, published.plan.rules)
        return self.plan


@dataclass(frozen=True, slots=True, repr=False)
class _ChosenEvent:
    """An event to convert. Contains personal data."""

    shadow: _Shadow
    destination: CachedDestination
    read: Callable[[], Event]
    published: Conversion | Rejection
    chosen_at: float


@dataclass(slots=True)
class ShadowRunner:
    """Takes part in the running shadows of all destinations."""

    pool: asyncpg.Pool
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Callable[[], float]
    telemetry: Telemetry
    active: dict[DestinationNumber, _Shadow] = field(default_factory=dict)  # by destination
    _waiting: list[_ChosenEvent] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def observe(self, find: DestinationLookup, request: PendingRequest) -> None:
        """Choose a share of the events of mappings with a shadow."""
        active, random = self.active, self.random
        chosen = [
            (place, shadow)
            for place, number in enumerate(request.destinations)
            if number is not None and (shadow := active.get(number)) and random() < shadow.running.share
        ]
        for place, shadow in chosen:
            evaluated = request.evaluated[place]
            published: Conversion | Rejection
            destination: CachedDestination | None
            if isinstance(evaluated, Candidate):
                is_read = request.dedup[place] is DedupResult.ACCEPTED
                is_read = is_read and evaluated.mapping.number == shadow.running.mapping
                published, destination = evaluated.conversion, evaluated.destination
            else:
                is_read = evaluated.mapping == shadow.running.mapping
                published, destination = evaluated, find(DestinationId(evaluated.destination_id or ""))
            if not is_read or destination is None:
                continue
            if len(self._waiting) >= _MOST_WAITING or request.events.is_large(place):
                shadow.counts.skipped += 1
            else:
                read = request.events.reader(place)
                self._waiting.append(_ChosenEvent(shadow, destination, read, published, self.monotonic()))
        if len(self._waiting) >= _SLICE:
            self._arrived.set()

    async def run(self) -> None:
        """Convert the chosen events soon, and read the running shadows once a second, until cancelled."""
        while True:
            read_at = self.monotonic() + READ_EVERY_S
            await self.synchronise()
            while (left := read_at - self.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._arrived.wait(), min(left, _GATHER_S) if self.active else left
                    )
                async with self._lock:
                    await self._convert()

    async def synchronise(self) -> None:
        """Write the counts of the events so far, and read which shadows run."""
        async with self._lock:
            await self._convert()
            try:
                async with self.pool.acquire() as connection:
                    for number, shadow in sorted(self.active.items()):
                        if shadow.counts != ShadowCounts():
                            # Counts of a failed statement are lost: written again, they might count twice.
                            counts, shadow.counts = shadow.counts, ShadowCounts()
                            await shadows.add(connection, number, shadow.running.started_at, counts)
                    known = {each.running.started_at: each for each in self.active.values()}
                    running = await shadows.running(connection, known)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("shadows.database_error", error, level=30)
                return
            if not self.active and running:
                self._arrived.set()  # events are chosen from now on
            self.active = {each.destination: known.get(each.started_at) or _Shadow(each) for each in running}

    async def _convert(self) -> None:
        self._arrived.clear()
        waiting, self._waiting = self._waiting, []
        now, work = self.now(), Work(SLICE_STEPS)
        for number, each in enumerate(waiting, 1):
            is_late = self.monotonic() - each.chosen_at > _LONGEST_WAIT_S
            plan = None if is_late else each.shadow.plan_for(each.destination)
            if plan is None:
                each.shadow.counts.skipped += 1
                continue
            draft = plan.convert(each.read(), each.published.event_id or "shadow", now, work=work)
            each.shadow.counts.add(each.published, draft)
            if number % _SLICE == 0 or work.left < 0:
                work = Work(SLICE_STEPS)
                await asyncio.sleep(0)
