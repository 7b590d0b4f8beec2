"""Rules that are about characters alone: which to keep, and in what case."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")


def keep(characters: str) -> Callable[[str], str]:
    """Make a rule that lower-cases a text and keeps only `characters`, the inside of a character class.

    The text is taken as it was typed, as the connectors do that this mirrors: an accent typed as a character
    of its own leaves its letter behind.
    """
    strip = re.compile(f"[^{characters}]+")

    def kept(text: str) -> str:
        return strip.sub("", text.lower())

    return kept


def keep_composed(characters: str) -> Callable[[str], str]:
    """Make a rule like `keep`, blind to how an accent was typed.

    `é` is one character, or an `e` and a combining mark. Composing first means that both lose the letter, so
    that one person has one hash.
    """
    kept = keep(characters)

    def kept_composed(text: str) -> str:
        return kept(composed(text))

    return kept_composed


def composed(text: str) -> str:
    """Join letters and their accents into one character where there is one (Unicode's form C)."""
    return text if text.isascii() else unicodedata.normalize("NFC", _stream_safe(text))


def unaccented(text: str) -> str:
    """Return the letters and digits of a text with its accents taken off, to look a name up by."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", _stream_safe(text))
    return _NOT_ALNUM.sub("", text.lower())


def without_invisible(text: str) -> str:
    """Take out format characters: zero-width spaces, byte-order marks, direction marks."""
    if text.isascii():
        return text
    return "".join([char for char in text if unicodedata.category(char) != "Cf"])


# Sorting the marks over one letter takes time in the square of their number. Unicode's stream-safe form (UAX
# 15) allows 30, more than any writing has.
_MARKS_OVER_ONE_LETTER: Final = 30


def _stream_safe(text: str) -> str:
    """Cut runs of combining marks short, so that normalising a hostile text takes linear time."""
    if len(text) <= _MARKS_OVER_ONE_LETTER:
        return text
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MARKS_OVER_ONE_LETTER:
            kept.append(char)
    return "".join(kept)
