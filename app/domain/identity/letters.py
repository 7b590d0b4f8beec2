"""Normalise the characters of a trait: case, accents, and which characters to keep."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from app.domain.privacy.normal_forms import stream_safe

# How Amazon's address rules and tag template write accented letters. They drop all other accented letters.
AMAZON_ACCENTS: Final = str.maketrans(
    {**dict(zip("áéíóúø", "aeiouo", strict=True)), "ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "æ": "ae"}
)


def keep(characters: str) -> Callable[[str], str]:
    """Return a function that converts a text to lower case and keeps only `characters`.

    `characters` is the inside of a regular expression's character class. A combining accent is removed but
    not its letter, as in the connectors whose results this rule reproduces.
    """
    strip = re.compile(f"[^{characters}]+")
    return lambda text: strip.sub("", text.lower())


def keep_composed(characters: str) -> Callable[[str], str]:
    """Return a function like the result of `keep`, which also removes the letter of a combining accent.

    `é` can be one character, or `e` and a combining accent. Both forms give the same result, so that a person
    has one hash.
    """
    normalise = keep(characters)
    return lambda text: normalise(composed(text))


alnum: Final = keep("a-z0-9")
alnum_composed: Final = keep_composed("a-z0-9")


def composed(text: str) -> str:
    """Replace each letter with combining accents by one character, if Unicode has it (form C)."""
    return text if text.isascii() else unicodedata.normalize("NFC", stream_safe(text))


def unaccented(text: str) -> str:
    """Return a text in lower case with only its letters and digits, without accents, to look up a name."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", stream_safe(text))
    return alnum(text)


def without_invisible(text: str) -> str:
    """Remove format characters, such as zero-width spaces, byte order marks and direction marks."""
    if text.isascii():
        return text
    return "".join([char for char in text if unicodedata.category(char) != "Cf"])
