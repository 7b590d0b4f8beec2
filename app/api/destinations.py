"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller, Scope
from app.admin.alerting_input import DestinationUpdate
from app.admin.destinations import (
    archive_destination,
    change_destination,
    create_destination,
    disconnect_destination,
    draft_of,
    find_visible,
    lock_visible,
    pause_destination,
    public_view,
    resume_destination,
)
from app.admin.ids import new_id
from app.admin.incidents import change_alerting, monitoring_of
from app.admin.inputs import DestinationChange, NewDestination
from app.admin.organisations import require_destination_allowance
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.confusable import skeleton
from app.api.etags import etag, require_match
from app.api.paging import PAGE, Cursor, Limit, Page, cursor_of, number_of, split_page
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId, DestinationId
from app.domain.incidents.health import Health
from app.store import destinations
from app.store.destinations import ConfiguredRate, Destination, DestinationDraft

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class RateLimitView(ResponseBody):
    """The configured request rate to Amazon."""

    requests_per_second: float = Field(examples=[5.0])
    burst: int = Field(examples=[5])


class DestinationView(ResponseBody):
    """A destination: one advertiser's Amazon account."""

    id: str = Field(examples=["dst_0a1b2c3d4e5f6g7h8i9j"])
    name: str = Field(examples=["Acme US"])
    advertiser_id: str = Field(examples=["580123456789012345"])
    region: Region
    currency: str = Field(examples=["USD"])
    identity_profile: str = Field(examples=["amazon"])
    dataset_name: str | None
    rate_limit: RateLimitView
    state: State
    reason: str | None = Field(description="Why the destination must be connected again.")
    connected: bool
    published_mappings: int
    version: int = Field(description="Also the `ETag`.")
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, destination: Destination, **more: object) -> Self:
        """Return the view of a destination, with further members of a subclass."""
        return cls.model_validate({**public_view(destination), **more})


class MonitoredDestination(DestinationView):
    """A destination with its health and its alerting."""

    health: Health
    open_incidents: int
    alerting: dict[str, Any] = Field(description="Thresholds by kind of incident, and `muted_until`.")


class DestinationPage(Page[MonitoredDestination]):
    """A page of destinations."""


class NameWarning(ResponseBody):
    """A warning that the name looks like another destination's."""

    code: Literal["name_confusable"]
    field: Literal["name"]
    destination_id: str = Field(description="The other destination.")


class SavedDestination(MonitoredDestination):
    """A destination after a change, with warnings."""

    warnings: list[NameWarning]


class ArchivedDestination(DestinationView):
    """A destination after a delete."""

    discarded: int = Field(description="The number of discarded events.")


@router.post("/destinations", status_code=201, summary="Create a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    body: NewDestination, caller: CurrentCaller, context: Context, response: Response
) -> SavedDestination:
    """Create a destination in state `draft`; connect it to Amazon next.

    A name that looks like another destination's is accepted with the warning `name_confusable`.
    """
    if caller.destination_ids is not None:
        raise Refusal(
            ErrorCode.FORBIDDEN, "This key is limited to certain destinations and cannot create others."
        )
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
        await require_destination_allowance(connection)
        warnings = await _warnings(connection, caller, draft.name)
        created = await create_destination(connection, DestinationId(new_id("dst_")), draft, by=caller.actor)
        monitoring = await monitoring_of(connection, [created], context.now())
    response.headers["ETag"] = etag(created.version)
    response.headers["Location"] = f"/destinations/{created.id}"
    return SavedDestination.of(created, **monitoring[created.id], warnings=warnings)


@router.get("/destinations", summary="List destinations")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    *,
    caller: CurrentCaller,
    context: Context,
    q: Annotated[
        str | None, Query(max_length=200, description="Part of a name or an advertiser id, or an id.")
    ] = None,
    state: Annotated[
        State | None, Query(description="Archived destinations are listed only with `archived`.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> DestinationPage:
    """List the destinations that this key can access, oldest first."""
    async with context.engine.connect() as connection:
        found = await destinations.page(
            connection,
            limit=limit + 1,
            after=number_of(cursor),
            search=q.strip() or None if q else None,
            state=state,
            only=caller.only,
        )
        items, has_more = split_page(found, limit)
        monitoring = await monitoring_of(connection, items, context.now())
    next_cursor = cursor_of(items[-1].number) if has_more else None
    views = [MonitoredDestination.of(item, **monitoring[item.id]) for item in items]
    return DestinationPage(items=views, next_cursor=next_cursor)


@router.get("/destinations/{destination_id}", summary="Read a destination")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> MonitoredDestination:
    """Read a destination. Send its `ETag` as `If-Match` of a change."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, caller, destination_id)
        monitoring = await monitoring_of(connection, [found], context.now())
    response.headers["ETag"] = etag(found.version)
    return MonitoredDestination.of(found, **monitoring[found.id])


@router.patch("/destinations/{destination_id}", summary="Change a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    *,
    destination_id: str,
    body: DestinationUpdate,
    caller: CurrentCaller,
    context: Context,
    request: Request,
    response: Response,
) -> SavedDestination:
    """Change the given fields. Events that wait are not converted again.

    Advertiser id and region are fixed once the destination was connected or accepted an event, so that
    events never reach another account.
    """
    async with context.engine.begin() as connection:
        before = await lock_visible(connection, caller, destination_id)
        require_match(request, before.version)
        draft = _changed(before, body)
        warnings: list[NameWarning] = []
        if draft.name != before.name:
            warnings = await _warnings(connection, caller, draft.name, exclude=before.id)
        after = await change_destination(connection, before, draft, by=caller.actor)
        if "alerting" in body.model_fields_set and await change_alerting(
            connection, after, body.alerting or {}, by=caller.actor
        ):
            after = await destinations.touch(connection, after.id)
        monitoring = await monitoring_of(connection, [after], context.now())
    if after is not before:
        await context.wake(after.number)
    response.headers["ETag"] = etag(after.version)
    return SavedDestination.of(after, **monitoring[after.id], warnings=warnings)


@router.post("/destinations/{destination_id}/pause", summary="Pause a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Pause delivery. Events are still accepted and wait. Nothing is sent after the response."""
    paused = await pause_destination(context, caller, destination_id)
    response.headers["ETag"] = etag(paused.version)
    return DestinationView.of(paused)


@router.post("/destinations/{destination_id}/resume", summary="Resume a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Resume delivery. The destination returns to its state before the pause."""
    resumed = await resume_destination(context, caller, destination_id)
    response.headers["ETag"] = etag(resumed.version)
    return DestinationView.of(resumed)


@router.post("/destinations/{destination_id}/disconnect", summary="Disconnect from Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Delete the tokens. While events wait, the destination is `needs_reconnect`, else `draft`."""
    disconnected = await disconnect_destination(context, caller, destination_id)
    response.headers["ETag"] = etag(disconnected.version)
    return DestinationView.of(disconnected)


@router.delete("/destinations/{destination_id}", summary="Delete a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    request: Request,
    discard: Annotated[bool, Query(description="Discard waiting events: they become dead.")] = False,
) -> ArchivedDestination:
    """Archive the destination permanently; its history stays readable. Refused while events wait.

    Repeating the call returns the same, and finishes an interrupted discard.
    """
    archived, discarded = await archive_destination(
        context, caller, destination_id, discard=discard, check_version=partial(require_match, request)
    )
    return ArchivedDestination.of(archived, discarded=discarded)


_NULLABLE = frozenset({"dataset_name", "rate_limit"})


def _changed(before: Destination, body: DestinationChange) -> DestinationDraft:
    """Return the destination's fields after a change. Raises Refusal for a null that is not allowed."""
    changes = {name: getattr(body, name) for name in body.model_fields_set if name != "alerting"}
    nulls = [
        FieldProblem(name, "missing")
        for name, value in changes.items()
        if value is None and name not in _NULLABLE
    ]
    if nulls:
        raise Refusal(ErrorCode.INVALID, None, *nulls)
    if "rate_limit" in changes:
        rate = changes.pop("rate_limit")
        changes["rate"] = ConfiguredRate()
        if rate is not None:
            # Members of the limit that are left out keep their values.
            changes["rate"] = replace(
                before.rate, **{name: getattr(rate, name) for name in rate.model_fields_set}
            )
    if "region" in changes:
        changes["region"] = Region(changes["region"])
    return replace(draft_of(before), **changes)


async def _warnings(
    connection: AsyncConnection, caller: Caller, name: str, *, exclude: str | None = None
) -> list[NameWarning]:
    """Return a warning for each destination whose name looks like this one."""
    name_skeleton = skeleton(name)
    return [
        NameWarning(code="name_confusable", field="name", destination_id=id_)
        for id_, other_name in await destinations.names(connection, only=caller.only)
        if id_ != exclude and skeleton(other_name) == name_skeleton
    ]
