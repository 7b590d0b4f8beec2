"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import (
    archive_destination,
    disconnect_destination,
    find_visible,
    pause_destination,
    public_view,
    resume_destination,
)
from app.admin.destinations.settings import (
    SettingsResult,
    change_destination,
    create_destination,
    list_destinations,
)
from app.admin.incidents import monitoring_of
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.inputs import NewDestination
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.etags import Expected, etag
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, number_of, split_page
from app.domain.destination import Region, State
from app.domain.incidents.health import Health
from app.store.destinations.destinations import Destination

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
    reason: str | None = Field(
        description="Why the destination must be connected again; `organisation_suspended` if it is paused "
        "because its organisation is suspended."
    )
    connected: bool
    published_mappings: int
    version: int = Field(description="Grows with each change. Also the `ETag`.")
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, destination: Destination, **more: object) -> Self:
        """Return the view of a destination. `more` contains the additional members of a subclass."""
        return cls.model_validate({**public_view(destination), **more})


class MonitoredDestination(DestinationView):
    """A destination with its health and its alerting."""

    health: Health
    open_incidents: int
    alerting: dict[str, Any] = Field(description="Thresholds by kind of incident, and `muted_until`.")


class DestinationPage(Page[MonitoredDestination]):
    """A page of destinations."""


class NameWarning(ResponseBody):
    """A warning: another destination has a similar name."""

    code: Literal["name_confusable"]
    field: Literal["name"]
    destination_id: str = Field(description="The other destination.")


class CurrencyWarning(ResponseBody):
    """A warning: the Amazon account has another currency."""

    code: Literal["currency_differs"]
    field: Literal["currency"]
    account_currency: str


class SavedDestination(MonitoredDestination):
    """A destination after a change, with warnings."""

    warnings: list[NameWarning | CurrencyWarning]


class ArchivedDestination(DestinationView):
    """A destination after a delete."""

    discarded: int = Field(description="The number of discarded events.")


@router.post("/destinations", status_code=201, summary="Create a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    body: NewDestination, caller: CurrentCaller, context: Context, response: Response
) -> SavedDestination:
    """Create a destination in state `draft`. Connect it to Amazon next.

    If another destination has a similar name, the response has the warning `name_confusable`.
    """
    saved = await create_destination(context, caller, body)
    created = saved.destination
    response.headers["ETag"] = etag(created.version)
    response.headers["Location"] = f"/destinations/{created.id}"
    return SavedDestination.of(created, **await _monitoring_of(context, created), warnings=_warnings(saved))


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
    found = await list_destinations(
        context, caller, limit=limit + 1, after=number_of(cursor), search=q, state=state
    )
    items, next_cursor = split_page(found, limit, lambda row: (row.number,))
    async with context.engine.connect() as connection:
        monitoring = await monitoring_of(connection, items, context.now())
    views = [MonitoredDestination.of(item, **monitoring[item.id]) for item in items]
    return DestinationPage(items=views, next_cursor=next_cursor)


@router.get("/destinations/{destination_id}", summary="Read a destination")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> MonitoredDestination:
    """Read a destination. To change it, send the `ETag` of this response as `If-Match`."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, caller, destination_id)
    response.headers["ETag"] = etag(found.version)
    return MonitoredDestination.of(found, **await _monitoring_of(context, found))


@router.patch("/destinations/{destination_id}", summary="Change a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    *,
    destination_id: str,
    body: DestinationUpdate,
    caller: CurrentCaller,
    context: Context,
    expected: Expected,
    response: Response,
) -> SavedDestination:
    """Change the given fields. Waiting events are not converted again.

    The advertiser id and the region cannot change once the destination was connected or accepted an event. So
    events never reach another account.
    """
    saved = await change_destination(context, caller, destination_id, body, expected)
    response.headers["ETag"] = etag(saved.destination.version)
    monitoring = await _monitoring_of(context, saved.destination)
    return SavedDestination.of(saved.destination, **monitoring, warnings=_warnings(saved))


@router.post("/destinations/{destination_id}/pause", summary="Pause a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Pause delivery. New events are still accepted, and wait. Nothing is sent after the response."""
    return _changed(response, await pause_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/resume", summary="Resume a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Resume delivery. The destination returns to its state before the pause.

    While the organisation is suspended, the destination stays `paused` with the reason
    `organisation_suspended`.
    """
    return _changed(response, await resume_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/disconnect", summary="Disconnect from Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> DestinationView:
    """Delete the tokens. The new state is `needs_reconnect` if events wait, and `draft` if none waits."""
    return _changed(response, await disconnect_destination(context, caller, destination_id))


@router.delete("/destinations/{destination_id}", summary="Delete a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    expected: Expected,
    discard: Annotated[bool, Query(description="Discard waiting events: they become dead.")] = False,
) -> ArchivedDestination:
    """Archive the destination permanently. Its history stays readable. Refused while events wait, except with
    `discard`.

    A repeated call returns the same response, and finishes a discard that was interrupted.
    """
    archived, discarded = await archive_destination(
        context, caller, destination_id, discard=discard, expected=expected
    )
    return ArchivedDestination.of(archived, discarded=discarded)


def _changed(response: Response, destination: Destination) -> DestinationView:
    response.headers["ETag"] = etag(destination.version)
    return DestinationView.of(destination)


async def _monitoring_of(context: AppContext, found: Destination) -> Mapping[str, Any]:
    """Return the health, open incidents and alerting of a destination."""
    async with context.engine.connect() as connection:
        return (await monitoring_of(connection, [found], context.now()))[found.id]


def _warnings(saved: SettingsResult) -> list[NameWarning | CurrencyWarning]:
    warnings: list[NameWarning | CurrencyWarning] = [
        NameWarning(code="name_confusable", field="name", destination_id=id_) for id_ in saved.similar
    ]
    if (other := saved.account_currency) is not None:
        warnings.append(CurrencyWarning(code="currency_differs", field="currency", account_currency=other))
    return warnings
