"""Sample the schema of accepted events: a few samples a second, collected and written in the background.

A sample contains no value of its event. Losing samples is harmless: an error is logged, and no event waits
for a sample to be written.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from app.domain.event import Event, Rejection
from app.domain.ids import MappingNumber
from app.domain.observed.schema_sample import SchemaSample, ValueKind, take_sample
from app.ingest.destination_cache import PublishedMapping
from app.ingest.evaluate import Candidate
from app.ingest.pending_request import DedupResult, RequestResults
from app.store import schema_samples, transactions
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

WRITE_EVERY_S = 1.0
_TRIM_EVERY = 20  # writes of a mapping's samples


@dataclass(slots=True)
class SampleBudget:
    """A token bucket of samples."""

    capacity: float
    per_second: float
    updated_at: float
    tokens: float

    def is_available(self, now: float) -> bool:
        self.tokens = min(self.capacity, self.tokens + (now - self.updated_at) * self.per_second)
        self.updated_at = now
        return self.tokens >= 1

    def take(self, now: float) -> bool:
        if not self.is_available(now):
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _SampledMapping:
    """The paths and the budget of a mapping whose events are sampled."""

    version: int
    paths: tuple[str, ...]
    budget: SampleBudget
    writes: int = 0


@dataclass(slots=True)
class SchemaSampler:
    """Samples accepted events: the first thousand of a mapping, then ten a second.

    All mappings of a process together get two thousand samples at first, then a hundred a second. A sample
    takes about 70 µs.
    """

    pool: asyncpg.Pool
    monotonic: Callable[[], float]
    telemetry: Telemetry
    _mappings: dict[MappingNumber, _SampledMapping] = field(default_factory=dict)
    _samples: dict[MappingNumber, Counter[SchemaSample]] = field(default_factory=dict)
    _process_budget: SampleBudget = field(default_factory=lambda: SampleBudget(2_000, 100, 0.0, 2_000))
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def observe(self, events: Sequence[Event | Rejection], results: RequestResults) -> None:
        """Sample accepted events, up to the budgets."""
        now = self.monotonic()
        if not self._process_budget.is_available(now):
            return  # the usual case under load
        exhausted: set[MappingNumber] = set()
        for event, evaluated, dedup_result in zip(events, results.evaluated, results.dedup, strict=True):
            if (
                dedup_result is not DedupResult.ACCEPTED
                or not isinstance(evaluated, Candidate)
                or evaluated.mapping.number in exhausted
            ):
                continue
            mapping = self._sampled_mapping(evaluated.mapping, now)
            if not mapping.budget.take(now):
                exhausted.add(evaluated.mapping.number)
                continue
            if not self._process_budget.take(now):
                return
            assert isinstance(event, Event)
            sample = take_sample(event.content, mapping.paths, _unusable(evaluated))
            self._samples.setdefault(evaluated.mapping.number, Counter())[sample] += 1

    def _sampled_mapping(self, published: PublishedMapping, now: float) -> _SampledMapping:
        mapping = self._mappings.get(published.number)
        if mapping is None or mapping.version != published.version:
            assert published.compiled is not None
            paths = tuple(path for _, path in published.compiled.paths)
            budget = (
                SampleBudget(schema_samples.RING, 10, now, schema_samples.RING)
                if mapping is None
                else mapping.budget
            )
            if len(self._mappings) >= 10_000:
                self._mappings.clear()
            mapping = self._mappings[published.number] = _SampledMapping(published.version, paths, budget)
        return mapping

    async def run(self) -> None:
        """Write the collected samples once a second, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write the samples collected so far; return when they can be read."""
        async with self._write_lock:
            samples, self._samples = self._samples, {}
            if not samples:
                return
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    # Losing samples in a crash is harmless, so this commit does not wait for the disk.
                    await transactions.commit_without_waiting(connection)
                    await schema_samples.add(connection, samples)
                    if due := [number for number in samples if self._is_trim_due(number)]:
                        await schema_samples.trim(connection, due)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("schema_samples.write_failed", error, level=30, mappings=len(samples))

    def _is_trim_due(self, number: MappingNumber) -> bool:
        mapping = self._mappings.get(number)
        if mapping is None:
            return True
        mapping.writes += 1
        return mapping.writes % _TRIM_EVERY == 0


def _unusable(candidate: Candidate) -> dict[str, ValueKind]:
    """Return the paths whose values gave no match key, each with the kind of its unusable value."""
    dropped = {wire_type for wire_type, _ in candidate.conversion.dropped_keys}
    if not dropped:
        return {}  # the usual case
    assert candidate.mapping.compiled is not None
    return {
        key.source.path: ValueKind.UNUSABLE_TRAIT if key.rule.hashed else ValueKind.UNUSABLE_ID
        for key in candidate.mapping.compiled.match_keys
        if key.wire_type in dropped and key.source.path is not None
    }
