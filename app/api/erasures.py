"""Erasures over HTTP: erase the stored data of a person, and read the signed receipt."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field as Described
from pydantic import model_validator

from app.admin import erasure, subject_search
from app.admin.access import Scope
from app.admin.ids import new_id
from app.admin.inputs import RequestBody, validation_error
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store import audit

router = APIRouter(route_class=SecuredRoute, tags=["subjects"])

Identifier = Annotated[str, Described(min_length=1, max_length=1024)]
Digest = Annotated[str, Described(pattern="^[0-9A-Fa-f]{64}$")]


class Subject(RequestBody):
    """The identifiers of a person, as a mapping reads them. `hash` is the hex SHA-256 of one of them."""

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
    def _has_identifier(self) -> "Subject":
        if not self.identifiers():
            raise validation_error("missing")
        return self

    def __repr__(self) -> str:
        return f"Subject({', '.join(sorted(self.identifiers()))})"

    __str__ = __repr__

    def identifiers(self) -> dict[str, str]:
        """Return the identifiers that were sent."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name))}


@router.post("/subjects/erase", status_code=202, summary="Erase a person")
@requires(Scope.ERASE)
async def erase(body: Subject, caller: CurrentCaller, context: Context, response: Response) -> dict[str, Any]:
    """Erase a person's events under all destinations.

    After the response, no stored event of the person is sent. Waiting and dead events become `erased`;
    delivered events keep their status without their content. Events that arrive later are not blocked.
    """
    id, at = await erasure.erase_person(context, caller, body.identifiers())  # noqa: A001
    response.headers["Location"] = f"/subjects/erasures/{id}"
    return {"id": id, "status": "under_way", "requested_at": at}


class WantedSubject(Subject):
    """A person to search for; `cursor` continues a search."""

    cursor: Annotated[str, Described(pattern="^[1-9][0-9]{0,17}$")] | None = None

    def identifiers(self) -> dict[str, str]:
        """Return the identifiers that were sent."""
        return {name: value for name, value in super().identifiers().items() if name != "cursor"}


@router.post("/subjects/find", summary="Read where a person is stored")
@requires(Scope.ERASE)
async def find(body: WantedSubject, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Count a person's stored events by destination and status, by the same hashes as an erasure. No values.

    A request searches for about five seconds; repeat it with `next_cursor` until that is null, and add the
    counts up. Every search is audited, without what was searched for.
    """
    erasure.require_unlimited(caller)
    id = new_id("sub_")  # noqa: A001
    async with context.engine.begin() as connection:
        await audit.record(
            connection,
            actor=caller.actor,
            action=audit.AuditAction.SUBJECT_SEARCHED,
            subject=id,
            after={"identifiers": sorted(body.identifiers())},
        )
    found = await subject_search.search(
        context.pool,
        context.vault,
        body.identifiers(),
        after=int(body.cursor or 0),
        now=context.now(),
        monotonic=context.monotonic,
    )
    return {
        "id": id,
        "identifiers": sorted(body.identifiers()),
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


@router.get("/subjects/erasures/{erasure_id}", summary="Read an erasure receipt")
@requires(Scope.ERASE)
async def read(erasure_id: str, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Read the state of an erasure. `signature` (Ed25519, base64) is over the text in `signed`."""
    receipt = await erasure.find_receipt(context, caller, erasure_id)
    return {
        **receipt.body,
        "signed": receipt.signed,
        "signature": receipt.signature,
        "public_key": receipt.public_key,
    }
