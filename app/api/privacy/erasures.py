"""Erasures over HTTP: erase the stored data of a person, and read the signed receipt."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import ConfigDict, model_validator
from pydantic import Field as Described

from app.admin.access import Scope
from app.admin.inputs import Omittable, RequestBody, validation_error
from app.admin.privacy import erasure
from app.admin.privacy.erasure import ErasureReceipt
from app.admin.privacy.subject_search import NOT_SEARCHED, find_person
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import cursor_of, record_id_of

router = APIRouter(route_class=SecuredRoute, tags=["subjects"])

Identifier = Annotated[str, Described(min_length=1, max_length=1024)]
Digest = Annotated[str, Described(pattern="^[0-9A-Fa-f]{64}$")]


class Subject(RequestBody):
    """The identifiers of a person, named as in a mapping. `hash` is the SHA-256 (hex) of any identifier."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    email: Omittable[Identifier] = None
    phone: Omittable[Identifier] = None
    maid: Omittable[Identifier] = None
    ramp_id: Omittable[Identifier] = None
    match_id: Omittable[Identifier] = None
    real_id: Omittable[Identifier] = None
    merkle_id: Omittable[Identifier] = None
    kantar_id: Omittable[Identifier] = None
    fip: Omittable[Identifier] = None
    hash: Omittable[Digest] = None

    @model_validator(mode="after")
    def _has_identifier(self) -> "Subject":
        if not self.identifiers():
            raise validation_error("missing")
        return self

    def __repr__(self) -> str:
        return f"Subject({', '.join(sorted(self.identifiers()))})"

    __str__ = __repr__

    def identifiers(self) -> dict[str, str]:
        """Return the identifiers in the body."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name))}


class ErasureView(ResponseBody):
    """An erasure, as it was requested."""

    id: str
    status: Literal["under_way"]
    requested_at: datetime


@router.post("/subjects/erase", status_code=202, summary="Erase a person")
@requires(Scope.ERASE)
async def erase(body: Subject, caller: CurrentCaller, context: Context, response: Response) -> ErasureView:
    """Erase a person's events under all destinations.

    After the response, no stored event of the person is sent. Waiting and dead events become `erased`;
    delivered events keep their status without their content. Events that arrive later are not blocked.
    """
    id, at = await erasure.erase_person(context, caller, body.identifiers())  # noqa: A001
    response.headers["Location"] = f"/subjects/erasures/{id}"
    return ErasureView(id=id, status="under_way", requested_at=at)


class WantedSubject(Subject):
    """The identifiers of the person to search for. `cursor` continues an earlier search."""

    cursor: str | None = None

    def identifiers(self) -> dict[str, str]:
        """Return the identifiers in the body."""
        return {name: value for name, value in super().identifiers().items() if name != "cursor"}


class StoredEventsView(ResponseBody):
    """The number of a person's stored events in a destination, by table and status."""

    destination_id: str
    table: Literal["batches"]
    status: Literal["waiting", "delivered", "dead"]
    events: int


class SubjectSearchView(ResponseBody):
    """The counts of a person's stored events. They contain no values."""

    id: str = Described(description="The id of this search in the audit.")
    identifiers: list[str]
    events: int = Described(description="Stored events that carry a match key of the person.")
    items: list[StoredEventsView]
    pending_erasures: int = Described(description="Unfinished erasures of the same person.")
    batches_searched: int
    unreadable_batches: int = Described(description="The number of damaged batches. They were not searched.")
    not_searched: list[str]
    next_cursor: str | None = Described(description="Repeat with this `cursor` until it is null.")


@router.post("/subjects/find", summary="Count a person's stored events")
@requires(Scope.ERASE)
async def find(body: WantedSubject, caller: CurrentCaller, context: Context) -> SubjectSearchView:
    """Count a person's stored events by destination and status. The response contains no values.

    The request searches for about five seconds, for the same hashes as an erasure. Repeat the request with
    `next_cursor` until `next_cursor` is null, and add up the counts. The audit records every search without
    the identifiers.
    """
    after = record_id_of(context, body.cursor) or 0
    id, found = await find_person(context, caller, body.identifiers(), after=after)  # noqa: A001
    return SubjectSearchView(
        id=id,
        identifiers=sorted(body.identifiers()),
        events=found.events.total(),
        items=[
            StoredEventsView.model_validate(
                {"destination_id": destination, "table": table, "status": status, "events": number}
            )
            for (destination, table, status), number in sorted(found.events.items())
        ],
        pending_erasures=found.pending_erasures,
        batches_searched=found.batches,
        unreadable_batches=found.unreadable,
        not_searched=list(NOT_SEARCHED),
        next_cursor=None if found.cursor is None else cursor_of(context, found.cursor),
    )


@router.get("/subjects/erasures/{erasure_id}", summary="Read an erasure receipt")
@requires(Scope.ERASE)
async def read(erasure_id: str, caller: CurrentCaller, context: Context) -> ErasureReceipt:
    """Read the state of an erasure.

    `signature` is the Ed25519 signature of the text in `signed`, in base64.
    """
    return await erasure.find_receipt(context, caller, erasure_id)
