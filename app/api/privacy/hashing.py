"""Show the match key of a value over HTTP. The value is neither stored nor logged."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.inputs import HashRequest
from app.admin.privacy.hash_value import HashResult, hash_value
from app.api.access.secured_route import SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["identity"])


@router.post("/identity/hash", summary="Hash a value")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def show_hash(body: HashRequest) -> HashResult:
    """Return the normalized form of a value, and the match key that Amazon receives for it.

    Use it to compare with another system. The response contains the value in clear text. The value is not
    stored.
    """
    return hash_value(body)
