"""Detect misspelt event names. A second name for an event type is usually the first name, misspelt."""

import re
import unicodedata
from typing import Final

_BETWEEN: Final = re.compile(r"[\s_-]+")


def near_miss(name: str, other: str) -> str | None:
    """Return the kind of misspelling that explains how two names differ; None if equal or unrelated.

    `unicode`: other code points for the same letters, such as full-width letters. `case`: upper and lower
    case. `spaces`: other separators between words. `one_letter`: one letter is wrong, missing, extra or
    transposed.
    """
    if name == other:
        return None
    first, second = unicodedata.normalize("NFKC", name), unicodedata.normalize("NFKC", other)
    if first == second:
        return "unicode"
    if first.casefold() == second.casefold():
        return "case"
    first, second = (_BETWEEN.sub("", text).casefold() for text in (first, second))
    if first == second:
        return "spaces"
    return "one_letter" if _one_apart(first, second) else None


def _one_apart(first: str, second: str) -> bool:
    if abs(len(first) - len(second)) > 1 or min(len(first), len(second)) < 3:
        return False
    index = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    swapped = first[index + 1 : index + 2] + first[index : index + 1] + first[index + 2 :]
    return (
        first[index + 1 :] == second[index + 1 :]
        or first[index:] == second[index + 1 :]
        or first[index + 1 :] == second[index:]
        or swapped == second[index:]
    )
