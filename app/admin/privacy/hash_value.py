"""Use cases: show how a value becomes a match key, or how another system hashed it. Nothing is stored."""

from dataclasses import dataclass
from dataclasses import field as member
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from app.admin import copy_as, invalid
from app.admin.inputs import ProfileName, RequestBody
from app.domain.conversion.amazon_codes import read_country
from app.domain.identity import clean, match_key
from app.domain.identity.keys import ALREADY_HASHED, MATCH_KEYS, RULES_BY_FIELD, DropReason, Profile
from app.domain.match_quality import foreign_hash


class HashRequest(RequestBody):
    """A value to hash. The value appears in no error, log line or row."""

    field: Literal[tuple(rule.field for rule in MATCH_KEYS)]  # type: ignore[valid-type]
    value: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    country: Annotated[str, Field(max_length=20)] = "US"
    identity_profile: ProfileName = "amazon"


class ExplainHashRequest(RequestBody):
    """A value in clear and a digest of it. They appear in no error, log line or row."""

    field: Literal[tuple(RULES_BY_FIELD)]  # type: ignore[valid-type]
    value: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    hash: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    country: Annotated[str, Field(max_length=20)] = "US"


@dataclass(frozen=True, slots=True)
class HashResult:
    """The match key that Amazon receives for a value. The values are personal, so repr omits them."""

    field: str
    type: Annotated[str, Field(description="Amazon's name of the match key.", examples=["EMAIL"])]
    identity_profile: str
    country: str
    cleaned: Annotated[str | None, Field(description="The normalised value.")] = member(repr=False)
    sent: Annotated[str | None, Field(description="The match key.")] = member(repr=False)
    hashed: bool
    rule: str | None
    dropped: Annotated[str | None, Field(description="Why the value has no match key.")]


def hash_value(body: HashRequest) -> HashResult:
    """Return the normalized form of a value and its match key. Raises Refusal for an unknown country."""
    rule, country = RULES_BY_FIELD[body.field], _country(body.country)
    profile = Profile(body.identity_profile)
    result = partial(copy_as, HashResult, body, type=rule.type, country=country, hashed=rule.hashed)
    key = match_key(profile, rule, body.value, country=country)
    if isinstance(key, DropReason):
        return result(cleaned=None, sent=None, rule=None, dropped=key.value)
    # The text behind a digest is unknown.
    cleaned = None if key.rule == ALREADY_HASHED else clean(profile, rule, body.value, country=country)
    return result(cleaned=cleaned, sent=key.value, rule=key.rule, dropped=None)


def explain_hash(body: ExplainHashRequest) -> foreign_hash.HashExplanation:
    """Return the rules that reproduce the digest. Raises Refusal (422) for an unknown country."""
    rule, country = RULES_BY_FIELD[body.field], _country(body.country)
    return foreign_hash.explain_hash(rule, body.value, body.hash, country=country)


def _country(text: str) -> str:
    if (country := read_country(text)) is None:
        detail = "Write the country as two letters, such as US or DE."
        raise invalid("country", "not_in_list", detail)
    return country
