"""A draft tried against recent events: which match keys would be lost, which events newly refused, and why.

Nothing of the events is known but their outlines, so each is stood in for by an event of that outline with
made-up values, and converted both ways by the very code that converts real events. What differs is due to
presence and form, which is what a wrong path, type or pipe breaks.
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

# Functions that look at the letters of a value: with a made-up one they may give another answer.
_LOOKS_CLOSELY: Final = frozenset({"split", "substring", "replace", "map", "first", "last", "join"})


@dataclass(slots=True)
class Backtest:
    """What a draft would have done to `events` recent events.

    `lost` and `gained` count events by match key, `rejected` those newly refused by (reason, destination
    field). `unclear` events cannot be judged by their outlines:
    they were taken, but a made-up event of their outline is not.
    """

    events: int = 0
    unclear: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    uncertain: tuple[str, ...] = ()

    @property
    def loss(self) -> Fraction:
        """Return the largest share of the judged events that lose one match key or are newly refused."""
        evaluated = self.events - self.unclear
        worst = max([*self.lost.values(), self.rejected.total()], default=0)
        return Fraction(worst, evaluated) if evaluated else Fraction(0)


def backtest(
    seen: Iterable[tuple[SchemaSample, int]],
    published: Mapping,
    draft: Mapping,
    rules: Rules,
    *,
    now: datetime,
) -> Backtest:
    """Convert a stand-in of every outline both ways and count what differs; each outline is tried once."""
    told = Backtest(uncertain=_uncertain(published, draft))
    together: Counter[SchemaSample] = Counter()
    for shape, times in seen:
        together[shape] += times
    for shape, times in together.items():
        told.events += times
        event = Event(0, "backtest", rules.destination_id, rules.mapping_id, synthetic_event(shape, now))
        before = convert(event, "backtest", published, rules, now=now)
        after = convert(event, "backtest", draft, rules, now=now)
        if isinstance(before, Rejection):
            told.unclear += times
        elif isinstance(after, Rejection):
            told.rejected[after.reason, after.mapping_field] += times
        else:
            for key in set(before.match_keys) - set(after.match_keys):
                told.lost[key] += times
            for key in set(after.match_keys) - set(before.match_keys):
                told.gained[key] += times
    return told


def _uncertain(published: Mapping, draft: Mapping) -> tuple[str, ...]:
    """Return the draft's fields that are judged with care: their pipe changed and looks closely at values."""
    was = {key.rule.field: key.source.rule for key in published.match_keys}
    return tuple(
        key.rule.field
        for key in draft.match_keys
        if key.source.rule != was.get(key.rule.field) and _LOOKS_CLOSELY & set(key.source.rule.split(" | "))
    )
