"""Sample the schema of events in the background: a few events a second, after they were answered.

A sample contains no text of its event. Losing samples is harmless: an error is logged, and no event waits for
its sample.
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Final

import asyncpg

from app.domain.conversion.amazon_codes import PURCHASE
from app.domain.event import Event, Rejection
from app.domain.identity.keys import MatchKeyRule
from app.domain.ids import DestinationId, DestinationNumber, MappingNumber
from app.domain.mapping.paths import last_name
from app.domain.mapping.sources import Source
from app.domain.match_quality.recent_events import LOSES_CHARACTERS, MappingWindow, drifted
from app.domain.observed.differences import KEYS, refused_fields, sent_facts
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.domain.observed.schema_sample import EVENT_ID, SampleGroup, SchemaSample, take_sample
from app.domain.outcomes.reasons import JourneyCode
from app.domain.suggestions.amounts import divisor_of
from app.ingest.destination_cache import CachedDestination, DestinationLookup, PublishedMapping
from app.ingest.evaluate import Candidate, DedupResult, PendingRequest
from app.store import PipelineConnection, transactions
from app.store.destinations import schema_samples
from app.store.errors import DRIVER_ERRORS
from app.store.match_quality import recent_events
from app.store.match_quality.recent_events import NewPathEvents, ObservedMapping
from app.telemetry import Telemetry

WRITE_EVERY_S: Final = 1.0
_TRIM_EVERY: Final = 20  # writes of a mapping's samples
_MOST_MAPPINGS: Final = 10_000
_MOST_VALUES: Final = 100_000  # values that the counters of a process remember together: 10 MB

# A mapping, its version, whether it accepted the events, and the facts about their fields.
GroupKey = tuple[MappingNumber, int, bool, tuple[str, ...]]


@dataclass(slots=True)
class SampleBudget:
    """A token bucket of samples. It may begin with more tokens than its capacity."""

    capacity: float
    per_second: float
    updated_at: float
    tokens: float

    def is_available(self, now: float) -> bool:
        refilled = min(self.capacity, self.tokens + (now - self.updated_at) * self.per_second)
        self.tokens = max(self.tokens, refilled)
        self.updated_at = now
        return self.tokens >= 1

    def take(self, now: float) -> bool:
        if not self.is_available(now):
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class ValueCounter:
    """Counts, for each path, the values that none of the last thousand sampled events of a mapping had.

    Only the numbers are stored. The memory holds a hash of each value, with a key of the process.
    """

    id: int = field(default_factory=lambda: secrets.randbits(62))
    _events: int = 0
    _last: dict[int, int] = field(default_factory=dict)  # hash of path and value: the last event with it
    _prune_at: int = 2 * schema_samples.RING

    @property
    def remembered(self) -> int:
        return len(self._last)

    def begin_event(self) -> None:
        self._events += 1

    def count(self, different: Counter[str], path: str, text: str) -> None:
        """Add one to the path's number in `different` if the value is new."""
        digest = hash((path, text))
        last = self._last.get(digest)
        if last is None or self._events - last >= schema_samples.RING:
            different[path] += 1
        self._last[digest] = self._events
        if len(self._last) > self._prune_at:
            oldest = self._events - schema_samples.RING
            self._last = {each: at for each, at in self._last.items() if at > oldest}
            self._prune_at = 2 * max(len(self._last), schema_samples.RING)


@dataclass(slots=True)
class _SampledMapping:
    """A mapping whose events are sampled."""

    number: MappingNumber
    destination: DestinationNumber
    budget: SampleBudget
    version: int = 0
    paths: tuple[str, ...] = ()
    match_key_paths: frozenset[str] = frozenset()
    fields_of_paths: Mapping[str, MatchKeyRule] = field(default_factory=dict)
    # The path of `value` and of `currency`, if the mapping reads them from the event.
    money_paths: Mapping[str, str | None] = field(default_factory=dict)
    maps_event_id: bool = False
    window: MappingWindow = field(default_factory=lambda: MappingWindow(""))
    counter: ValueCounter = field(default_factory=ValueCounter)
    writes: int = 0

    def is_trim_due(self) -> bool:
        self.writes += 1
        return self.writes % _TRIM_EVERY == 0


@dataclass(slots=True)
class _Group:
    """Samples of a mapping that are not written yet. See `SampleGroup`."""

    mapping: _SampledMapping
    counter: int
    samples: Counter[SchemaSample] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    def note_value(self, path: str, text: str) -> None:
        self.mapping.counter.count(self.different, path, text)
        rule = self.mapping.fields_of_paths.get(path)
        if rule is not None and LOSES_CHARACTERS[rule.field](text):
            self.changed[rule.type.value] += 1

    def packed(self, version: int, is_accepted: bool, facts: tuple[str, ...]) -> SampleGroup:
        keys = tuple(key for name, key in KEYS.items() if is_accepted and name in facts)
        return SampleGroup(
            self.samples,
            self.different,
            counter=self.counter,
            version=version,
            accepted=is_accepted,
            match_keys=keys,
            changed=self.changed,
            facts=facts,
        )


@dataclass(frozen=True, slots=True, repr=False)
class _WaitingEvent:
    """An event to sample. Contains personal data; it waits for the next pause of the event loop."""

    read: Callable[[], Event]
    mapping: _SampledMapping
    group: GroupKey
    purchase: bytes | None  # the finished Amazon event of a purchase
    event_id: str | None  # of the Amazon event, if it is mapped


@dataclass(slots=True, repr=False)
class SchemaSampler:
    """Samples events that a mapping accepted or rejected, except large ones and those that lack consent.

    The first thousand events of a mapping are sampled, then ten a second. All mappings of a process together
    get 500 samples at first, then 20 a second, of which a burst of events gets at most 100.
    """

    pool: asyncpg.Pool
    pepper: bytes
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    telemetry: Telemetry
    _mappings: dict[MappingNumber, _SampledMapping] = field(default_factory=dict)
    _waiting: deque[_WaitingEvent] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _groups: dict[GroupKey, _Group] = field(default_factory=dict)
    _erasures: dict[DestinationNumber, int] = field(default_factory=dict)  # as last read
    _process_budget: SampleBudget = field(default_factory=lambda: SampleBudget(100, 20, 0.0, 500))
    _has_samples: asyncio.Event = field(default_factory=asyncio.Event)  # to write
    _sampling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _process: int = field(default_factory=lambda: secrets.randbits(62))

    def observe(self, find: DestinationLookup, request: PendingRequest) -> None:
        """Choose events to sample, up to the budgets."""
        now = self.monotonic()
        if not self._process_budget.is_available(now):
            return  # the usual case under load
        exhausted: set[MappingNumber] = set()
        for index, evaluated in enumerate(request.evaluated):
            if (found := _mapping_of(request, index, find)) is None or found[1].number in exhausted:
                continue
            destination, published = found
            mapping = self._sampled_mapping(destination, published, now)
            if not mapping.budget.take(now):
                exhausted.add(published.number)
                continue
            if not self._process_budget.take(now):
                break
            purchase, event_id = None, None
            if isinstance(evaluated, Rejection):
                facts = refused_fields(evaluated)
            else:
                conversion = evaluated.conversion
                facts = sent_facts(conversion)
                purchase = conversion.body if conversion.event_type == PURCHASE else None
                event_id = conversion.amazon_event_id if mapping.maps_event_id else None
            key = (published.number, published.version, isinstance(evaluated, Candidate), facts)
            read = request.events.reader(index)
            self._waiting.append(_WaitingEvent(read, mapping, key, purchase, event_id))
        if self._waiting:
            self._arrived.set()

    def _sampled_mapping(
        self, destination: CachedDestination, published: PublishedMapping, now: float
    ) -> _SampledMapping:
        mapping = self._mappings.get(published.number)
        if mapping is not None and mapping.version == published.version:
            return mapping
        assert published.plan is not None
        compiled = published.plan.mapping
        if mapping is None:
            if len(self._mappings) >= _MOST_MAPPINGS:
                self._mappings.clear()
            budget = SampleBudget(schema_samples.RING, 10, now, schema_samples.RING)
            mapping = _SampledMapping(published.number, destination.stored.number, budget)
            self._mappings[published.number] = mapping
        mapping.version = published.version
        mapping.paths = tuple(path for _, path in compiled.paths)
        mapping.maps_event_id = "event_id" in compiled.by_field
        amount = compiled.by_field.get("value")
        mapping.money_paths = {
            name: source.path for name, source in compiled.by_field.items() if name in ("value", "currency")
        }
        mapping.window = MappingWindow(
            published.plan.rules.currency, amount is not None and _is_in_cents(amount)
        )
        keys = [(rule, path) for rule, source in compiled.match_keys for path in source.paths]
        mapping.match_key_paths = frozenset(path for _, path in keys)
        mapping.fields_of_paths = {path: rule for rule, path in keys if rule.field in LOSES_CHARACTERS}
        return mapping

    async def run_sampling(self) -> None:
        """Sample the chosen events soon, until cancelled.

        Events are sampled during a write too: their contents need much more memory than their samples.
        """
        while True:
            await self._arrived.wait()
            async with self._sampling:
                await self._sample()

    async def run_writing(self) -> None:
        """Write the samples once a second, until cancelled."""
        while True:
            await self._has_samples.wait()
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def _sample(self) -> None:
        self._arrived.clear()
        now = self.now()
        if self._waiting:
            self._has_samples.set()
        while self._waiting:
            self._sample_one(self._waiting.popleft(), now)
            await asyncio.sleep(0)

    def _sample_one(self, event: _WaitingEvent, now: datetime) -> None:
        mapping = event.mapping
        content = event.read().content
        if (group := self._groups.get(event.group)) is None:
            group = self._groups[event.group] = _Group(mapping, mapping.counter.id)
        mapping.counter.begin_event()
        sample = take_sample(
            content,
            mapping.paths,
            now=now,
            fingerprint=partial(fingerprint, key=fingerprint_key(self.pepper, mapping.destination)),
            note_value=group.note_value,
        )
        group.samples[sample] += 1
        if event.event_id is not None:
            group.different[EVENT_ID] += 0  # says that the ids of the group are counted
            mapping.counter.count(group.different, EVENT_ID, event.event_id)
        mapping.window.note(sample, mapping.paths, event.purchase, content)

    async def write(self) -> None:
        """Write the samples of the events observed so far; return when they can be read."""
        async with self._writing:
            async with self._sampling:
                await self._sample()
                groups, self._groups = self._groups, {}
                self._has_samples.clear()
                if sum(mapping.counter.remembered for mapping in self._mappings.values()) > _MOST_VALUES:
                    for mapping in self._mappings.values():
                        mapping.counter = ValueCounter()
            if not groups:
                return
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    # Losing samples in a crash is harmless, so this commit does not wait for the disk.
                    await transactions.commit_without_waiting(connection)
                    await self._write(connection, groups)
                    mappings = {group.mapping.number: group.mapping for group in groups.values()}
                    if due := [number for number, mapping in mappings.items() if mapping.is_trim_due()]:
                        await schema_samples.trim(connection, due)
                        await recent_events.forget(connection, due)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("schema_samples.write_failed", error, level=30, mappings=len(groups))

    async def _write(self, connection: PipelineConnection, groups: Mapping[GroupKey, _Group]) -> None:
        paths: dict[DestinationNumber, set[str]] = {}
        for group in groups.values():
            paths.setdefault(group.mapping.destination, set()).update(group.mapping.match_key_paths)
        locked = await schema_samples.lock_fingerprints(connection, paths)
        known = {
            destination: fingerprints
            for destination, (fingerprints, erasures) in locked.items()
            if self._erasures.setdefault(destination, erasures) == erasures
        }
        self._erasures |= {destination: erasures for destination, (_, erasures) in locked.items()}
        self._forget(paths.keys() - known.keys())
        written: dict[MappingNumber, _SampledMapping] = {}
        rows = []
        for (number, version, is_accepted, facts), group in sorted(groups.items(), key=itemgetter(0)):
            if (fingerprints := known.get(group.mapping.destination)) is None:
                group.mapping.counter = ValueCounter()
            else:
                rows.append((number, group.packed(version, is_accepted, facts), fingerprints))
                written[number] = group.mapping
        await schema_samples.add(connection, rows)
        await schema_samples.write_fingerprints(connection, known)
        await self._write_checks(connection, written)

    def _forget(self, destinations: Set[DestinationNumber]) -> None:
        """Drop what was observed of destinations with an erasure: it may be of an erased event."""
        for key in [key for key, each in self._groups.items() if each.mapping.destination in destinations]:
            self._groups.pop(key).mapping.counter = ValueCounter()
        self._waiting = deque(each for each in self._waiting if each.mapping.destination not in destinations)

    async def _write_checks(
        self, connection: PipelineConnection, mappings: Mapping[MappingNumber, _SampledMapping]
    ) -> None:
        """Write what the last events of these mappings show."""
        new = []
        for number, mapping in mappings.items():
            events, filled, texts = mapping.window.take_new()
            new += [
                NewPathEvents(mapping.destination, number, events, path, filled[path], texts[path])
                for path in set(mapping.paths)
            ]
        days = await recent_events.add_to_day(connection, new)
        observed = []
        for number, mapping in mappings.items():
            check, known = mapping.window.check(), {path: days[number, path] for path in mapping.paths}
            drift = next(iter(drifted(check, known.keys(), known)), None)
            observed.append(ObservedMapping(mapping.destination, number, check, mapping.money_paths, drift))
        await recent_events.write_checks(connection, self._process, observed)


def _is_in_cents(amount: Source) -> bool:
    """Return whether an amount is in hundredths, as its name says, and the mapping does not divide it."""
    is_divided = bool(amount.functions & {"divide", "multiply"})
    return not is_divided and any(divisor_of((last_name(path),)) > 1 for path in amount.patterns)


def _mapping_of(
    request: PendingRequest, index: int, find: DestinationLookup
) -> tuple[CachedDestination, PublishedMapping] | None:
    """Return the mapping that read an event, or None if the event must not be sampled.

    A repetition is not sampled, and neither is an event that is large or whose person does not consent.
    """
    if request.events.is_large(index):
        return None
    evaluated = request.evaluated[index]
    if isinstance(evaluated, Candidate):
        is_new = request.dedup[index] in (DedupResult.ACCEPTED, DedupResult.AMAZON_ID_CONFLICT)
        return (evaluated.destination, evaluated.mapping) if is_new else None
    if evaluated.mapping is None or evaluated.code is JourneyCode.CONSENT_NOT_PROVIDED:
        return None
    if (destination := find(DestinationId(evaluated.destination_id or ""))) is None:
        return None
    found = (each for each in destination.published if each.number == evaluated.mapping)
    return next(((destination, mapping) for mapping in found), None)
