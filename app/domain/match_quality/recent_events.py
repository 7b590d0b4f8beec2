"""The last hundred sampled events of a mapping: mapped paths that are filled, suspicious amounts, and values
that lose characters when they are normalised for Amazon, so that other systems hash them differently.

Only figures leave this module: counts by path and by rule. Source of the rules: interface §11 and §16.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from statistics import median
from typing import Any, Final, NamedTuple

from app.domain.incidents.conditions import SuspectRule
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
_WITH_DECIMALS: Final = re.compile(r"[0-9][.,][0-9]{2}(?![0-9])", re.ASCII)
_MOST_VALUES: Final = 1_000  # of an event, in which amounts are looked for
_LONGEST_AMOUNT: Final = 30  # characters
_CURRENCY: Final = re.compile(rb',"currencyCode":"([A-Z]{3})"')
_KEY_KINDS: Final = frozenset({ValueKind.EMAIL, ValueKind.PHONE, ValueKind.NATIONAL_PHONE})


@dataclass(frozen=True, slots=True)
class Purchase:
    """The amount and the currency of a conversion; None if it has none.

    `in_hundredths` says that the event itself has the hundredth of the amount, with decimals.
    """

    amount: Decimal | None
    currency: str | None
    in_hundredths: bool = False


def read_purchase(body: bytes, content: Any = None) -> Purchase:
    """Return the amount and the currency of a finished Amazon event, which was made of `content`."""
    found, currency = _AMOUNT.search(body), _CURRENCY.search(body)
    amount = Decimal(found[1].decode()) if found else None
    is_whole = amount is not None and amount >= 100 and amount == amount.to_integral_value()
    digits = str(int(amount or 0))
    in_hundredths = is_whole and digits in _amounts(content)
    return Purchase(amount, currency[1].decode() if currency else None, in_hundredths)


def _amounts(content: Any) -> Iterator[str]:
    """Yield the digits of each amount with two decimals: 1999 of 19.99 and of `19,99 €`."""
    waiting = [content]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += islice(value.values() if isinstance(value, dict) else value, _MOST_VALUES)
        elif isinstance(value, Decimal) and value.is_finite():
            hundredths = value * 100
            whole = int(hundredths)  # a remainder of a Decimal with more than 28 digits raises
            if whole % 100 and hundredths == whole:
                yield str(whole)
        elif isinstance(value, str) and len(value) <= _LONGEST_AMOUNT and _WITH_DECIMALS.search(value):
            yield "".join(filter(str.isdecimal, value))


def suspects(purchases: Sequence[Purchase], account_currency: str) -> dict[SuspectRule, int]:
    """Return how many of these purchases meet each rule, without rules that none meets."""
    amounts = [each.amount for each in purchases if each.amount is not None]
    paid = [amount for amount in amounts if amount > 0]
    usual = median(paid) if paid else Decimal(0)
    ratios = [max(amount / usual, usual / amount) for amount in paid]
    found = {
        SuspectRule.HUNDREDFOLD: sum(_LOW_RATIO <= ratio <= _HIGH_RATIO for ratio in ratios),
        SuspectRule.ALL_EQUAL: len(paid) if len(set(paid)) == 1 and len(paid) == len(amounts) else 0,
        SuspectRule.ZERO: sum(amount == 0 for amount in amounts),
        SuspectRule.HUNDREDTHS: sum(each.in_hundredths for each in purchases),
        SuspectRule.CURRENCY: sum(each.currency not in (None, account_currency) for each in purchases),
    }
    return {rule: number for rule, number in found.items() if number}


@dataclass(frozen=True, slots=True)
class MappingCheck:
    """The figures of a mapping's last sampled events, as stored."""

    events: int
    filled: Mapping[str, int]
    texts: Mapping[str, int]  # filled with a text, not with a number or boolean
    keys: Mapping[str, int]  # unmapped paths that hold addresses or phone numbers
    purchases: int
    suspects: Mapping[SuspectRule, int]

    def worst(self) -> tuple[SuspectRule, int] | None:
        """Return the rule that most purchases meet, if at least 20 do."""
        rule = max(self.suspects, key=lambda each: self.suspects[each], default=None)
        return None if rule is None or self.suspects[rule] < MIN_SUSPECT else (rule, self.suspects[rule])


class _Paths(NamedTuple):
    """Paths of an event: mapped ones that are filled, filled with a text, and unmapped ones with a key."""

    filled: frozenset[str]
    texts: frozenset[str]
    keys: frozenset[str]


# One object for equal paths: most events of a mapping have the same.
_shared_paths: Final = lru_cache(maxsize=1_000)(_Paths)


@dataclass(slots=True)
class MappingWindow:
    """The last hundred events of a mapping in one process, and what is not stored yet of its day."""

    currency: str
    names_hundredths: bool = False  # the path of the amount, as in `total_cents`, which is not divided
    _events: deque[_Paths] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _purchases: deque[Purchase] = field(default_factory=lambda: deque(maxlen=WINDOW))
    events: int = 0  # since `take_new`
    new: Counter[str] = field(default_factory=Counter)
    new_texts: Counter[str] = field(default_factory=Counter)

    def note(
        self, sample: SchemaSample, paths: Collection[str], body: bytes | None, content: Any = None
    ) -> None:
        """Add an event. `body` is the finished event of a purchase, else None, and `content` the event."""
        mapped = [entry for entry in sample if entry.path in paths and entry.kind not in EMPTY]
        filled = frozenset(entry.path for entry in mapped)
        texts = frozenset(entry.path for entry in mapped if entry.kind.json_type == "text")
        found = {entry.path for entry in sample if entry.kind in _KEY_KINDS}
        keys = frozenset(found.difference(paths))
        self._events.append(_shared_paths(filled, texts, keys))
        self.events += 1
        self.new.update(filled)
        self.new_texts.update(texts)
        if body is not None:
            purchase = read_purchase(body, content)
            is_doubtful = self.names_hundredths and purchase.amount is not None
            self._purchases.append(replace(purchase, in_hundredths=is_doubtful or purchase.in_hundredths))

    def check(self) -> MappingCheck:
        """Return the figures of the last hundred events."""
        return MappingCheck(
            len(self._events),
            _counted(event.filled for event in self._events),
            _counted(event.texts for event in self._events),
            _counted(event.keys for event in self._events),
            len(self._purchases),
            suspects(self._purchases, self.currency),
        )

    def take_new(self) -> tuple[int, Counter[str], Counter[str]]:
        """Return the events since the last call, and how many of them filled each path, also with a text."""
        taken = self.events, self.new, self.new_texts
        self.events, self.new, self.new_texts = 0, Counter(), Counter()
        return taken


def _counted(sets: Iterable[frozenset[str]]) -> dict[str, int]:
    return dict(Counter(path for each in sets for path in each))


class PathDays(NamedTuple):
    """The events of the last two days, and how many filled a path: with a text, and with another type.

    A process of the release before this one counts no types.
    """

    events: int = 0
    filled: int = 0
    texts: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """A mapped path that recent events no longer fill, or fill with another type.

    `successor` is an unmapped path that looks like its new name. `is_text` says whether the new type is text;
    None if the path vanished.
    """

    path: str
    successor: str | None = None
    is_text: bool | None = None


def drifted(check: MappingCheck, paths: Collection[str], before: Mapping[str, PathDays]) -> list[Drift]:
    """Return the mapped paths that the last events lack or fill with another type than the day before.

    The last events are among those of `before`.
    """
    if check.events < MIN_EVENTS:
        return []
    found = []
    for path in sorted(paths):
        days = before.get(path, PathDays())
        now, texts = check.filled.get(path, 0), check.texts.get(path, 0)
        earlier, earlier_filled = days.events - check.events, days.filled - now
        was_filled = earlier >= MIN_EVENTS and earlier_filled >= _WAS_FILLED * earlier
        if was_filled and now < _IS_GONE * check.events:
            usual = [key for key, times in check.keys.items() if times >= _WAS_FILLED * check.events]
            found.append(Drift(path, min(usual, default=None)))
        earlier_texts, earlier_others = days.texts - texts, days.others - (now - texts)
        for is_text, new, old in ((True, texts, earlier_others), (False, now - texts, earlier_texts)):
            is_new = now >= MIN_EVENTS and new >= (1 - _IS_GONE) * now
            if is_new and old >= max(MIN_EVENTS, _WAS_FILLED * (earlier_texts + earlier_others)):
                found.append(Drift(path, is_text=is_text))
    return found


_EMAIL: Final = re.compile(r"[a-z0-9.@-]*")


def _is_shortened_address(text: str) -> bool:
    return "@" in text and not _EMAIL.fullmatch(text.strip().lower())


def _has_foreign_letter(text: str) -> bool:
    return not text.isascii() and any(char.isalpha() and not char.isascii() for char in text)


LOSES_CHARACTERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "email": _is_shortened_address,
    **dict.fromkeys(("first_name", "last_name", "address", "city"), _has_foreign_letter),
}
"""For each field whether a text holds letters or signs that Amazon's rules remove or replace."""
