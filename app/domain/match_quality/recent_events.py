"""The last hundred sampled events of a mapping: which mapped paths are filled, and suspicious amounts.

Only figures leave this module: counts by path and by rule. Source of the rules: interface §11 and §16.
"""

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from statistics import median
from typing import Final

from app.domain.observed.schema_sample import SchemaSample
from app.domain.observed.value_kinds import EMPTY, ValueKind

WINDOW: Final = 100
MIN_SUSPECT: Final = 20  # of the last hundred purchases
MIN_EVENTS: Final = 50
_WAS_FILLED: Final = 0.5
_IS_GONE: Final = 0.05
# Amounts in cents among amounts in units, or the other way round, are about a hundred times the median.
_LOW_RATIO, _HIGH_RATIO = 30, 333
_AMOUNT: Final = re.compile(rb',"value":(-?[0-9]+(?:\.[0-9]+)?)[,}]')
_CURRENCY: Final = re.compile(rb',"currencyCode":"([A-Z]{3})"')
_KEY_KINDS: Final = frozenset({ValueKind.EMAIL, ValueKind.PHONE, ValueKind.NATIONAL_PHONE})


class SuspectRule(StrEnum):
    """Why the amounts of purchases are suspicious."""

    HUNDREDFOLD = "hundredfold"
    ALL_EQUAL = "all_equal"
    ZERO = "zero"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True)
class Purchase:
    """The amount and the currency of a conversion; None if it has none."""

    amount: Decimal | None
    currency: str | None


def read_purchase(body: bytes) -> Purchase:
    """Return the amount and the currency of a finished Amazon event."""
    amount, currency = _AMOUNT.search(body), _CURRENCY.search(body)
    return Purchase(
        Decimal(amount[1].decode()) if amount else None, currency[1].decode() if currency else None
    )


def suspects(purchases: Sequence[Purchase], account_currency: str) -> dict[SuspectRule, int]:
    """Return how many of these purchases meet each rule, without rules that none meets."""
    amounts = [each.amount for each in purchases if each.amount is not None]
    paid = [amount for amount in amounts if amount > 0]
    usual = median(paid) if paid else Decimal(0)
    found = {
        SuspectRule.HUNDREDFOLD: sum(
            _LOW_RATIO <= ratio <= _HIGH_RATIO
            for amount in paid
            for ratio in (max(amount / usual, usual / amount),)
        ),
        SuspectRule.ALL_EQUAL: len(paid) if len(set(paid)) == 1 and len(paid) == len(amounts) else 0,
        SuspectRule.ZERO: sum(amount == 0 for amount in amounts),
        SuspectRule.CURRENCY: sum(each.currency not in (None, account_currency) for each in purchases),
    }
    return {rule: number for rule, number in found.items() if number}


@dataclass(frozen=True, slots=True)
class MappingCheck:
    """The figures of a mapping's last sampled events, as stored."""

    events: int
    filled: Mapping[str, int]
    keys: Mapping[str, int]  # unmapped paths that hold addresses or phone numbers
    purchases: int
    suspects: Mapping[SuspectRule, int]

    def worst(self) -> tuple[SuspectRule, int] | None:
        """Return the rule that most purchases meet, if at least 20 do."""
        rule = max(self.suspects, key=lambda each: self.suspects[each], default=None)
        return None if rule is None or self.suspects[rule] < MIN_SUSPECT else (rule, self.suspects[rule])


@dataclass(slots=True)
class MappingWindow:
    """The last hundred events of a mapping in one process, and what is not stored yet of its day."""

    currency: str
    _filled: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _keys: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _purchases: deque[Purchase] = field(default_factory=lambda: deque(maxlen=WINDOW))
    events: int = 0  # since `take_new`
    new: Counter[str] = field(default_factory=Counter)

    def note(self, sample: SchemaSample, paths: Collection[str], body: bytes | None) -> None:
        """Add an event. `body` is the finished event of a purchase, else None."""
        filled = frozenset(entry.path for entry in sample if entry.path in paths and entry.kind not in EMPTY)
        self._filled.append(filled)
        self._keys.append(
            frozenset(entry.path for entry in sample if entry.kind in _KEY_KINDS and entry.path not in paths)
        )
        self.events += 1
        self.new.update(filled)
        if body is not None:
            self._purchases.append(read_purchase(body))

    def check(self) -> MappingCheck:
        """Return the figures of the last hundred events."""
        return MappingCheck(
            len(self._filled),
            _counted(self._filled),
            _counted(self._keys),
            len(self._purchases),
            suspects(self._purchases, self.currency),
        )

    def take_new(self) -> tuple[int, Counter[str]]:
        """Return the events since the last call, and how many of them filled each path."""
        taken = self.events, self.new
        self.events, self.new = 0, Counter()
        return taken


def _counted(sets: Iterable[frozenset[str]]) -> dict[str, int]:
    return dict(Counter(path for each in sets for path in each))


@dataclass(frozen=True, slots=True)
class Drift:
    """A mapped path that recent events no longer fill, and an unmapped path that looks like its successor."""

    path: str
    successor: str | None


def drifted(
    check: MappingCheck, paths: Collection[str], before: Mapping[str, tuple[int, int]]
) -> list[Drift]:
    """Return the mapped paths that the last events lack, although events of the day before had them.

    `before` has, by path, the events of the last two days and how many of them filled the path; the last
    events are among them.
    """
    if check.events < MIN_EVENTS:
        return []
    found = []
    for path in sorted(paths):
        events, filled = before.get(path, (0, 0))
        now = check.filled.get(path, 0)
        earlier, earlier_filled = events - check.events, filled - now
        was_filled = earlier >= MIN_EVENTS and earlier_filled >= _WAS_FILLED * earlier
        if was_filled and now < _IS_GONE * check.events:
            usual = [key for key, times in check.keys.items() if times >= _WAS_FILLED * check.events]
            found.append(Drift(path, min(usual, default=None)))
    return found
