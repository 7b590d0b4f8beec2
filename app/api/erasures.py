"""A person's right to be forgotten: erase what is kept of them, and get a signed receipt."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field as Described
from pydantic import model_validator

from app.admin import erasure
from app.admin.access import Scope
from app.admin.inputs import RequestBody, validation_error
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["subjects"])

Identifier = Annotated[str, Described(min_length=1, max_length=1024)]
Digest = Annotated[str, Described(pattern="^[0-9A-Fa-f]{64}$")]


class Subject(RequestBody):
    """One person, by what a mapping would have read of them; `hash` is a SHA-256 in hex, of any of it."""

    email: Identifier | None = None
    phone: Identifier | None = None
    maid: Identifier | None = None
    ramp_id: Identifier | None = None
    match_id: Identifier | None = None
    real_id: Identifier | None = None
    merkle_id: Identifier | None = None
    kantar_id: Identifier | None = None
    fip: Identifier | None = None
    hash: Digest | None = None

    @model_validator(mode="after")
    def _somebody(self) -> "Subject":
        if not self.said():
            raise validation_error("missing")
        return self

    def __repr__(self) -> str:
        return f"Subject({', '.join(sorted(self.said()))})"

    __str__ = __repr__

    def said(self) -> dict[str, str]:
        """Return what was said of the person."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name))}


@router.post("/subjects/erase", status_code=202, summary="Erase a person")
@requires(Scope.ERASE)
async def erase(body: Subject, caller: CurrentCaller, context: Context, response: Response) -> dict[str, Any]:
    """Take a person's events out of everything that is stored, under every destination.

    From the answer on nothing that carries them is sent; what waits and what is dead becomes `erased`, what
    was delivered keeps its state without its content. Events that arrive later are not blocked.
    """
    id, at = await erasure.erase_person(context, caller, body.said())  # noqa: A001
    response.headers["Location"] = f"/subjects/erasures/{id}"
    return {"id": id, "status": "under_way", "requested_at": at}


@router.get("/subjects/erasures/{erasure_id}", summary="The receipt of an erasure")
@requires(Scope.ERASE)
async def read(erasure_id: str, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Read how an erasure went. `signature` (Ed25519, base64) is over the text in `signed`."""
    made = await erasure.find_receipt(context, caller, erasure_id)
    return {
        **made.body,
        "signed": made.signed,
        "signature": made.signature,
        "public_key": made.public_key,
    }
