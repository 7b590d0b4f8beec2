"""Destinations over HTTP: made, listed, read, changed."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller, Scope
from app.admin.destinations import (
    change_destination,
    create_destination,
    draft_of,
    find_visible,
    lock_visible,
    public_view,
)
from app.admin.ids import new_id
from app.admin.inputs import DestinationChange, NewDestination
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.confusable import skeleton
from app.api.etags import etag, require_match
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of, page_body, split_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId, DestinationId
from app.store import destinations
from app.store.destinations import ConfiguredRate, Destination, DestinationDraft

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


@router.post("/destinations", status_code=201, summary="Make a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    body: NewDestination, caller: CurrentCaller, context: Context, response: Response
) -> dict[str, Any]:
    """Make a draft of a destination; connect it to Amazon next.

    A name that looks like another's is accepted with the warning `name_confusable`.
    """
    if caller.destination_ids is not None:
        raise Refusal(ErrorCode.FORBIDDEN, "This key is limited to its destinations and cannot make others.")
    rate = body.rate_limit
    draft = DestinationDraft(
        name=body.name,
        advertiser_id=AdvertiserId(body.advertiser_id),
        region=Region(body.region),
        currency=body.currency,
        identity_profile=body.identity_profile,
        dataset_name=body.dataset_name,
        rate=ConfiguredRate() if rate is None else ConfiguredRate(rate.requests_per_second, rate.burst),
    )
    async with context.engine.begin() as connection:
        warnings = await _warnings(connection, caller, draft.name)
        made = await create_destination(connection, DestinationId(new_id("dst_")), draft, by=caller.actor)
    response.headers["ETag"] = etag(made.version)
    response.headers["Location"] = f"/destinations/{made.id}"
    return {**public_view(made), "warnings": warnings}


@router.get("/destinations", summary="List destinations")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    *,
    caller: CurrentCaller,
    context: Context,
    q: Annotated[
        str | None, Query(max_length=200, description="Part of a name or an advertiser id, or an id.")
    ] = None,
    state: Annotated[State | None, Query(description="Archived ones are listed only when asked for.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List the destinations that this key may use, oldest first."""
    async with context.engine.connect() as connection:
        found = await destinations.page(
            connection,
            limit=limit + 1,
            after=number_of(cursor),
            search=q.strip() or None if q else None,
            state=state,
            only=caller.only,
        )
    items, more = split_page(found, limit)
    return page_body([public_view(item) for item in items], cursor_of(items[-1].number) if more else None)


@router.get("/destinations/{destination_id}", summary="Read a destination")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> dict[str, Any]:
    """Read a destination; its `ETag` goes into `If-Match` of a change."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, caller, destination_id)
    response.headers["ETag"] = etag(found.version)
    return public_view(found)


@router.patch("/destinations/{destination_id}", summary="Change a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    *,
    destination_id: str,
    body: DestinationChange,
    caller: CurrentCaller,
    context: Context,
    request: Request,
    response: Response,
) -> dict[str, Any]:
    """Change what is named; the rest stays. Waiting events keep what they were converted with.

    Advertiser id and region are fixed once the destination was connected or took an event: what was
    accepted for one account must not arrive at another.
    """
    async with context.engine.begin() as connection:
        before = await lock_visible(connection, caller, destination_id)
        require_match(request, before.version)
        draft = _changed(before, body)
        warnings: list[dict[str, str]] = []
        if draft.name != before.name:
            warnings = await _warnings(connection, caller, draft.name, besides=before.id)
        after = await change_destination(connection, before, draft, by=caller.actor)
    if after is not before:
        await context.wake(after.number)
    response.headers["ETag"] = etag(after.version)
    return {**public_view(after), "warnings": warnings}


_NULLABLE = frozenset({"dataset_name", "rate_limit"})


def _changed(before: Destination, body: DestinationChange) -> DestinationDraft:
    """Return what a change makes of a destination. Raises Refusal (422) for a null where none belongs."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    nulls = [
        FieldProblem(name, "missing")
        for name, value in given.items()
        if value is None and name not in _NULLABLE
    ]
    if nulls:
        raise Refusal(ErrorCode.INVALID, None, *nulls)
    if "rate_limit" in given:
        rate = given.pop("rate_limit")
        given["rate"] = ConfiguredRate()
        if rate is not None:
            # A part of the limit that is left out stays as it was.
            given["rate"] = replace(
                before.rate, **{name: getattr(rate, name) for name in rate.model_fields_set}
            )
    if "region" in given:
        given["region"] = Region(given["region"])
    return replace(draft_of(before), **given)


async def _warnings(
    connection: AsyncConnection, caller: Caller, name: str, *, besides: str | None = None
) -> list[dict[str, str]]:
    """Return a warning for each destination whose name can be taken for this one."""
    look = skeleton(name)
    return [
        {"code": "name_confusable", "field": "name", "destination_id": id_}
        for id_, other in await destinations.names(connection, only=caller.only)
        if id_ != besides and skeleton(other) == look
    ]
