"""What stands in a person's field and is nobody's: words for nothing, unfilled templates, foreign digests."""

import re
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason

# Spelled as programs and exports print them. Case matters: Null, Nil and Nan are names that people bear.
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

# {{email}}, {% email %}, ${email}, %%email%%, <%= email %>, [[email]], *|EMAIL|*: no one filled it in.
_TEMPLATE: Final = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%%|<%|%>|\[\[|\]\]|\*\||\|\*")

# The lengths of hex digests other than SHA-256: MD5, SHA-1, SHA-224, SHA-384, SHA-512.
_OTHER_DIGEST: Final = re.compile(r"[0-9A-Fa-f]+")
_OTHER_DIGEST_LENGTHS: Final = frozenset({32, 40, 56, 96, 128})


def is_placeholder(text: str) -> DroppedKey | None:
    """Tell whether a trait only says that there is none."""
    word = text.strip()
    if word in NOTHING_WORDS or (not word.isalnum() and _TEMPLATE.search(word)):
        return DroppedKey(DropReason.PLACEHOLDER)
    return None


def is_placeholder_or_digest(text: str) -> DroppedKey | None:
    """Tell whether a trait that is to be hashed is nobody's, or a digest that hashing again would spoil."""
    word = text.strip()
    if len(word) in _OTHER_DIGEST_LENGTHS and _OTHER_DIGEST.fullmatch(word):
        return DroppedKey(DropReason.UNUSABLE_DIGEST)
    return is_placeholder(word)
