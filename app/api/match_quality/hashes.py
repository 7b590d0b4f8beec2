"""Explain a foreign digest over HTTP. Value and digest are neither stored nor logged."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.match_quality.explain_hash import explain_hash
from app.admin.match_quality.inputs import ExplainHashRequest
from app.api.access.secured_route import SecuredRoute, requires
from app.domain.match_quality.foreign_hash import HashExplanation

router = APIRouter(route_class=SecuredRoute, tags=["identity"])


@router.post("/identity/explain-hash", summary="Explain a foreign hash")
@requires(Scope.DESTINATIONS_READ)
async def explain_foreign_hash(body: ExplainHashRequest) -> HashExplanation:
    """Name the rule by which another system made `hash` from `value`, and what Amazon needs instead.

    `rules` are all rules that give this hash, in a fixed order; `rule` is the first of them, or null. The
    value is tried under twelve rules and compared with nothing that is stored.
    """
    return explain_hash(body)
