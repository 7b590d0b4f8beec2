"""Show the normalised form and match key of a trait, for the hash tester."""

from dataclasses import dataclass, field

from app.domain.identity import ALREADY_HASHED, DroppedKey, MatchKeyRule, Profile, clean, match_key


@dataclass(frozen=True, slots=True)
class HashedTrait:
    """A trait's normalised form and match key, or why it was dropped. Personal data is left out of `repr`."""

    cleaned: str = field(repr=False)
    match_key: str | None = field(repr=False)
    rule: str | None
    dropped: str | None


def hash_trait(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> HashedTrait:
    """Normalise and hash one trait. If the trait is a SHA-256 digest, its normalised form is empty."""
    key = match_key(profile, rule, text, country=country)
    if isinstance(key, DroppedKey):
        return HashedTrait("", None, None, key.why.value)
    cleaned = "" if key.rule == ALREADY_HASHED else clean(profile, rule, text, country=country)
    return HashedTrait(cleaned, key.value, key.rule, None)
