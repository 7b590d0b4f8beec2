"""Test a draft on recent events: count lost and gained match keys and newly rejected events.

Only samples of the events are stored, without values. Each sample becomes a synthetic event, which the
published mapping and the draft both convert with the real code. Differences come from presence and types of
fields: wrong paths, types or pipes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Final

from app.domain.conversion.convert import Rules, convert
from app.domain.event import Event, Rejection
from app.domain.mapping.document import Mapping
from app.domain.observed.schema_sample import SchemaSample, synthetic_event

# Functions whose result depends on the characters of a value; a synthetic value may give another result.
_READS_CHARACTERS: Final = frozenset({"split", "substring", "replace", "map", "first", "last", "join"})


@dataclass(slots=True)
class Backtest:
    """The effect of a draft on `events` recent events.

    `lost` and `gained` count events by match key, `rejected` newly rejected events by (reason, mapping
    field). `unclear` counts events that were accepted although their synthetic event is rejected: no verdict
    on them.
    """

    events: int = 0
    unclear: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    uncertain: tuple[str, ...] = ()

    @property
    def harmful(self) -> bool:
        """Return whether an event would be rejected or lose a match key."""
        return bool(self.lost or self.rejected)

    @property
    def loss(self) -> Fraction:
        """Return the largest share of the clear events that loses one match key or is newly rejected."""
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
    """Convert a synthetic event of each distinct sample with both mappings and count the differences."""
    result = Backtest(uncertain=_uncertain(published, draft))
    counts: Counter[SchemaSample] = Counter()
    for sample, times in samples:
        counts[sample] += times
    for sample, times in counts.items():
        result.events += times
        event = Event(0, "backtest", rules.destination_id, rules.mapping_id, synthetic_event(sample, now))
        before = convert(event, "backtest", published, rules, now=now)
        after = convert(event, "backtest", draft, rules, now=now)
        if isinstance(before, Rejection):
            result.unclear += times
        elif isinstance(after, Rejection):
            result.rejected[after.reason, after.mapping_field] += times
        else:
            for key in set(before.match_keys) - set(after.match_keys):
                result.lost[key] += times
            for key in set(after.match_keys) - set(before.match_keys):
                result.gained[key] += times
    return result


def _uncertain(published: Mapping, draft: Mapping) -> tuple[str, ...]:
    """Return the match keys whose pipe changed and depends on the characters of a value."""
    published_pipes = {key.rule.field: key.source.rule for key in published.match_keys}
    return tuple(
        key.rule.field
        for key in draft.match_keys
        if key.source.rule != published_pipes.get(key.rule.field)
        and _READS_CHARACTERS & set(key.source.rule.split(" | "))
    )
