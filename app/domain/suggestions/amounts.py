"""Find how amounts are written: the sign of the decimals, and whether they are in hundredths."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.numbers import is_number, read_number
from app.domain.suggestions.names import word_set, words_of

# Signs that decide: one or two digits after the last sign, or both signs.
_COMMA: Final = re.compile(r"\d,\d{1,2}(?![\d,.])|\.\d{3},|,-")
_POINT: Final = re.compile(r"\d\.\d{1,2}(?![\d,.])|,\d{2,3}\.|\.\d{4,}")
_EITHER: Final = re.compile(r"\d[.,]\d{3}(?!\d)")
_WORDED: Final = re.compile(r"([^0-9]*)[0-9](?:.*[0-9])?([^0-9]*)", re.DOTALL)
_MAX_WORDS: Final = 3
_LONGEST_SIGN: Final = 4
_MONEY: Final = word_set("money")
_POINT_COUNTRIES: Final = word_set("point_countries")
_HUNDREDTHS: Final = word_set("hundredths")
_MILLIONTHS: Final = word_set("millionths")


@dataclass(frozen=True, slots=True)
class Notation:
    """How a path's amounts are written. `decimal` is None for JSON numbers; `mixed`: both signs occur.

    `words` stand before or after the amounts, and no currency that `to_number` reads.
    """

    decimal: str | None = None
    mixed: bool = False
    certain: bool = True
    divisor: int = 1
    words: tuple[str, ...] = ()

    def pipes(self) -> list[list[Any]]:
        """Return the pipes that read an amount; a mixed notation has two, to be tried in turn."""
        signs = [
            self.decimal,
            *({",": ["."], ".": [","]}[self.decimal] if self.mixed and self.decimal else []),
        ]
        scale = [["divide", self.divisor]] if self.divisor > 1 else []
        cut = [["replace", word, ""] for word in self.words]
        return [cut + ([["to_number", sign]] if sign else []) + scale for sign in signs]

    def sums(self, names: Sequence[str], *, skip: bool = False) -> list[list[Any]]:
        """Return the pipes that sum the product of named numbers over a list: none if they have words."""
        pipes = []
        for pipe in self.pipes() if not self.words else ():
            options = {"missing": "skip"} if skip else {}
            if pipe and pipe[0][0] == "to_number":
                options["decimal"] = pipe.pop(0)[1]
            pipes.append([["sum", *names, *([options] if options else [])], *pipe])
        return pipes


def notation_of(values: Iterable[Any], names: Sequence[str], countries: Iterable[str]) -> Notation:
    """Return how amounts are written. `names` lead to them, `countries` decide where the values cannot."""
    texts = [value for value in values if type(value) is str]
    divisor = divisor_of(names)
    if not texts:
        return Notation(divisor=divisor)
    words = _words_beside(texts)
    texts = without_words(texts)
    comma = sum(_COMMA.search(text) is not None for text in texts)
    point = sum(_POINT.search(text) is not None and _COMMA.search(text) is None for text in texts)
    if comma or point:
        readable = {sign: sum(read_amount(text, sign) is not None for text in texts) for sign in ",."}
        sign = "," if comma > point else "."
        other = {",": ".", ".": ","}[sign]
        mixed = readable[sign] < len(texts) and bool(comma and point) and readable[other] > 0
        return Notation(sign, mixed=mixed, divisor=divisor, words=words)
    if not any(_EITHER.search(text) for text in texts):
        return Notation(".", divisor=divisor, words=words)  # no sign at all, or only spaces between thousands
    by_country = [country in _POINT_COUNTRIES for country in countries if country]
    sign = "." if not by_country or sum(by_country) * 2 >= len(by_country) else ","
    return Notation(sign, certain=False, divisor=divisor, words=words)


def _words_beside(texts: Sequence[str]) -> tuple[str, ...]:
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
    return (signs and len(word) <= _LONGEST_SIGN) or word.lower() in _MONEY


def without_words(values: Sequence[Any]) -> list[Any]:
    """Return values without the words beside amounts."""
    bare = list(values)
    for word in _words_beside([value for value in values if type(value) is str]):
        bare = [value.replace(word, "") if type(value) is str else value for value in bare]
    return bare


def divisor_of(names: Sequence[str]) -> int:
    """Return by how much an amount must be divided, as its name says: `price_cents`, `amountMicros`."""
    words = set(words_of(names[-1])) if names else set()
    return 100 if words & _HUNDREDTHS else 1_000_000 if words & _MILLIONTHS else 1


def read_amount(value: Any, sign: str | None = None) -> Decimal | None:
    """Return an amount as it is written, or None if it cannot be read with this decimal sign."""
    number = read_number(value.strip(), sign) if type(value) is str else value
    return Decimal(number) if is_number(number) else None
