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

    def composed(text: str) -> str:
        return kept(text if text.isascii() else unicodedata.normalize("NFC", text))

    return composed


def unaccented(text: str) -> str:
    """Return the letters and digits of a text with its accents taken off, to look a name up by."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text)
    return _NOT_ALNUM.sub("", text.lower())


def without_invisible(text: str) -> str:
    """Take out format characters: zero-width spaces, byte-order marks, direction marks."""
    if text.isascii():
        return text
    return "".join([char for char in text if unicodedata.category(char) != "Cf"])
