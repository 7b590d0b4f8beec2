"""Secrets that can be guessed: too short, repetitive, a sequence, or known from examples."""

import re
from itertools import pairwise
from typing import Final

MIN_LENGTH: Final = 32
MIN_CHARACTERS: Final = 10  # distinct
_MIN_BYTES: Final = 8  # distinct, of an encryption key: 32 random bytes have about 30

# Placeholders in documentation, and common passwords. The rest of a secret must suffice without them.
_KNOWN: Final = re.compile(
    r"change[-_ ]?(me|this|it)|replace[-_ ]?(me|this)|your[-_ ]|pass[-_ ]?(word|wd|phrase)|secret|example|"
    r"default|placeholder|insecure|bootstrap|admin|letmein|welcome|qwerty\w*|asdf\w*|dummy|sample|"
    r"0?123456789?0?|abcdefgh\w*|deadbeef|cafebabe|t[o0]ken|key|test(ing)?",
    re.IGNORECASE,
)


def is_weak_password(text: str) -> bool:
    """Return whether a typed secret is too short, repetitive, or little more than known words."""
    if len(text) < MIN_LENGTH or _repeats(text):
        return True
    return len(set(_KNOWN.sub("", text).lower())) < MIN_CHARACTERS


def is_weak_key(key: bytes) -> bool:
    """Return whether 32 bytes are evidently not random; of 10^12 random keys, at most one is refused."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    is_text = all(32 <= byte < 127 for byte in key)
    return len(set(key)) < _MIN_BYTES or len(steps) == 1 or _repeats(key) or is_text


def _repeats(text: str | bytes) -> bool:
    """Return whether a text is a repetition of a piece that is at most half as long."""
    return any(text[size:] == text[:-size] for size in range(1, len(text) // 2 + 1))
