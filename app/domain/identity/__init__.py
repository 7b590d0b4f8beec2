"""Convert a person's traits to match keys: normalise under a profile and hash where Amazon requires it.

`match_key` does both steps; `clean` returns the normalised text alone. Both are pure and total: they accept
any text, never raise, and run in time linear in the text. They cache nothing, and no value is in a `repr`.
"""

import hashlib
import re
from typing import Final

from app.domain.identity.keys import (
    MATCH_KEYS,
    DroppedKey,
    DropReason,
    MatchKey,
    MatchKeyRule,
    MatchKeyType,
    Profile,
)
from app.domain.identity.profiles import PROFILES

__all__ = [
    "MATCH_KEYS",
    "DropReason",
    "DroppedKey",
    "MatchKey",
    "MatchKeyRule",
    "MatchKeyType",
    "Profile",
    "clean",
    "match_key",
]

ALREADY_HASHED: Final = "already_hashed"

_SHA256_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_SHA256_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()
_ZEROS: Final = "0" * 64


def match_key(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> MatchKey | DroppedKey:
    """Return the match key of one trait under a profile, or why it has none.

    `country` is the event's, a code of `COUNTRIES`: it completes national phone numbers and selects the
    tables for addresses, states and postal codes. A trait of a hashed type that already is 64 hex digits is
    returned in lower case. Source: positions P8 and P9.
    """
    if rule.hashed and (digest := _given_digest(text)) is not None:
        return _judge_digest(digest)
    row = PROFILES[profile][rule.type]
    cleaned = row.clean(text, country)
    if isinstance(cleaned, DroppedKey):
        return cleaned
    if not rule.hashed:
        return MatchKey(cleaned, row.name)
    # A lone surrogate cannot be encoded as UTF-8. The parser refuses it; this function must not raise for it.
    return MatchKey(hashlib.sha256(cleaned.encode("utf-8", "replace")).hexdigest(), row.name)


def clean(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> str:
    """Return the text of a match key before hashing; empty if the trait has no key.

    The result is personal data: never log or store it.
    """
    if rule.hashed and (digest := _given_digest(text)) is not None:
        return digest if isinstance(_judge_digest(digest), MatchKey) else ""
    cleaned = PROFILES[profile][rule.type].clean(text, country)
    return "" if isinstance(cleaned, DroppedKey) else cleaned


def _given_digest(text: str) -> str | None:
    """Return the SHA-256 digest that a caller sent instead of a trait, in lower case."""
    # Compare the length first: few traits are that long, and a scan costs more than a comparison.
    if len(text) < 64:
        return None
    word = text.strip()
    return word.lower() if _SHA256_HEX.fullmatch(word) else None


def _judge_digest(digest: str) -> MatchKey | DroppedKey:
    if digest == _SHA256_OF_NOTHING:
        return DroppedKey(DropReason.EMPTY)
    # `000…0` is a placeholder: no known text has this digest.
    if digest == _ZEROS:
        return DroppedKey(DropReason.PLACEHOLDER)
    return MatchKey(digest, ALREADY_HASHED)
