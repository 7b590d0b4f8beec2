"""People over HTTP: consent records, match keys of values, and the search and erasure of a person."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field, create_model, model_validator

from app.admin import Scope
from app.admin.inputs import Instant, Omittable, RequestBody, validation_error
from app.admin.privacy import subjects
from app.admin.privacy.consent_records import ConsentRecord, blocked_by_consent
from app.admin.privacy.hash_value import HashRequest, HashResult, hash_value
from app.api.access.secured_route import OF_DESTINATIONS, ONE, Context, SecuredRouter
from app.api.http.responses import ResponseBody
from app.api.lists import Listing, ListQuery, cursor_of
from app.api.pages import ConsentRecordPage, consent_page
from app.domain.privacy.erasure import HASH, IDENTIFYING_FIELDS

router = SecuredRouter("events")
identity_router = SecuredRouter("identity")
subject_router = SecuredRouter("subjects")


@router.get(ONE + "/consent-records", Scope.EVENTS_READ, Scope.ERASE, summary="List consent records")
async def list_consent(
    context: Context,
    destination_id: str,
    listing: Listing,
    since: Annotated[Instant | None, Query(description="Only events accepted at or after this time.")] = None,
) -> ConsentRecordPage | StreamingResponse:
    """List a record for each accepted event, newest first. Records are kept for 30 days.

    A record has the legal basis, its source, the times, the decision, and the SHA-256 of a consent string.
    `stopped` counts the events that the consent check rejected, by reason and basis. Nothing else about
    rejected events is stored. `unreadable_batches` counts damaged batches; their records are missing from the
    page.
    """
    # The page has these counts. An export has only records.
    stopped = () if listing.export_format else await blocked_by_consent(context, destination_id)
    page_at = partial(consent_page, destination_id, since, stopped)
    return await listing.answer(ConsentRecord, page_at, name="consent-records")


@identity_router.post("/identity/hash", *OF_DESTINATIONS, summary="Hash a value")
async def show_hash(body: HashRequest) -> HashResult:
    """Return the normalized form of a value, and the match key that Amazon receives for it.

    Use it to compare with another system. The response contains the value in clear text. The value is not
    stored.
    """
    return hash_value(body)


Identifier = Omittable[Annotated[str, Field(min_length=1, max_length=1024)]]
Digest = Omittable[Annotated[str, Field(pattern="^[0-9A-Fa-f]{64}$")]]


_IDENTIFIERS: Final[dict[str, Any]] = {
    **dict.fromkeys(IDENTIFYING_FIELDS, (Identifier, None)),
    HASH: (Digest, None),
}


class Subject(create_model("Identifiers", __base__=RequestBody, **_IDENTIFIERS)):  # type: ignore[misc]
    """The identifiers of a person, named as in a mapping. `hash` is the SHA-256 (hex) of any identifier."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

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
        return {name: value for name in subjects.IDENTIFIERS if (value := getattr(self, name))}


@subject_router.post("/subjects/erase", Scope.ERASE, status_code=202, summary="Erase a person")
async def erase(context: Context, body: Subject, response: Response) -> subjects.RequestedErasure:
    """Erase a person's events under all destinations.

    After the response, no stored event of the person is sent. Waiting and dead events become `erased`;
    delivered events keep their status without their content. Events that arrive later are not blocked.
    """
    requested = await subjects.erase_person(context, body.identifiers())
    response.headers["Location"] = f"/subjects/erasures/{requested.id}"
    return requested


class WantedSubject(Subject):
    """The identifiers of the person to search for. `cursor` continues an earlier search."""

    cursor: str | None = None


class StoredEventsView(ResponseBody):
    """The number of a person's stored events in a destination, by status."""

    destination_id: str
    status: subjects.StoredStatus
    events: int


class SubjectSearchView(ResponseBody):
    """The counts of a person's stored events. They contain no values."""

    id: str
    """The id of this search in the audit."""
    identifiers: list[str]
    events: int
    """Stored events that carry a match key of the person."""
    items: list[StoredEventsView]
    batches_searched: int
    unreadable_batches: int
    """The number of damaged batches. They were not searched."""
    not_searched: list[str]
    next_cursor: str | None
    """Repeat with this `cursor` until it is null."""


@subject_router.post("/subjects/find", Scope.ERASE, summary="Count a person's stored events")
async def find(context: Context, body: WantedSubject) -> SubjectSearchView:
    """Count a person's stored events by destination and status. The response contains no values.

    The request searches for about five seconds, for the same hashes as an erasure. Repeat the request with
    `next_cursor` until `next_cursor` is null, and add up the counts. The audit records every search without
    the identifiers.
    """
    after = ListQuery(context, cursor=body.cursor).record_id or 0
    search_id, found = await subjects.find_person(context, body.identifiers(), after=after)
    return SubjectSearchView(
        id=search_id,
        identifiers=sorted(body.identifiers()),
        events=found.events.total(),
        items=[
            StoredEventsView(destination_id=destination, status=status, events=number)
            for (destination, status), number in sorted(found.events.items())
        ],
        batches_searched=found.batches,
        unreadable_batches=found.unreadable,
        not_searched=list(subjects.NOT_SEARCHED),
        next_cursor=None if found.cursor is None else cursor_of(context, found.cursor),
    )


@subject_router.get("/subjects/erasures/{erasure_id}", Scope.ERASE, summary="Read an erasure receipt")
async def read_receipt(context: Context, erasure_id: str) -> subjects.ErasureReceipt:
    """Read the state of an erasure.

    `signature` is the Ed25519 signature of the text in `signed`, in base64.
    """
    return await subjects.find_receipt(context, erasure_id)
