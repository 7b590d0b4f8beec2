"""Learning from accepted events: a few outlines a second, gathered and written beside the road.

An outline holds no value, so it may outlive its request. Losing some costs nothing: whatever goes wrong here
is logged and forgotten, and no event waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from app.domain.event import Event, Rejection
from app.domain.ids import MappingNumber
from app.domain.observed.schema_sample import SchemaSample, take_sample
from app.ingest.dedup import DedupVerdict
from app.ingest.destination_cache import PublishedMapping
from app.ingest.evaluate import Candidate
from app.ingest.group_commit import PostResults
from app.store import schema_samples
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

WRITE_EVERY_S = 1.0
_TRIM_EVERY = 20


@dataclass(slots=True)
class SampleBudget:
    """How many may still be taken; fills up with time."""

    most: float
    a_second: float
    filled_at: float
    left: float

    def any(self, now: float) -> bool:
        """Tell whether there is one to take."""
        self.left = min(self.most, self.left + (now - self.filled_at) * self.a_second)
        self.filled_at = now
        return self.left >= 1

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        if not self.any(now):
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class _Mapping:
    """What is known of a mapping while its events come."""

    version: int
    paths: tuple[str, ...]
    bucket: SampleBudget
    written: int = 0


@dataclass(slots=True)
class SchemaSampler:
    """Takes outlines of accepted events: the first thousand of a mapping, then ten a second.

    All mappings of a process share two thousand at first, then a hundred a second: some 70 µs each.
    """

    pool: asyncpg.Pool
    monotonic: Callable[[], float]
    telemetry: Telemetry
    _mappings: dict[MappingNumber, _Mapping] = field(default_factory=dict)
    _seen: dict[MappingNumber, Counter[SchemaSample]] = field(default_factory=dict)
    _all: SampleBudget = field(default_factory=lambda: SampleBudget(2_000, 100, 0.0, 2_000))
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def observe(self, events: Sequence[Event | Rejection], answer: PostResults) -> None:
        """Take the outlines of the accepted ones, as far as the buckets last."""
        now = self.monotonic()
        if not self._all.any(now):
            return  # the usual case under load
        enough: set[MappingNumber] = set()
        for event, evaluated, verdict in zip(events, answer.evaluated, answer.verdicts, strict=True):
            if (
                verdict is not DedupVerdict.ACCEPTED
                or not isinstance(evaluated, Candidate)
                or evaluated.mapping.number in enough
            ):
                continue
            known = self._known(evaluated.mapping, now)
            if not known.bucket.take(now):
                enough.add(evaluated.mapping.number)
                continue
            if not self._all.take(now):
                return
            assert isinstance(event, Event)
            taken = take_sample(event.content, known.paths)
            self._seen.setdefault(evaluated.mapping.number, Counter())[taken] += 1

    def _known(self, mapping: PublishedMapping, now: float) -> _Mapping:
        known = self._mappings.get(mapping.number)
        if known is None or known.version != mapping.version:
            assert mapping.compiled is not None
            paths = tuple(path for _, path in mapping.compiled.paths)
            bucket = (
                SampleBudget(schema_samples.RING, 10, now, schema_samples.RING)
                if known is None
                else known.bucket
            )
            if len(self._mappings) >= 10_000:
                self._mappings.clear()
            known = self._mappings[mapping.number] = _Mapping(mapping.version, paths, bucket)
        return known

    async def run(self) -> None:
        """Write what was seen, once a second, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what was seen until now; returns when it can be read."""
        async with self._writing:
            seen, self._seen = self._seen, {}
            if not seen:
                return
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    # Losing it in a crash is harmless, so its commit does not wait for the disk.
                    await connection.execute("SET LOCAL synchronous_commit = off")
                    await schema_samples.add(connection, seen)
                    if full := [number for number in seen if self._is_full(number)]:
                        await schema_samples.trim(connection, full)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("outlines.lost", error, level=30, mappings=len(seen))

    def _is_full(self, number: MappingNumber) -> bool:
        known = self._mappings.get(number)
        if known is None:
            return True
        known.written += 1
        return known.written % _TRIM_EVERY == 0
