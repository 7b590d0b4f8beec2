"""Near matches of event names: a second name for an event type is usually the first one, misspelt."""

import re
import unicodedata
from typing import Final

_BETWEEN: Final = re.compile(r"[\s_-]+")


def near_miss(name: str, other: str) -> str | None:
    """Return how two names nearly match: `case`, `spaces` or `one_letter`; None where they are equal or
    unrelated.

    `spaces` covers separators between words; `one_letter` a wrong, missing, extra or transposed letter.
    """
    if name == other:
        return None
    one, two = unicodedata.normalize("NFKC", name), unicodedata.normalize("NFKC", other)
    if one.casefold() == two.casefold():
        return "case"
    one, two = (_BETWEEN.sub("", text).casefold() for text in (one, two))
    if one == two:
        return "spaces"
    return "one_letter" if _one_apart(one, two) else None


def _one_apart(one: str, two: str) -> bool:
    if abs(len(one) - len(two)) > 1 or min(len(one), len(two)) < 3:
        return False
    at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    swapped = one[at + 1 : at + 2] + one[at : at + 1] + one[at + 2 :]
    return (
        one[at + 1 :] == two[at + 1 :]
        or one[at:] == two[at + 1 :]
        or one[at + 1 :] == two[at:]
        or swapped == two[at:]
    )
