"""Show the match key of a value over HTTP. The value is neither stored nor logged."""

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.inputs import HashRequest
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.response_body import ResponseBody
from app.api.secured_route import CurrentCaller, SecuredRoute, requires
from app.domain.conversion.countries import read_country
from app.domain.identity import MATCH_KEYS, Profile
from app.domain.identity.showing import hash_trait

router = APIRouter(route_class=SecuredRoute, tags=["identity"])

RULES = {rule.field: rule for rule in MATCH_KEYS}


class HashedValue(ResponseBody):
    """A value and the match key that Amazon receives for it. Personal: it has no repr."""

    field: str
    type: str = Field(description="Amazon's name of the match key.", examples=["EMAIL"])
    identity_profile: str
    country: str
    cleaned: str | None = Field(description="The normalised value.", repr=False)
    sent: str | None = Field(description="The match key.", repr=False)
    hashed: bool
    rule: str | None
    dropped: str | None = Field(description="Why the value gives no match key.")


@router.post("/identity/hash", summary="Hash a value")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def hash_value(body: HashRequest, caller: CurrentCaller) -> HashedValue:
    """Return the normalized form of a value and the match key that Amazon receives for it.

    Use it to compare with another system. The value is returned in clear, and not stored.
    """
    del caller
    country = read_country(body.country)
    if country is None:
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("country", "not_in_list"))
    rule = RULES[body.field]
    hashed = hash_trait(Profile(body.identity_profile), rule, body.value, country=country.code)
    return HashedValue(
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
