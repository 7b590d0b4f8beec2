"""Unicode's normal forms of texts that strangers send."""

import unicodedata
from typing import Final

# More than any script uses. Source: Unicode's stream-safe form, UAX 15.
_MARKS_OVER_ONE_LETTER: Final = 30


def stream_safe(text: str) -> str:
    """Remove the combining marks of a letter after the first 30.

    Unicode normalisation sorts the marks of a letter in quadratic time. A hostile text must not exploit this.
    """
    if len(text) <= _MARKS_OVER_ONE_LETTER:
        return text
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MARKS_OVER_ONE_LETTER:
            kept.append(char)
    return "".join(kept)


def compatible(text: str) -> str:
    """Return a text in form KC, in which full-width letters are plain ones. Most texts have it already."""
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        return text
    return unicodedata.normalize("NFKC", stream_safe(text))
