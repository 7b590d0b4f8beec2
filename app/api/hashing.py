"""Show the match key of a value over HTTP. The value is neither stored nor logged."""

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.hash_value import hash_value
from app.admin.inputs import HashRequest
from app.api.response_body import ResponseBody
from app.api.secured_route import CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["identity"])


class HashedValue(ResponseBody):
    """A value and the match key that Amazon receives for it. Personal: repr omits the values."""

    field: str
    type: str = Field(description="Amazon's name of the match key.", examples=["EMAIL"])
    identity_profile: str
    country: str
    cleaned: str | None = Field(description="The normalised value.", repr=False)
    sent: str | None = Field(description="The match key.", repr=False)
    hashed: bool
    rule: str | None
    dropped: str | None = Field(description="Why the value has no match key.")


@router.post("/identity/hash", summary="Hash a value")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def show_hash(body: HashRequest, caller: CurrentCaller) -> HashedValue:
    """Return the normalized form of a value and the match key that Amazon receives for it.

    Use it to compare with another system. The value is returned in clear, and not stored.
    """
    del caller
    return HashedValue.model_validate(asdict(hash_value(body)))
