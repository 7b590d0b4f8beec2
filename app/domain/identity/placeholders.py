"""Detect placeholders that must not become match keys: words for a missing value, and unfilled templates."""

import re
from typing import Final

from app.domain.identity.keys import DropReason
from app.domain.toml_files import read_toml

NOTHING_WORDS: Final = frozenset(read_toml(__file__)["nothing"])

# Unfilled templates: {{email}}, {% email %}, ${email}, %%email%%, <%= email %>, [[email]], *|EMAIL|*.
_TEMPLATE: Final = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%%|<%|%>|\[\[|\]\]|\*\||\|\*")

_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
# The digits of an MD5, SHA-1, SHA-224, SHA-384 or SHA-512 digest in hex. Amazon can match only SHA-256.
_OTHER_DIGEST_LENGTHS: Final = frozenset({32, 40, 56, 96, 128})


def is_placeholder(text: str) -> DropReason | None:
    """Return the reason to drop a trait that is a placeholder. Return None for any other trait."""
    word = text.strip()
    if word in NOTHING_WORDS or (not word.isalnum() and _TEMPLATE.search(word)):
        return DropReason.PLACEHOLDER
    return None


def is_placeholder_or_digest(text: str) -> DropReason | None:
    """Return the reason to drop a trait that is a placeholder or a digest other than SHA-256, else None."""
    word = text.strip()
    if len(word) in _OTHER_DIGEST_LENGTHS and _HEX.fullmatch(word):
        return DropReason.UNUSABLE_DIGEST
    return is_placeholder(word)
