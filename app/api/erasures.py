"""A person's right to be forgotten: erase what is kept of them, and get a signed receipt."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field as Described
from pydantic import model_validator

from app.admin import erasure, subject_search
from app.admin.access import Caller, Scope
from app.admin.ids import new_id
from app.admin.inputs import RequestBody, validation_error
from app.admin.refusals import ErrorCode, Refusal
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store import audit, erasures

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
    _unlimited(caller)
    id, at = await erasure.request_erasure(  # noqa: A001
        context.pool, context.vault, body.said(), by=caller.actor, monotonic=context.monotonic
    )
    async with context.engine.begin() as connection:
        await audit.record(
            connection,
            actor=caller.actor,
            action=audit.AuditAction.SUBJECT_ERASURE_REQUESTED,
            subject=id,
            after={"identifiers": sorted(body.said())},
        )
    response.headers["Location"] = f"/subjects/erasures/{id}"
    return {"id": id, "status": "under_way", "requested_at": at}


class WantedSubject(Subject):
    """A person to search for; `cursor` continues a search."""

    cursor: Annotated[str, Described(pattern="^[1-9][0-9]{0,17}$")] | None = None

    def said(self) -> dict[str, str]:
        """Return what was said of the person."""
        return {name: value for name, value in super().said().items() if name != "cursor"}


@router.post("/subjects/find", summary="Find where a person is stored")
@requires(Scope.ERASE)
async def find(body: WantedSubject, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Count a person's stored events by destination and status, by the same hashes as an erasure. No values.

    A request searches for about five seconds; repeat it with `next_cursor` until that is null, and add the
    counts up. Every search is audited, without what was searched for.
    """
    _unlimited(caller)
    id = new_id("sub_")  # noqa: A001
    async with context.engine.begin() as connection:
        await audit.record(
            connection,
            actor=caller.actor,
            action=audit.AuditAction.SUBJECT_SEARCHED,
            subject=id,
            after={"identifiers": sorted(body.said())},
        )
    found = await subject_search.search(
        context.pool,
        context.vault,
        body.said(),
        after=int(body.cursor or 0),
        now=context.now(),
        monotonic=context.monotonic,
    )
    return {
        "id": id,
        "identifiers": sorted(body.said()),
        "events": found.events.total(),
        "items": [
            {"destination_id": destination, "table": table, "status": status, "events": number}
            for (destination, table, status), number in sorted(found.events.items())
        ],
        "pending_erasures": found.pending_erasures,
        "batches_searched": found.batches,
        "unreadable_batches": found.unreadable,
        "not_searched": list(subject_search.NOT_SEARCHED),
        "next_cursor": None if found.cursor is None else str(found.cursor),
    }


@router.get("/subjects/erasures/{erasure_id}", summary="The receipt of an erasure")
@requires(Scope.ERASE)
async def read(erasure_id: str, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Read how an erasure went. `signature` (Ed25519, base64) is over the text in `signed`."""
    _unlimited(caller)
    async with context.pool.acquire() as connection:
        found = await erasures.find(connection, erasure_id)
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    made = await erasure.read_receipt(context.pool, context.vault, found)
    return {
        **made.body,
        "signed": made.signed,
        "signature": made.signature,
        "public_key": made.public_key,
    }


def _unlimited(caller: Caller) -> None:
    """A person's events stand under all destinations: a key that is limited to some cannot erase them."""
    if caller.destination_ids is not None:
        raise Refusal(
            ErrorCode.FORBIDDEN, "This key is limited to its destinations; a person is in all of them."
        )
