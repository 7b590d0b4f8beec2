"""Rules that are about characters alone: which to keep, and in what case."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")


def keep(characters: str) -> Callable[[str], str]:
    """Make a rule that lower-cases a text and keeps only `characters`, a regular expression's class.

    No Unicode form is chosen: the rule is what the connectors it mirrors do to the text as typed.
    """
    strip = re.compile(f"[^{characters}]+")

    def kept(text: str) -> str:
        return strip.sub("", text.lower())

    return kept


def keep_composed(characters: str) -> Callable[[str], str]:
    """Make a rule like `keep`, blind to how an accent was typed.

    `é` is one character or two (`e` and a combining mark). Composing first means that both lose the letter, so that
    one person has one hash.
    """
    strip = re.compile(f"[^{characters}]+")

    def kept(text: str) -> str:
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        return strip.sub("", text.lower())

    return kept


def unaccented(text: str) -> str:
    """Return the letters and digits of a text with accents taken off, for looking a name up in a table."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text)
    return _NOT_ALNUM.sub("", text.lower())
