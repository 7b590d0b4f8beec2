"""Convert a person's traits to match keys: normalise them, and hash them where Amazon requires it.

`match_key` does both, `clean` only normalises. They accept any text, never raise, and take time linear in its
length. They cache nothing, because traits are personal data.
"""

import re
from hashlib import sha256
from typing import Final

from app.domain.identity.keys import ALREADY_HASHED, DropReason, MatchKey, MatchKeyRule, Profile
from app.domain.identity.profiles import PROFILES

_DIGEST_LENGTH: Final = 64
_SHA256_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_SHA256_OF_NOTHING: Final = sha256(b"").hexdigest()
_ZEROS: Final = "0" * 64


def match_key(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> MatchKey | DropReason:
    """Return the match key of one trait under an identity profile, or why the trait has none.

    `country` is the event's country, a code of `COUNTRIES`. It completes national phone numbers and selects
    the rules for addresses, states and postal codes. 64 hex digits count as the SHA-256 digest of a trait,
    except for types that are not hashed. Source: positions P8 and P9.
    """
    # Most traits are shorter than a digest.
    if rule.hashed and len(text) >= _DIGEST_LENGTH and (digest := _given_digest(text)) is not None:
        return _judge_digest(digest)
    row = PROFILES[profile][rule.type]
    cleaned = row.clean(text, country)
    if isinstance(cleaned, DropReason):
        return cleaned
    # UTF-8 cannot encode a lone surrogate. The JSON parser refuses it, but this function must not raise
    # either.
    value = sha256(cleaned.encode("utf-8", "replace")).hexdigest() if rule.hashed else cleaned
    return MatchKey(value, row.name)


def clean(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> str:
    """Return the normalised text of a trait, which `match_key` hashes; empty if the trait has no match key.

    The result is personal data: never log or store it.
    """
    if rule.hashed and (digest := _given_digest(text)) is not None:
        return digest if isinstance(_judge_digest(digest), MatchKey) else ""
    cleaned = PROFILES[profile][rule.type].clean(text, country)
    return "" if isinstance(cleaned, DropReason) else cleaned


def _given_digest(text: str) -> str | None:
    """Return `text` in lower case if it is a SHA-256 digest of a trait already, else None."""
    word = text.strip()
    return word.lower() if _SHA256_HEX.fullmatch(word) else None


def _judge_digest(digest: str) -> MatchKey | DropReason:
    if digest == _SHA256_OF_NOTHING:
        return DropReason.EMPTY
    # 64 zeros are a placeholder: no known text has this digest.
    if digest == _ZEROS:
        return DropReason.PLACEHOLDER
    return MatchKey(digest, ALREADY_HASHED)
