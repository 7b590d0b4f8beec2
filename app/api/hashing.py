"""Hashing over HTTP: what a value becomes on its way to Amazon. Nothing is stored, nothing is logged."""

from typing import Any

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.inputs import HashRequest
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.secured_route import CurrentCaller, SecuredRoute, requires
from app.domain.conversion.countries import read_country
from app.domain.identity import MATCH_KEYS, Profile
from app.domain.identity.showing import hash_trait

router = APIRouter(route_class=SecuredRoute, tags=["identity"])

RULES = {rule.field: rule for rule in MATCH_KEYS}


@router.post("/identity/hash", summary="Show what a value becomes")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def hash_value(body: HashRequest, caller: CurrentCaller) -> dict[str, Any]:
    """Show the cleaned form of one value and what Amazon is sent for it, to compare with another system's.

    The one answer that holds a value in clear: the one that was sent. Kept nowhere.
    """
    del caller
    country = read_country(body.country)
    if country is None:
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("country", "not_in_list"))
    rule = RULES[body.field]
    shown = hash_trait(Profile(body.identity_profile), rule, body.value, country=country.code)
    return {
        "field": body.field,
        "type": rule.type.value,
        "identity_profile": body.identity_profile,
        "country": country.code,
        "cleaned": shown.cleaned or None,
        "sent": shown.match_key,
        "hashed": rule.hashed,
        "rule": shown.rule,
        "dropped": shown.dropped,
    }
