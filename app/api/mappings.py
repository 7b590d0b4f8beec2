"""Mappings over HTTP: create, edit, publish, roll back and delete."""

from itertools import zip_longest
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.admin import publishing
from app.admin.access import Caller, Scope
from app.admin.destinations import find_visible, lock_visible
from app.admin.ids import new_id, require_mapping_id
from app.admin.inputs import RollbackRequest
from app.admin.mapping_schema import DOCUMENT_SCHEMA, draft_warnings
from app.admin.mappings import (
    archive_mapping,
    change_mapping,
    create_mapping,
    publish_mapping,
    published_document,
    record_mapping_audit,
    valid_draft,
)
from app.admin.refusals import ErrorCode, Refusal, field_problem_of
from app.api.etags import etag, require_match
from app.api.json_response import ExactJsonResponse
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of, page_body, split_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.destination import Region
from app.domain.ids import MappingId
from app.domain.mapping.diff import differences
from app.domain.mapping.document import ACTION, check_publishable
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.store import audit, mappings, schema_samples
from app.store.destinations import Destination
from app.store.mappings import StoredMapping, Version

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])

MAPPINGS = "/destinations/{destination_id}/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"

DraftBody = Annotated[dict[str, Any], Body(json_schema_extra=DOCUMENT_SCHEMA)]


def mapping_response(
    mapping: StoredMapping, region: Region, schema: EventSchema | None = None
) -> dict[str, Any]:
    """Return a mapping's response: the members of its draft, its state, and what prevents publishing."""
    return {
        **mapping.draft,
        "id": mapping.id,
        "destination_id": mapping.destination,
        "state": _state(mapping),
        "published_version": mapping.published_version,
        "unpublished_changes": mapping.draft != mapping.published,
        "problems": [
            {"field": problem.path, "problem": field_problem_of(problem.problem), "detail": problem.sentence}
            for problem in check_publishable(dict(mapping.draft))
        ],
        "warnings": draft_warnings(mapping.draft, region, schema),
        "version": mapping.version,
        "created_at": mapping.created_at,
        "updated_at": mapping.updated_at,
    }


def _state(mapping: StoredMapping) -> str:
    if mapping.archived_at is not None:
        return "archived"
    return "draft" if mapping.published_version is None else "published"


async def find_mapping(
    connection: AsyncConnection, destination: Destination, mapping: str, *, lock: bool = False
) -> StoredMapping:
    """Return a mapping of a destination. Raises Refusal (404; 409 if `lock` is set and it is archived)."""
    require_mapping_id(mapping)
    fetch = mappings.lock if lock else mappings.find
    stored = await fetch(connection, destination.id, mapping)
    if stored is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    if lock and stored.archived_at is not None:
        raise Refusal(ErrorCode.MAPPING_ARCHIVED)
    return stored


async def _lock_to_change(
    connection: AsyncConnection, caller: Caller, destination_id: str, mapping_id: str, request: Request
) -> tuple[Destination, StoredMapping]:
    destination = await lock_visible(connection, caller, destination_id)
    mapping = await find_mapping(connection, destination, mapping_id, lock=True)
    require_match(request, mapping.version)
    return destination, mapping


async def _lock_to_publish(
    connection: AsyncConnection, caller: Caller, destination_id: str, mapping_id: str, request: Request
) -> tuple[Destination, StoredMapping]:
    destination = await find_visible(connection, caller, destination_id)
    destination = await publishing.lock_advertiser(connection, destination)
    mapping = await find_mapping(connection, destination, mapping_id, lock=True)
    require_match(request, mapping.version)
    return destination, mapping


async def _response(
    connection: AsyncConnection, destination: Destination, mapping: str, status: int = 200, **headers: str
) -> Response:
    after = await find_mapping(connection, destination, mapping)
    schema = merge_samples(await schema_samples.of_destination(connection, destination.id))
    return ExactJsonResponse(
        mapping_response(after, destination.region, schema), status, {"ETag": etag(after.version), **headers}
    )


@router.post(MAPPINGS, status_code=201, summary="Create a mapping", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def create(destination_id: str, body: DraftBody, caller: CurrentCaller, context: Context) -> Response:
    """Create a draft. It may lack members that publishing needs; the members it has must be valid."""
    draft = valid_draft(
        {"action": ACTION, **{name: value for name, value in body.items() if value is not None}}
    )
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = MappingId(new_id("map_"))
        await create_mapping(connection, destination.id, mapping, draft, by=caller.actor)
        location = f"/destinations/{destination.id}/mappings/{mapping}"
        return await _response(connection, destination, mapping, 201, Location=location)


@router.get(MAPPINGS, summary="List mappings", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> Response:
    """List a destination's mappings, oldest first, without deleted ones."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        rows = await mappings.page(connection, destination.id, limit=limit + 1, after=number_of(cursor))
    items, more = split_page(rows, limit)
    responses = [mapping_response(item, destination.region) for item in items]
    return ExactJsonResponse(page_body(responses, cursor_of(items[-1].number) if more else None))


@router.get(MAPPING, summary="Read a mapping", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def read(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> Response:
    """Read the draft, the number of the published version, and what prevents publishing."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        return await _response(connection, destination, mapping_id)


@router.patch(MAPPING, summary="Edit a mapping's draft", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    *,
    destination_id: str,
    mapping_id: str,
    body: DraftBody,
    caller: CurrentCaller,
    context: Context,
    request: Request,
) -> Response:
    """Replace the named members of the draft. A member that is null is removed. Published versions stay."""
    async with context.engine.begin() as connection:
        destination, before = await _lock_to_change(connection, caller, destination_id, mapping_id, request)
        merged = {**before.draft, **body}
        draft = valid_draft({name: value for name, value in merged.items() if value is not None})
        await change_mapping(connection, before, draft, by=caller.actor)
        return await _response(connection, destination, before.id)


@router.delete(MAPPING, summary="Delete a mapping", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context, request: Request
) -> Response:
    """Archive a mapping. It accepts no more events; events accepted before are still delivered."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        if mapping.archived_at is None:
            _, mapping = await _lock_to_change(connection, caller, destination_id, mapping_id, request)
            await archive_mapping(connection, mapping, by=caller.actor)
        return ExactJsonResponse(
            mapping_response(await find_mapping(connection, destination, mapping_id), destination.region)
        )


@router.post(MAPPING + "/publish", summary="Publish a mapping", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def publish(
    *,
    destination_id: str,
    mapping_id: str,
    caller: CurrentCaller,
    context: Context,
    request: Request,
) -> Response:
    """Publish the draft as a new, immutable version for new events.

    422 with every missing field; 409 `event_name_conflict` with `pinned_name` when the advertiser uses
    another name for this event type. Publishing an unchanged draft changes nothing.
    """
    async with context.engine.begin() as connection:
        destination, before = await _lock_to_publish(connection, caller, destination_id, mapping_id, request)
        await publish_mapping(connection, destination, before, by=caller.actor)
        response = await _response(connection, destination, before.id)
    await context.wake(destination.number)
    return response


@router.get(MAPPING + "/versions", summary="List published versions", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def versions(
    *,
    destination_id: str,
    mapping_id: str,
    caller: CurrentCaller,
    context: Context,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """List published versions, newest first, each with its document and its changes from the previous one."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        rows = await mappings.versions(connection, mapping.id, limit=limit + 1, below=number_of(cursor))
    items, more = split_page(rows, limit)
    return ExactJsonResponse(
        page_body(
            [
                _version_response(item, older, mapping.published_version)
                for item, older in zip_longest(items, rows[1 : len(items) + 1])
            ],
            cursor_of(items[-1].version) if more else None,
        )
    )


def _version_response(version: Version, older: Version | None, current: int | None) -> dict[str, Any]:
    changes = differences(older.document, version.document) if older else ()
    return {
        "version": version.version,
        "current": version.version == current,
        "mapping": version.document,
        "changes": [
            {"path": difference.path, "before": difference.before, "after": difference.after}
            for difference in changes
        ],
        "published_by": version.published_by,
        "published_at": version.published_at,
    }


@router.post(MAPPING + "/rollback", summary="Roll back to a published version", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rollback(
    *,
    destination_id: str,
    mapping_id: str,
    body: RollbackRequest,
    caller: CurrentCaller,
    context: Context,
    request: Request,
) -> Response:
    """Use an earlier version for new events. The draft stays, so it can be fixed and published."""
    async with context.engine.begin() as connection:
        destination, before = await _lock_to_publish(connection, caller, destination_id, mapping_id, request)
        await publishing.roll_back(connection, destination, before, body.version)
        if before.published_version != body.version:
            after = await find_mapping(connection, destination, mapping_id)
            await record_mapping_audit(
                connection,
                caller.actor,
                audit.AuditAction.MAPPING_ROLLED_BACK,
                destination.id,
                before.id,
                before=published_document(before),
                after=published_document(after),
            )
        response = await _response(connection, destination, before.id)
    await context.wake(destination.number)
    return response
