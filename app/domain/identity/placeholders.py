"""Placeholder values that must not become match keys: words for missing values, unfilled templates, other
digests.
"""

import re
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason

# As programs and exports print them. Case matters: Null, Nil and Nan are surnames.
NOTHING_WORDS: Final = frozenset(
    {
        "null",
        "NULL",
        "(null)",
        "<null>",
        "[null]",
        "nil",
        "None",
        "undefined",
        "UNDEFINED",
        "NaN",
        "N/A",
        "n/a",
        "#N/A",
        "\\N",
        "(none)",
        "(not set)",
        "[object Object]",
    }
)

# {{email}}, {% email %}, ${email}, %%email%%, <%= email %>, [[email]], *|EMAIL|*: unfilled templates.
_TEMPLATE: Final = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%%|<%|%>|\[\[|\]\]|\*\||\|\*")

# The lengths of hex digests other than SHA-256: MD5, SHA-1, SHA-224, SHA-384, SHA-512.
_OTHER_DIGEST: Final = re.compile(r"[0-9A-Fa-f]+")
_OTHER_DIGEST_LENGTHS: Final = frozenset({32, 40, 56, 96, 128})


def is_placeholder(text: str) -> DroppedKey | None:
    """Return whether a trait is a placeholder for a missing value."""
    word = text.strip()
    if word in NOTHING_WORDS or (not word.isalnum() and _TEMPLATE.search(word)):
        return DroppedKey(DropReason.PLACEHOLDER)
    return None


def is_placeholder_or_digest(text: str) -> DroppedKey | None:
    """Return whether a trait to be hashed is a placeholder, or a digest of another kind."""
    word = text.strip()
    if len(word) in _OTHER_DIGEST_LENGTHS and _OTHER_DIGEST.fullmatch(word):
        return DroppedKey(DropReason.UNUSABLE_DIGEST)
    return is_placeholder(word)
