"""Rules about characters only: which to keep, and in what case."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")


def keep(characters: str) -> Callable[[str], str]:
    """Return a rule that lower-cases a text and keeps only `characters`, the inside of a character class.

    The text is not composed first, as in the connectors that this rule mirrors: a combining accent leaves its
    base letter in place.
    """
    strip = re.compile(f"[^{characters}]+")

    def normalise(text: str) -> str:
        return strip.sub("", text.lower())

    return normalise


def keep_composed(characters: str) -> Callable[[str], str]:
    """Return a rule like `keep` that treats composed and decomposed accents alike.

    `é` is one character, or an `e` and a combining mark. Composing first drops the letter in both cases, so
    that one person has one hash.
    """
    normalise = keep(characters)

    def compose_and_normalise(text: str) -> str:
        return normalise(composed(text))

    return compose_and_normalise


def composed(text: str) -> str:
    """Compose letters and their combining accents where a composed character exists (Unicode form C)."""
    return text if text.isascii() else unicodedata.normalize("NFC", _stream_safe(text))


def unaccented(text: str) -> str:
    """Return the letters and digits of a text without accents, for look-ups by name."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", _stream_safe(text))
    return _NOT_ALNUM.sub("", text.lower())


def without_invisible(text: str) -> str:
    """Remove format characters: zero-width spaces, byte-order marks, direction marks."""
    if text.isascii():
        return text
    return "".join([char for char in text if unicodedata.category(char) != "Cf"])


# Sorting the marks of one letter takes quadratic time. Unicode's stream-safe form (UAX 15) allows 30, more
# than any script uses.
_MARKS_OVER_ONE_LETTER: Final = 30


def _stream_safe(text: str) -> str:
    """Truncate runs of combining marks, so that normalising a hostile text takes linear time."""
    if len(text) <= _MARKS_OVER_ONE_LETTER:
        return text
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MARKS_OVER_ONE_LETTER:
            kept.append(char)
    return "".join(kept)
