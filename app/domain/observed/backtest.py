"""Test a mapping draft on recent events: compare what it and the published mapping would send.

Only samples of the events are stored, without texts. Each sample becomes a synthetic event, which both
mappings convert. Where the result depends on a text that is not stored, it is unclear. A field with the same
source in both mappings has the same result, even if that is unclear.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from app.domain.conversion.amazon_codes import PURCHASE
from app.domain.conversion.convert import ConversionPlan
from app.domain.conversion.numbers import as_text
from app.domain.conversion.results import Conversion, Rules, Step
from app.domain.event import Event, EventProblem, Rejection
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.mapping.paths import EACH, parse_path
from app.domain.observed.differences import (
    KEYS,
    NO_KEY,
    REJECTING,
    changed_fields,
    continued_fields,
    different_values,
    field_of,
)
from app.domain.observed.schema_sample import Fingerprint, SampleGroup, SchemaSample, is_below
from app.domain.observed.synthetic_event import StandIns, fitting_time
from app.domain.observed.value_kinds import EMPTY

_LISTED: Final = re.compile(r"\[(?:\*|-1)\]")
CONTENT_UNKNOWN: Final = "content_unknown"
REPEATS_UNKNOWN: Final = "repeats_unknown"


@dataclass(slots=True)
class Backtest:
    """The effect of a draft on `events` recent events.

    `lost` and `gained` count the events that lose or gain a match key, by match key. `changed` counts the
    events that send another value, by mapping field. All of these are certain. `unclear` counts the results
    that are not, by the field of the mapping and its path; `unclear_events` is the number of events with one.
    `repeated_event_ids` counts the events that would repeat the mapped event id of an earlier event.
    """

    events: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[EventProblem] = field(default_factory=Counter)
    newly_accepted: int = 0
    unclear: Counter[EventProblem] = field(default_factory=Counter)
    unclear_events: int = 0
    repeated_event_ids: int = 0

    @property
    def harmful(self) -> bool:
        """Whether an event would be rejected or lose a match key."""
        return bool(self.lost or self.rejected or self.repeated_event_ids)

    @property
    def loss(self) -> Fraction:
        """The largest share of events that are newly rejected or lose one match key."""
        worst = max([*self.lost.values(), self.rejected.total() + self.repeated_event_ids], default=0)
        return Fraction(worst, self.events) if self.events else Fraction(0)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is certain of the events that the published mapping would get: whether it accepts them, and which
    of the fields in `known` it sends, some with their values. `refused` are the fields that reject an event;
    empty if they are not known. If an event has a path of `paths`, its sample has it, too.
    """

    accepted: bool | None = None
    sent: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    values: frozenset[tuple[str, str]] = frozenset()
    paths: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


def _facts(
    group: SampleGroup, published: CompiledMapping, version: int, older: Mapping[int, CompiledMapping]
) -> _Facts:
    """Return what a group tells of the published mapping. An older version tells it of the same sources."""
    mapping = published if group.version == version else older.get(group.version)
    if mapping is None:
        return _Facts()
    changed = changed_fields(mapping, published)
    paths = frozenset(path for _, path in mapping.paths if not {EACH, -1} & set(parse_path(path) or ()))
    if not group.accepted:
        if changed:
            return _Facts(paths=paths)
        return _Facts(False, known=frozenset(KEYS), paths=paths, refused=frozenset(group.facts))
    keys = frozenset(name for name, key in KEYS.items() if key in group.match_keys)
    facts = [each.partition("=") for each in group.facts]
    sent = frozenset(name for name, *_ in facts) or keys
    values = frozenset((name, value) for name, _, value in facts if value)
    known = ({name for name, _ in mapping.sources} if group.facts else KEYS.keys()) - changed
    sent &= known
    rejecting = {field_of(name) for name, source in published.sources if source.on_error == "reject"}
    has_key = not sent.isdisjoint(KEYS)
    is_certain = not changed or (has_key and not changed & (rejecting | REJECTING | {"event_name"}))
    return _Facts(group.accepted if is_certain else None, sent, frozenset(known), values, paths)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a mapping does with a synthetic event, by field.

    `problems` reject the event for certain. `open` are the fields that may reject it.
    """

    result: Conversion | Rejection
    steps: Mapping[str, Step]
    problems: Sequence[EventProblem]
    open: frozenset[str]

    @property
    def accepted(self) -> bool | None:
        return False if self.problems else None if self.open else True

    def is_unclear(self, name: str) -> bool:
        return _is_unclear(self.steps.get(name))

    def sends(self, name: str) -> bool:
        step = self.steps.get(name)
        if name in ("currency", "units_sold") and self.steps["event_type"].result != PURCHASE:
            return False
        if step is None or step.failed is not None:
            return False
        return step.result is not None and step.result is not False  # 0 is sent

    def has_constant(self, name: str) -> bool:
        """Return whether the field is sent with a constant or default, as in every such event."""
        step = self.steps.get(name)
        if step is None or step.source is None or not self.sends(name):
            return False
        return not step.source.paths or step.result in {as_text(each) for _, each in step.source.constants}


def _is_unclear(step: Step | None) -> bool:
    return step is not None and step.failed is not None and step.failed.reason == "unclear"


class _Side:
    """Converts synthetic events with one of the two mappings."""

    def __init__(self, mapping: CompiledMapping, rules: Rules, fingerprint: Fingerprint) -> None:
        self.mapping = mapping
        self._plan = ConversionPlan(mapping, rules)
        self._rules = rules
        self._stand_ins = StandIns(mapping, rules.profile, fingerprint)

    def outcome(self, sample: SchemaSample, sampled: Set[str], now: datetime) -> _Outcome:
        """Convert the synthetic event of a sample. It has all values at the paths `sampled`."""
        content = self._stand_ins.event(sample, sampled, now)
        trace: list[Step] = []
        event = Event("backtest", self._rules.destination_id, self._rules.mapping_id, content)
        result = self._plan.convert(event, "backtest", now, trace=trace)
        reported = {field_of(step.field): step for step in trace}
        unclear = {name for name, step in reported.items() if _is_unclear(step) and _may_reject(name, step)}
        problems: list[EventProblem] = []
        if isinstance(result, Rejection):
            found = [EventProblem(result.reason, result.field, result.mapping_field), *result.also]
            if result.basis and result.reason == "unclear":  # there may be consent
                found += _problems_beside_consent(trace)
            problems = [problem for problem in found if problem.reason != "unclear"]
        keys = [step for name, step in reported.items() if name in KEYS]
        if any(map(_is_unclear, keys)) and any(problem.reason == NO_KEY for problem in problems):
            unclear.add(NO_KEY)
            problems = [problem for problem in problems if problem.reason != NO_KEY]
        return _Outcome(result, reported, problems, frozenset(unclear))


def _problems_beside_consent(trace: Sequence[Step]) -> list[EventProblem]:
    """Return what rejects an event that has consent. A rejection for consent names nothing else."""
    problems = [
        EventProblem(step.failed.reason, step.source.path if step.source else None, step.field)
        for step in trace
        if step.failed is not None and step.rejects
    ]
    if all(step.result is None for step in trace if step.field in KEYS):
        problems.append(EventProblem(NO_KEY, None, None))
    return problems


def _may_reject(name: str, step: Step) -> bool:
    """Return whether a value of the field that cannot be read rejects the event (interface §4.4)."""
    on_error = None if step.source is None else step.source.on_error
    return on_error == "reject" if on_error is not None else name in REJECTING


def backtest(
    groups: Sequence[SampleGroup],
    published: CompiledMapping,
    draft: CompiledMapping,
    rules: Rules,
    *,
    fingerprint: Fingerprint,
    now: datetime,
    older: Mapping[int, CompiledMapping] = MappingProxyType({}),
    complete: bool = True,
) -> Backtest:
    """Convert a synthetic event of each sample with both mappings, and count the differences.

    The published mapping has the version of `rules`. `fingerprint` is that of the samples, which earlier
    versions may have accepted: `older` has these by number. `complete` says that `groups` has all samples of
    the mapping.
    """
    before, after = (_Side(mapping, rules, fingerprint) for mapping in (published, draft))
    comparison = _Comparison(before, after, rules.currency)
    counted: Counter[tuple[SchemaSample, _Facts]] = Counter()
    for group in groups:
        facts = _facts(group, published, rules.mapping_version, older)
        for sample, times in group.samples.items():
            counted[sample, facts] += times
    for (sample, facts), times in counted.items():
        comparison.add(sample, facts, times, now)
    comparison.foresee_repetitions(groups, complete=complete)
    return comparison.result


class _Comparison:
    """Compares the two mappings on one sample after the other."""

    def __init__(self, published: _Side, draft: _Side, default_currency: str) -> None:
        self.result = Backtest()
        self._default_currency = default_currency
        self._published, self._draft = published, draft
        self._changed = changed_fields(published.mapping, draft.mapping)
        self._continued = continued_fields(published.mapping, draft.mapping)
        self._accepted: set[SchemaSample] = set()
        self._is_id_changed = False
        self._constant_ids = 0  # events of which the draft's event id is a constant

    def add(self, sample: SchemaSample, facts: _Facts, times: int, now: datetime) -> None:
        """Count the differences of a sample."""
        result, now = self.result, fitting_time(sample, now)
        result.events += times
        before = self._published.outcome(sample, facts.paths, now)
        after = self._draft.outcome(sample, facts.paths, now)
        was = before.accepted if facts.accepted is None else facts.accepted
        sent = facts.sent | {name for name in KEYS.keys() - facts.known if before.sends(name)}
        facts = replace(facts, sent=sent)
        changed = self._changed - (self._continued & sent)
        self._is_id_changed |= "event_id" in changed
        if facts.accepted is False and (not changed or facts.refused - changed):
            return  # the events are still rejected
        if facts.refused:  # what the other fields do is known
            after = replace(after, open=after.open & changed)
        shared = (before.open & after.open) - changed
        if sent & KEYS.keys() - changed and was:
            shared |= after.open & {NO_KEY}  # a match key of the published mapping stays
        new = [problem for problem in after.problems if problem not in before.problems]
        if was and _loses_all_keys(after, facts, changed):
            new = [EventProblem(NO_KEY, None, None)]
        will = False if new else None if after.open - shared else True
        if was is False:
            if after.problems or (after.open and before.open == after.open == shared and not before.problems):
                return  # the events are still rejected
            will = None if after.open else True
        elif was is None and before.open <= shared and will:
            unclear = {name for name in changed if before.is_unclear(name) or after.is_unclear(name)}
            if not unclear and not self._different(before, after, changed):
                return  # whatever it is, it stays the same
        if was is None or will is None:
            result.unclear_events += times
            outcome = after if will is None else before
            for name in sorted(outcome.open - {NO_KEY}) or [NO_KEY]:
                self._note_unclear(outcome, name, times)
        elif was and not will:
            result.rejected[new[0]] += times
        elif will and not was:
            result.newly_accepted += times
        elif was and will:
            self._accepted.add(sample)
            self._constant_ids += times if after.has_constant("event_id") else 0
            self._compare(before, after, facts, changed, times)

    def _note_unclear(self, outcome: _Outcome, name: str, times: int) -> None:
        step = outcome.steps.get(name)
        path = step.source.path if step is not None and step.source is not None else None
        self.result.unclear[EventProblem(CONTENT_UNKNOWN, path, name)] += times

    def _compare(
        self, before: _Outcome, after: _Outcome, facts: _Facts, changed: Set[str], times: int
    ) -> None:
        """Count the differences between two accepted events.

        `facts` name all match keys that the published mapping sends. `changed` are the fields that have
        another source in the draft.
        """
        result = self.result
        unclear = {
            name
            for name in before.steps.keys() | after.steps.keys()
            if after.is_unclear(name) or (before.is_unclear(name) and name not in facts.known)
        }
        for name in sorted(unclear & changed):
            self._note_unclear(after if after.is_unclear(name) else before, name, times)
        counted = set(unclear)
        for name in sorted(facts.known & changed - KEYS.keys() - unclear):
            if before.is_unclear(name):  # it is known whether it was sent, but not its value
                counted.add(name)
                value = next((value for each, value in facts.values if each == name), None)
                is_same = value is not None and after.steps[name].result == value
                if (name in facts.sent) is not after.sends(name) or (value and not is_same):
                    result.changed[name] += times
                elif name in facts.sent and not is_same:
                    self._note_unclear(before, name, times)
                    unclear.add(name)
        result.unclear_events += times if unclear & changed else 0
        for name, key in KEYS.items():
            if name in changed - unclear and (name in facts.sent) is not after.sends(name):
                (result.lost if name in facts.sent else result.gained)[key] += times
                counted.add(name)
        for name in self._different(before, after, changed) - counted:
            result.changed[name] += times

    def _different(self, before: _Outcome, after: _Outcome, changed: Set[str]) -> set[str]:
        """Return the fields that are sent with another value, or no longer, or for the first time."""
        if isinstance(before.result, Conversion) and isinstance(after.result, Conversion):
            return {name for name, *_ in different_values(before.result, after.result)}
        # Something is unclear in both events and the same: only the other fields are compared.
        different = {
            name
            for name in (before.steps.keys() | after.steps.keys()) & changed - {"currency"}
            if (before.sends(name) or after.sends(name)) and _result(before, name) != _result(after, name)
        }
        if "currency" in changed and self._currency(before) != self._currency(after):
            different.add("currency")
        if self._published.mapping.event_name != self._draft.mapping.event_name:
            different.add("event_name")
        if "event_type" in different and "event_id" not in before.steps.keys() | after.steps.keys():
            different.add("event_id")  # it is derived from the type
        return different

    def _currency(self, outcome: _Outcome) -> Any:
        """Return the currency that is sent. A purchase without one has the destination's."""
        step = outcome.steps.get("currency")
        if _result(outcome, "event_type") != PURCHASE or (step is not None and step.failed is not None):
            return None
        return _result(outcome, "currency") or self._default_currency

    def foresee_repetitions(self, groups: Sequence[SampleGroup], *, complete: bool) -> None:
        """Count the events whose mapped event id an earlier event has."""
        source = self._draft.mapping.by_field.get("event_id")
        if source is None or not self._is_id_changed:
            return
        self.result.repeated_event_ids = max(0, self._constant_ids - 1)
        if not source.paths:
            return
        values, new = Counter[int](), Counter[int]()
        path = source.paths[0]
        start = _LISTED.split(path)[0]  # of which samples have the members
        rejected = 0
        for group in groups:
            for sample, times in group.samples.items():
                found = (entry.path for entry in sample if entry.kind not in EMPTY)
                if any(each == start or is_below(each, start) for each in found):
                    values[group.counter] += times
                    rejected += 0 if sample in self._accepted else times
            new[group.counter] += group.different.get(path, 0)
        repeated = max(0, sum((values - new).values()) - rejected)
        # What one process has counted is not compared with what another one has.
        uncounted = new.total() - max(new.values(), default=0) + min(rejected, values.total())
        is_injective = source.paths == (start,) and source.functions <= {"to_string"}
        if not is_injective or not complete:
            uncounted, repeated = (values.total() if not is_injective else repeated + uncounted), 0
        self.result.repeated_event_ids += repeated
        if uncounted:
            self.result.unclear[EventProblem(REPEATS_UNKNOWN, path, "event_id")] += uncounted


def _loses_all_keys(after: _Outcome, facts: _Facts, changed: Set[str]) -> bool:
    """Return whether an event has no match key, because the unclear ones gave none before."""
    unclear = {name for name in KEYS if after.is_unclear(name)}
    return unclear <= facts.known and NO_KEY in after.open and not unclear & (changed | facts.sent)


def _result(outcome: _Outcome, name: str) -> Any:
    """Return what a field is sent with, or what is equal for equal values. The paths stand for a signal."""
    step = outcome.steps.get(name)
    if step is None or step.failed is not None:
        return None
    if step.source is not None and name == "consent":
        return step.result, step.source.paths
    return step.result if step.hidden is None else step.hidden
