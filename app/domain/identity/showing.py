"""Show the normalised form and match key of a trait, for the hash tester."""

from dataclasses import dataclass, field

from app.domain.identity import ALREADY_HASHED, DroppedKey, MatchKeyRule, Profile, clean, match_key


@dataclass(frozen=True, slots=True)
class HashedTrait:
    """A trait's normalised form and match key, or the reason for none. Personal: no repr."""

    cleaned: str = field(repr=False)
    match_key: str | None = field(repr=False)
    rule: str | None
    dropped: str | None


def hash_trait(profile: Profile, rule: MatchKeyRule, text: str, *, country: str) -> HashedTrait:
    """Return the normalised form of a trait and the value sent to Amazon."""
    made = match_key(profile, rule, text, country=country)
    if isinstance(made, DroppedKey):
        return HashedTrait("", None, None, made.why.value)
    # A trait sent as a digest has no known normalised form.
    cleaned = "" if made.rule == ALREADY_HASHED else clean(profile, rule, text, country=country)
    return HashedTrait(cleaned, made.value, made.rule, None)
