"""Detect secrets that can be guessed: short, repetitive, a sequence, or known from examples."""

import re
from itertools import pairwise
from typing import Final

MIN_LENGTH: Final = 32
MIN_CHARACTERS: Final = 10  # different characters in a password
_MIN_BYTES: Final = 8  # different bytes in an encryption key; 32 random bytes have about 30

# Placeholders in documentation, and common passwords. They are removed before characters are counted.
_KNOWN: Final = re.compile(
    r"change[-_ ]?(me|this|it)|replace[-_ ]?(me|this)|your[-_ ]|pass[-_ ]?(word|wd|phrase)|secret|example|"
    r"default|placeholder|insecure|bootstrap|admin|letmein|welcome|qwerty\w*|asdf\w*|dummy|sample|"
    r"0?123456789?0?|abcdefgh\w*|deadbeef|cafebabe|t[o0]ken|key|test(ing)?",
    re.IGNORECASE,
)


def is_weak_password(text: str) -> bool:
    """Return whether a secret that a person chose is short, repetitive, or consists mostly of known words."""
    if len(text) < MIN_LENGTH or _repeats(text):
        return True
    return len(set(_KNOWN.sub("", text).lower())) < MIN_CHARACTERS


def is_weak_key(key: bytes) -> bool:
    """Return whether a 32-byte key is evidently not random. At most one of 10^12 random keys is refused."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    is_text = all(32 <= byte < 127 for byte in key)
    return len(set(key)) < _MIN_BYTES or len(steps) == 1 or _repeats(key) or is_text


def _repeats(text: str | bytes) -> bool:
    """Return whether a text consists of one repeated piece. The last repetition may be incomplete."""
    return any(text[size:] == text[:-size] for size in range(1, len(text) // 2 + 1))
