"""Find how amounts are written: the sign of the decimals, whether they are in hundredths, and their currency.

How a text is to be read can depend on the currency of the event: `1,22 €` beside `¥1,220`. A source that
reads only some currencies begins with the currency in double brackets, which steps remove for these.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Self

from app.domain.conversion.amazon_codes import CURRENCIES, WITHOUT_DECIMALS
from app.domain.conversion.numbers import is_number, read_number
from app.domain.mapping.pipes import MAX_PIPE_STEPS
from app.domain.suggestions.names import WORDS, word_list, words_of
from app.domain.suggestions.observations import ObservedPath, Written

# Decimals of a computer, which writes as many as there are.
_VARIED: Final = re.compile(r"[.,]\d(?!\d)|\.\d{4,}")
_WORDED: Final = re.compile(r"([^0-9]*)[0-9](?:.*[0-9])?([^0-9]*)", re.DOTALL)
_OTHER: Final = {",": ".", ".": ","}
_MAX_WORDS: Final = 3
_LONGEST_SIGN: Final = 4
_USUAL: Final = word_list("usual_currencies")


@dataclass(frozen=True, slots=True)
class Notation:
    """How a path's amounts are written. `decimal` is None for JSON numbers; `mixed`: both signs occur.

    `certain` is False if only the country or currency decides. In a `doubtful` notation, some amounts can be
    read in two ways, of which one is wrong.
    """

    decimal: str | None = None
    mixed: bool = False
    certain: bool = True
    doubtful: bool = False
    divisor: int = 1

    @classmethod
    def of(cls, values: Iterable[Any], countries: Iterable[str], divisor: int = 1) -> Self:
        """Return how amounts are written. `countries` decide where the values cannot."""
        texts = [value for value in values if type(value) is str]
        if not texts:
            return cls(divisor=divisor)
        # How each text is read with a decimal comma, and with a decimal point.
        read = [(read_amount(text, ","), read_amount(text, ".")) for text in texts]
        comma = sum(with_comma is not None and with_point is None for with_comma, with_point in read)
        point = sum(with_point is not None and with_comma is None for with_comma, with_point in read)
        # The signs that are decimal signs or separate thousands: `1.220` is 1.22 or 1220.
        either = {"." if a > b else "," for a, b in read if a is not None and b is not None and a != b}
        if comma or point:
            sign = "," if comma > point else "."
            mixed = bool(comma and point)
            if mixed and either:
                sign = _OTHER[min(either)]  # `1,220` is read as 1220 first
            doubtful = sign in either and not any(map(_VARIED.search, texts))
            return cls(sign, mixed, certain=not mixed and not doubtful, doubtful=doubtful, divisor=divisor)
        if not either:
            return cls(".", divisor=divisor)  # no sign at all, or only spaces between thousands
        by_country = [country in WORDS["point_countries"] for country in countries if country]
        sign = "." if not by_country or sum(by_country) * 2 >= len(by_country) else ","
        return cls(sign, certain=False, doubtful=sign in either, divisor=divisor)

    def pipes(self) -> list[list[Any]]:
        """Return the pipes that read an amount; a mixed notation has two, to be tried in turn."""
        signs = [self.decimal, *([_OTHER[self.decimal]] if self.mixed and self.decimal else [])]
        scale = [["divide", self.divisor]] if self.divisor > 1 else []
        return [([["to_number", sign]] if sign else []) + scale for sign in signs]

    def sums(self, names: Sequence[str], *, skip: bool = False) -> list[list[Any]]:
        """Return the pipes that sum the product of named numbers over a list."""
        pipes = []
        for pipe in self.pipes():
            options = {"missing": "skip"} if skip else {}
            if pipe and pipe[0][0] == "to_number":
                options["decimal"] = pipe.pop(0)[1]
            pipes.append([["sum", *names, *([options] if options else [])], *pipe])
        return pipes

    def by_currency(
        self, rows: Sequence[tuple[str, Any]], names: Sequence[str]
    ) -> tuple["Notation", Mapping["Notation", list[str]]]:
        """Return this notation of all amounts, or those of the currencies if they differ.

        `rows` have the currency and value of amounts, `names` lead to them. A currency whose amounts remain
        doubtful is left out. A usual one that does not occur is read as its country writes amounts.
        """
        values: dict[str, list[Any]] = {}
        for code, value in rows:
            values.setdefault(str(code), []).append(value)
        is_needed = not self.certain or self.mixed or self.divisor == 100
        if len(values) < 2 or not is_needed or not CURRENCIES.issuperset(map(str.upper, values)):
            return self, {}
        smallest = self.divisor == 100 and bool(WORDS["smallest_units"] & set(words_of(names[-1])))
        found: dict[Notation, list[str]] = {}
        for code, amounts in sorted(values.items(), key=lambda row: -len(row[1])):
            notation = Notation.of(amounts, (code[:2].upper(),), self.divisor)  # JP of JPY
            if self.divisor == 100 and code.upper() in WITHOUT_DECIMALS:
                notation = replace(notation, divisor=1 if smallest or _has_last_digits(amounts) else 100)
            if not notation.mixed and not notation.doubtful:
                found.setdefault(replace(notation, certain=True), []).append(code)
        if smallest:
            found.setdefault(Notation(self.decimal, divisor=1), [])
        if len(found) == 1 and sum(map(len, found.values())) == len(values):
            return next(iter(found)), {}
        for code in (code if "".join(values).isupper() else code.lower() for code in _USUAL):
            divisor = 1 if smallest and code.upper() in WITHOUT_DECIMALS else self.divisor
            sign = self.decimal and ("." if code[:2].upper() in WORDS["point_countries"] else ",")
            for notation, codes in found.items():
                if code not in values and (notation.decimal, notation.divisor) == (sign, divisor):
                    codes.append(code)
        return self, {notation: codes for notation, codes in found.items() if codes}

    def guarded(
        self, guard: ObservedPath, each: ObservedPath, texts: Sequence[str], times: int = 1
    ) -> Written:
        """Return a source that reads an amount only where the guard has one of the texts."""
        read = [] if self.decimal else ["to_number"]  # a template gives a text
        product = [["multiply", times]] if times > 1 else []
        steps = [*read, *self.pipes()[0], *product]
        room = MAX_PIPE_STEPS - len(each.piped(*steps)["pipe"])
        return each.guarded_by(guard, texts[:room], *steps)

    @property
    def words(self) -> str:
        """What a person reads about it."""
        written = {None: "JSON numbers", ".": "texts with a decimal point", ",": "texts with a decimal comma"}
        unit = {100: ", in hundredths", 1_000_000: ", in millionths"}.get(self.divisor, "")
        return ("texts with a comma or a point" if self.mixed else written[self.decimal]) + unit


def _has_last_digits(amounts: Iterable[Any]) -> bool:
    """Return whether not all amounts end with two zeros: then they are no hundredths."""
    # int: a remainder of a Decimal with more than 28 digits raises
    return any(int(read_amount(amount) or 0) % 100 for amount in amounts)


def as_amounts(each: ObservedPath) -> ObservedPath:
    """Return a path with steps that replace digits of other scripts, and the words beside amounts."""
    each = each.with_plain_digits()
    yen = ("円",) if any({"¥", "￥"} & {*text} for text in each.texts) else ()  # beside `¥1,000`, `1,000円`
    return each.replacing(dict.fromkeys([*words_beside(each.texts), *yen], ""))


def words_beside(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the words beside amounts that `to_number` does not read, such as `円`, the longest one first."""
    words: set[str] = set()
    for text in texts:
        match = _WORDED.fullmatch(text.strip())
        if match and read_amount(text, ",") is None and read_amount(text, ".") is None:
            words |= {word.strip() for word in match.groups()} - {""}
    known = len(words) <= _MAX_WORDS and all(map(_means_money, words))
    return tuple(sorted(words, key=len, reverse=True)) if known else ()


def _means_money(word: str) -> bool:
    signs = any(unicodedata.category(char) == "Sc" for char in word)
    return (signs and len(word) <= _LONGEST_SIGN) or word.lower() in WORDS["money"] or word in CURRENCIES


def divisor_of(names: Sequence[str]) -> int:
    """Return by how much an amount must be divided, as its name says: `price_cents`, `amountMicros`."""
    words = set(words_of(names[-1])) if names else set()
    return 100 if words & WORDS["hundredths"] else 1_000_000 if words & WORDS["millionths"] else 1


def read_amount(value: Any, sign: str | None = None) -> Decimal | None:
    """Return an amount as it is written, or None if it cannot be read with this decimal sign."""
    number = read_number(value.strip(), sign) if type(value) is str else value
    return Decimal(number) if is_number(number) else None
