"""Mappings over HTTP: create, edit, publish, roll back, delete."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Body
from pydantic import ConfigDict, Field
from starlette.responses import Response
from typing_extensions import TypedDict

from app.admin import Scope, field_problem_of
from app.admin.inputs import Note, RequestBody
from app.admin.mappings import mappings as use_cases
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.api.access.secured_route import ONE, OnDestination, OnMapping, SecuredRouter
from app.api.http.headers import Expected, etag
from app.api.http.responses import ExactJsonResponse
from app.api.lists import Page, Paging
from app.domain.mapping.presets import EXAMPLE_MAPPING
from app.domain.outcomes.reasons import WarningView

router = SecuredRouter("mappings")

MAPPINGS = ONE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"

DraftBody = Annotated[dict[str, Any], Body(json_schema_extra=DOCUMENT_SCHEMA)]
NewDraftBody = Annotated[
    dict[str, Any], Body(json_schema_extra={**DOCUMENT_SCHEMA, "title": "NewMapping", "required": ["name"]})
]


class PublishRequest(RequestBody):
    """Why this version is published: a note for other people, without personal data."""

    note: Annotated[Note, Field(examples=["Reads the phone from its new field."])] | None = None


class RollbackRequest(RequestBody):
    """The published version to make current again."""

    version: Annotated[int, Field(ge=1, le=2_000_000_000)]


class DraftProblem(TypedDict):
    """A problem that prevents publishing."""

    field: str
    problem: str
    detail: str


class MappingState(TypedDict):
    """The members of a mapping that do not belong to its draft."""

    id: str
    destination_id: str
    state: Literal["archived", "draft", "published"]
    published_version: int | None
    unpublished_changes: bool
    problems: list[DraftProblem]
    warnings: list[WarningView]
    version: Annotated[int, Field(description="Also the `ETag`. Counts edits, not published versions.")]
    created_at: datetime
    updated_at: datetime


_EXAMPLE: dict[str, Any] = {
    **EXAMPLE_MAPPING,
    "id": "map_0a1b2c3d4e5f6g7h8i9j",
    "destination_id": "dst_0a1b2c3d4e5f6g7h8i9j",
    "state": "published",
    "published_version": 1,
    "unpublished_changes": False,
    "problems": [],
    "warnings": [],
    "version": 1,
    "created_at": "2026-11-24T10:00:00Z",
    "updated_at": "2026-11-24T10:00:00Z",
}


def _add_document(schema: dict[str, Any]) -> None:
    """Add the members of a mapping document to a schema. Only the name is required in a draft."""
    schema["properties"] = {**DOCUMENT_SCHEMA["properties"], **schema["properties"]}
    schema["required"] = ["name", *schema["required"]]
    schema["example"] = _EXAMPLE


class MappingView(MappingState):
    """A mapping: the members of its draft, followed by its state. Decimals are exact."""

    __pydantic_config__ = ConfigDict(json_schema_extra=_add_document)  # type: ignore[misc]


class MappingPage(Page[MappingView]):
    """A page of mappings."""


class MappingVersionPage(Page[use_cases.PublishedVersion]):
    """A page of published versions."""


def _mapping_body(details: use_cases.MappingDetails) -> dict[str, Any]:
    """Return the body for a mapping: the members of the draft in their order, then the state."""
    mapping = details.mapping
    state: MappingState = {
        "id": mapping.id,
        "destination_id": mapping.destination,
        "state": details.state,
        "published_version": mapping.published_version,
        "unpublished_changes": mapping.unpublished_changes,
        "problems": [
            {"field": problem.path, "problem": field_problem_of(problem.problem), "detail": problem.sentence}
            for problem in details.problems
        ],
        "warnings": [{"code": warning.code, "field": warning.field} for warning in details.warnings],
        "version": mapping.version,
        "created_at": mapping.created_at,
        "updated_at": mapping.updated_at,
    }
    return {**mapping.draft, **state}


MappingResponse = Annotated[Response, MappingView]


def _response(details: use_cases.MappingDetails, status: int = 200, **headers: str) -> MappingResponse:
    headers = {"ETag": etag(details.mapping.version), **headers}
    return ExactJsonResponse(_mapping_body(details), status, headers)


@router.post(MAPPINGS, Scope.DESTINATIONS_WRITE, status_code=201, summary="Create a mapping")
async def create(on: OnDestination, body: NewDraftBody) -> MappingResponse:
    """Create a draft. It may lack members that publishing needs, but the given members must be valid."""
    created = await use_cases.create_draft(*on, body)
    mapping = created.mapping
    return _response(created, 201, Location=f"/destinations/{mapping.destination}/mappings/{mapping.id}")


@router.get(MAPPINGS, Scope.DESTINATIONS_READ, summary="List mappings")
async def list_all(on: OnDestination, paging: Paging) -> Annotated[Response, MappingPage]:
    """List the mappings of a destination, oldest first. Deleted mappings are not listed."""
    found = await use_cases.list_mappings(*on, limit=paging.most, after=paging.number)
    return ExactJsonResponse(paging.listed(found, lambda each: (each.mapping.number,), _mapping_body))


@router.get(MAPPING, Scope.DESTINATIONS_READ, summary="Read a mapping")
async def read(on: OnMapping) -> MappingResponse:
    """Read the draft, the number of the published version, and the problems that prevent publishing."""
    return _response(await use_cases.read_mapping(*on))


@router.patch(MAPPING, Scope.DESTINATIONS_WRITE, summary="Edit a mapping's draft")
async def change(on: OnMapping, body: DraftBody, expected: Expected) -> MappingResponse:
    """Replace the given members of the draft. A member that is null is removed.

    Published versions stay unchanged.
    """
    return _response(await use_cases.change_draft(*on, body, expected))


@router.delete(MAPPING, Scope.DESTINATIONS_WRITE, summary="Delete a mapping")
async def delete(on: OnMapping, expected: Expected) -> MappingResponse:
    """Archive a mapping, so that it accepts no more events.

    Events that it accepted before are still delivered.
    """
    return ExactJsonResponse(_mapping_body(await use_cases.delete_mapping(*on, expected)))


@router.post(MAPPING + "/publish", Scope.DESTINATIONS_WRITE, summary="Publish a mapping")
async def publish(on: OnMapping, expected: Expected, body: PublishRequest | None = None) -> MappingResponse:
    """Publish the draft as a new, immutable version for new events, with an optional note.

    Errors: 422 with every missing field. 409 `event_name_conflict` with `pinned_name` if the advertiser uses
    another name for this event type. Publishing an unchanged draft changes nothing.
    """
    note = None if body is None else body.note
    return _response(await use_cases.publish_draft(*on, expected, note))


@router.get(MAPPING + "/versions", Scope.DESTINATIONS_READ, summary="List published versions")
async def versions(on: OnMapping, paging: Paging) -> Annotated[Response, MappingVersionPage]:
    """List versions, newest first.

    Each version has its document and its changes from the previous version.
    """
    found = await use_cases.list_versions(*on, limit=paging.most, below=paging.number)
    return ExactJsonResponse(paging.listed(found, lambda each: (each.version,)))


@router.post(MAPPING + "/rollback", Scope.DESTINATIONS_WRITE, summary="Roll back to a published version")
async def rollback(on: OnMapping, body: RollbackRequest, expected: Expected) -> MappingResponse:
    """Use an earlier version for new events. The draft stays unchanged: fix the draft, then publish it."""
    return _response(await use_cases.roll_back(*on, body.version, expected))
