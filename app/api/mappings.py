"""Mappings over HTTP: drafts made, edited and shown; published, rolled back, deleted."""

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


def shown(mapping: StoredMapping, region: Region, learned: EventSchema | None = None) -> dict[str, Any]:
    """Return a mapping: its draft's own members, what is known of it, and what keeps it from publishing."""
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
        "warnings": draft_warnings(mapping.draft, region, learned),
        "version": mapping.version,
        "created_at": mapping.created_at,
        "updated_at": mapping.updated_at,
    }


def _state(mapping: StoredMapping) -> str:
    if mapping.archived_at is not None:
        return "archived"
    return "draft" if mapping.published_version is None else "published"


async def found(
    connection: AsyncConnection, destination: Destination, mapping: str, *, lock: bool = False
) -> StoredMapping:
    """Return a mapping of a destination. Raises Refusal (404; 409 for a deleted one to be changed)."""
    require_mapping_id(mapping)
    get = mappings.lock if lock else mappings.find
    stored = await get(connection, destination.id, mapping)
    if stored is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    if lock and stored.archived_at is not None:
        raise Refusal(ErrorCode.MAPPING_ARCHIVED)
    return stored


async def _to_change(
    connection: AsyncConnection, caller: Caller, destination_id: str, mapping_id: str, request: Request
) -> tuple[Destination, StoredMapping]:
    destination = await lock_visible(connection, caller, destination_id)
    mapping = await found(connection, destination, mapping_id, lock=True)
    require_match(request, mapping.version)
    return destination, mapping


async def _to_publish(
    connection: AsyncConnection, caller: Caller, destination_id: str, mapping_id: str, request: Request
) -> tuple[Destination, StoredMapping]:
    destination = await find_visible(connection, caller, destination_id)
    destination = await publishing.lock_advertiser(connection, destination)
    mapping = await found(connection, destination, mapping_id, lock=True)
    require_match(request, mapping.version)
    return destination, mapping


async def _answer(
    connection: AsyncConnection, destination: Destination, mapping: str, status: int = 200, **headers: str
) -> Response:
    after = await found(connection, destination, mapping)
    learned = merge_samples(await schema_samples.of_destination(connection, destination.id))
    return ExactJsonResponse(
        shown(after, destination.region, learned), status, {"ETag": etag(after.version), **headers}
    )


@router.post(MAPPINGS, status_code=201, summary="Make a mapping", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def create(destination_id: str, body: DraftBody, caller: CurrentCaller, context: Context) -> Response:
    """Make a draft: it may lack what publishing needs, but what it says must be right."""
    draft = valid_draft(
        {"action": ACTION, **{name: value for name, value in body.items() if value is not None}}
    )
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = MappingId(new_id("map_"))
        await create_mapping(connection, destination.id, mapping, draft, by=caller.actor)
        place = f"/destinations/{destination.id}/mappings/{mapping}"
        return await _answer(connection, destination, mapping, 201, Location=place)


@router.get(MAPPINGS, summary="List mappings", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> Response:
    """List a destination's mappings, oldest first; deleted ones are left out."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        rows = await mappings.page(connection, destination.id, limit=limit + 1, after=number_of(cursor))
    items, more = split_page(rows, limit)
    told = [shown(item, destination.region) for item in items]
    return ExactJsonResponse(page_body(told, cursor_of(items[-1].number) if more else None))


@router.get(MAPPING, summary="Read a mapping", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def read(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> Response:
    """Read the draft, the published version's number, and what keeps the draft from being published."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        return await _answer(connection, destination, mapping_id)


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
    """Replace the members that are named, each as a whole; null takes one away. Published versions stay."""
    async with context.engine.begin() as connection:
        destination, before = await _to_change(connection, caller, destination_id, mapping_id, request)
        merged = {**before.draft, **body}
        draft = valid_draft({name: value for name, value in merged.items() if value is not None})
        await change_mapping(connection, before, draft, by=caller.actor)
        return await _answer(connection, destination, before.id)


@router.delete(MAPPING, summary="Delete a mapping", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context, request: Request
) -> Response:
    """Archive a mapping: it takes no more events. Those accepted with it are delivered all the same."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = await found(connection, destination, mapping_id)
        if mapping.archived_at is None:
            _, mapping = await _to_change(connection, caller, destination_id, mapping_id, request)
            await archive_mapping(connection, mapping, by=caller.actor)
        return ExactJsonResponse(shown(await found(connection, destination, mapping_id), destination.region))


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
    """Let events use the draft as it is now, as a new version that never changes.

    422 with every field that is missing; 409 `event_name_conflict` with `pinned_name` when the advertiser's
    events of that type have another name. Publishing what is published already changes nothing.
    """
    async with context.engine.begin() as connection:
        destination, before = await _to_publish(connection, caller, destination_id, mapping_id, request)
        await publish_mapping(connection, destination, before, by=caller.actor)
        answer = await _answer(connection, destination, before.id)
    await context.wake(destination.number)
    return answer


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
    """List what was published, newest first, with the documents and what each changed of the one before."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await found(connection, destination, mapping_id)
        rows = await mappings.versions(connection, mapping.id, limit=limit + 1, below=number_of(cursor))
    items, more = split_page(rows, limit)
    return ExactJsonResponse(
        page_body(
            [
                _shown_version(item, older, mapping.published_version)
                for item, older in zip_longest(items, rows[1 : len(items) + 1])
            ],
            cursor_of(items[-1].version) if more else None,
        )
    )


def _shown_version(version: Version, older: Version | None, current: int | None) -> dict[str, Any]:
    changes = differences(older.document, version.document) if older else ()
    return {
        "version": version.version,
        "current": version.version == current,
        "mapping": version.document,
        "changes": [{"path": one.path, "before": one.before, "after": one.after} for one in changes],
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
    """Let events use an earlier version again. The draft stays, so that it can be mended and published."""
    async with context.engine.begin() as connection:
        destination, before = await _to_publish(connection, caller, destination_id, mapping_id, request)
        await publishing.roll_back(connection, destination, before, body.version)
        if before.published_version != body.version:
            after = await found(connection, destination, mapping_id)
            await record_mapping_audit(
                connection,
                caller.actor,
                audit.AuditAction.MAPPING_ROLLED_BACK,
                destination.id,
                before.id,
                before=published_document(before),
                after=published_document(after),
            )
        answer = await _answer(connection, destination, before.id)
    await context.wake(destination.number)
    return answer
