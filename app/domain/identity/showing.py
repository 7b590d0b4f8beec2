"""What a value becomes on its way to Amazon, shown to the one who holds it anyway."""

from dataclasses import dataclass, field

from app.domain.identity import ALREADY_HASHED, DroppedKey, MatchKeyRule, Profile, clean, match_key


@dataclass(frozen=True, slots=True)
class HashedTrait:
    """A trait's cleaned form and its match key, or the word for why it makes none. Personal: no repr."""

    cleaned: str = field(repr=False)
    match_key: str | None = field(repr=False)
    rule: str | None
    dropped: str | None


def hash_trait(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> HashedTrait:
    """Return what a trait is cleaned to, and what Amazon is sent for it."""
    made = match_key(profile, rule, text, country=country)
    if isinstance(made, DroppedKey):
        return HashedTrait("", None, None, made.why.value)
    # What came as a digest has no cleaned form that anybody here knows.
    cleaned = "" if made.rule == ALREADY_HASHED else clean(profile, rule, text, country=country)
    return HashedTrait(cleaned, made.value, made.rule, None)
