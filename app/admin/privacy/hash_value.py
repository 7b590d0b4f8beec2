"""Use case: show how a value becomes a match key. Nothing is stored or logged."""

from dataclasses import dataclass
from dataclasses import field as member
from typing import Annotated

from pydantic import Field

from app.admin.inputs import HashRequest
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.conversion.countries import read_country
from app.domain.identity import MATCH_KEYS, Profile
from app.domain.identity.showing import hash_trait

RULES = {rule.field: rule for rule in MATCH_KEYS}


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
    country = read_country(body.country)
    if country is None:
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("country", "not_in_list"))
    rule = RULES[body.field]
    hashed = hash_trait(Profile(body.identity_profile), rule, body.value, country=country.code)
    return HashResult(
        field=body.field,
        type=rule.type,
        identity_profile=body.identity_profile,
        country=country.code,
        cleaned=hashed.cleaned or None,
        sent=hashed.match_key,
        hashed=rule.hashed,
        rule=hashed.rule,
        dropped=hashed.dropped,
    )
