"""Test a mapping draft on recent events: compare what it and the published mapping would send.

Only samples of the events are stored, without values. Each sample becomes a synthetic event, which both
mappings convert. This shows which paths are read, and which values are absent or unusable. A field is
`uncertain` if a synthetic event cannot show the effect of its changed source.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Final, NamedTuple

from app.domain.conversion.convert import Conversion, Rules, convert
from app.domain.event import Event, Rejection
from app.domain.mapping.document import Mapping
from app.domain.observed.schema_sample import SchemaSample, ValueKind, may_be_unsampled
from app.domain.observed.sent_fields import KEY_FIELDS, sent_fields
from app.domain.observed.synthetic_event import synthetic_event

# Pipe functions whose result depends on the characters of a value, which are invented in a synthetic event.
_READS_CHARACTERS: Final = frozenset({"split", "substring", "replace", "map", "first", "last", "join"})


class RejectionGroup(NamedTuple):
    """Why the draft rejects events that the published mapping accepts. `field` is the path in the event."""

    reason: str
    field: str | None
    mapping_field: str | None


@dataclass(slots=True)
class Backtest:
    """The effect of a draft on `events` recent events.

    `lost` and `gained` count the events that lose or gain a match key, by match key. `changed` counts the
    events that send another value, by mapping field. `unclear` counts the events without a result, because
    the published mapping rejects their synthetic event. `uncertain` has the fields that may send another
    value.
    """

    events: int = 0
    unclear: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[RejectionGroup] = field(default_factory=Counter)
    uncertain: tuple[str, ...] = ()

    @property
    def harmful(self) -> bool:
        """Whether an event would be rejected or lose a match key."""
        return bool(self.lost or self.rejected)

    @property
    def loss(self) -> Fraction:
        """The largest share of evaluated events that are newly rejected or lose one match key."""
        evaluated = self.events - self.unclear
        worst = max([*self.lost.values(), self.rejected.total()], default=0)
        return Fraction(worst, evaluated) if evaluated else Fraction(0)


def backtest(
    samples: Iterable[tuple[SchemaSample, int]],
    published: Mapping,
    draft: Mapping,
    rules: Rules,
    *,
    now: datetime,
) -> Backtest:
    """Convert a synthetic event of each sample with both mappings, and count the differences.

    `samples` has each sample with its number of events.
    """
    result = Backtest()
    counts: Counter[SchemaSample] = Counter()
    for sample, times in samples:
        counts[sample] += times
    sources = _changed_sources(published, draft)
    concerned: set[str] = set()  # fields whose changed source may read a value of an event
    for sample, times in counts.items():
        result.events += times
        event = Event("backtest", rules.destination_id, rules.mapping_id, synthetic_event(sample, now))
        before = convert(event, "backtest", published, rules, now=now)
        after = convert(event, "backtest", draft, rules, now=now)
        if isinstance(before, Rejection):
            result.unclear += times
        elif isinstance(after, Rejection):
            result.rejected[RejectionGroup(after.reason, after.field, after.mapping_field)] += times
        else:
            _count_differences(result, before, after, times)
            concerned |= {source.field for source in sources if source.may_read(sample)}
    result.uncertain = _uncertain(result, sources, concerned)
    return result


def _count_differences(result: Backtest, before: Conversion, after: Conversion, times: int) -> None:
    for key in set(before.match_keys) - set(after.match_keys):
        result.lost[key] += times
    for key in set(after.match_keys) - set(before.match_keys):
        result.gained[key] += times
    counted = {KEY_FIELDS[key] for key in set(before.match_keys) ^ set(after.match_keys)}
    sent_before, sent_after = sent_fields(before), sent_fields(after)
    for name in sent_before.keys() | sent_after.keys():
        if name not in counted and sent_before.get(name) != sent_after.get(name):
            result.changed[name] += times


@dataclass(frozen=True, slots=True)
class _ChangedSource:
    """A field whose source has another path or another pipe in the draft."""

    field: str
    paths: tuple[str, ...]  # before and after
    reads_characters: bool

    def may_read(self, sample: SchemaSample) -> bool:
        """Return whether an event of the sample may have a value at one of the paths."""
        found = {entry.path for entry in sample if entry.kind is not ValueKind.NULL}
        return any(path in found or may_be_unsampled(path, sample) for path in self.paths)


def _changed_sources(published: Mapping, draft: Mapping) -> list[_ChangedSource]:
    before, after = dict(published.sources), dict(draft.sources)
    changed = []
    for name in sorted(before.keys() | after.keys()):
        was, becomes = before.get(name), after.get(name)
        if was and becomes and (was.path, was.pipe) == (becomes.path, becomes.pipe):
            continue  # synthetic events show the effect of a changed constant or default
        sources = [source for source in (was, becomes) if source is not None]
        field_name = "consent" if name.startswith("consent.") else name
        paths = tuple(source.path for source in sources if source.path is not None)
        rules = {word for source in sources for word in source.rule.split(" | ")}
        changed.append(_ChangedSource(field_name, paths, bool(_READS_CHARACTERS & rules)))
    return changed


def _uncertain(result: Backtest, sources: Iterable[_ChangedSource], concerned: set[str]) -> tuple[str, ...]:
    shown = {*result.changed, *(KEY_FIELDS[key] for key in (*result.lost, *result.gained))}
    return tuple(
        dict.fromkeys(
            source.field
            for source in sources
            if source.field in concerned and (source.reads_characters or source.field not in shown)
        )
    )
