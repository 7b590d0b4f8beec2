"""A person's traits become match keys: normalised under a named profile and, where Amazon wants it, hashed.

`match_key` is the whole road; `clean` shows the text it would hash. Both are pure and total: any text in,
never an exception, in time linear in the text. Neither keeps a trait: there is no cache, and no value is
in a `repr`.
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


def match_key(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> MatchKey | DroppedKey:
    """Turn one trait into its match key under a profile, or say why it makes none.

    `country` is the event's, a code of `COUNTRIES`: it completes national phone numbers and chooses the
    tables of addresses, states and postal codes. A trait of a hashed type that is 64 hex digits already is
    passed in lower case. Source: positions P8 and P9.
    """
    if rule.hashed and (digest := _given_digest(text)) is not None:
        return _judge_digest(digest)
    row = PROFILES[profile][rule.type]
    cleaned = row.clean(text, country)
    if isinstance(cleaned, DroppedKey):
        return cleaned
    if not rule.hashed:
        return MatchKey(cleaned, row.name)
    # A lone surrogate cannot be written as UTF-8: the parser refuses it, and this must not be what raises.
    return MatchKey(hashlib.sha256(cleaned.encode("utf-8", "replace")).hexdigest(), row.name)


def clean(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> str:
    """Show the text that a match key is made of, before hashing; empty where the trait makes no key.

    The answer is personal data: show it to nobody, and keep it nowhere.
    """
    if rule.hashed and (digest := _given_digest(text)) is not None:
        return digest if isinstance(_judge_digest(digest), MatchKey) else ""
    cleaned = PROFILES[profile][rule.type].clean(text, country)
    return "" if isinstance(cleaned, DroppedKey) else cleaned


def _given_digest(text: str) -> str | None:
    """Return the SHA-256 digest that a caller sent in place of a trait, in lower case."""
    # The length is looked at first: hardly a trait is that long, and a scan costs more than a comparison.
    if len(text) < 64:
        return None
    word = text.strip()
    return word.lower() if _SHA256_HEX.fullmatch(word) else None


def _judge_digest(digest: str) -> MatchKey | DroppedKey:
    if digest == _SHA256_OF_NOTHING:
        return DroppedKey(DropReason.EMPTY)
    # `000…0` is a filler; no one has ever seen a text with such a digest.
    if digest == digest[0] * 64:
        return DroppedKey(DropReason.PLACEHOLDER)
    return MatchKey(digest, ALREADY_HASHED)
