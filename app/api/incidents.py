"""Incidents over HTTP: list, read, acknowledge and mute. Notification channels and settings over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin import incidents as use_cases
from app.admin.access import Scope
from app.admin.incidents import ChannelStatus
from app.admin.incidents.alerting import NotificationPreference
from app.admin.inputs import Instant, RequestBody
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.paging import Page, Paging, record_id_of
from app.domain.incidents.kinds import Kind
from app.domain.incidents.machine import IncidentState
from app.incidents.planner import PublicIncident, public_incident
from app.store.incidents import IncidentFilter

router = APIRouter(route_class=SecuredRoute, tags=["incidents"])


class IncidentPage(Page[PublicIncident]):
    """A page of incidents, newest first."""


class Acknowledgement(RequestBody):
    """An optional note about an incident, which other people see."""

    note: Annotated[str, Field(max_length=1000)] | None = None


class Mute(RequestBody):
    """The time at which the mute ends. Null ends the mute now."""

    until: Instant | None = None


@router.get("/incidents", summary="List incidents")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    *,
    caller: CurrentCaller,
    context: Context,
    state: Annotated[IncidentState | None, Query(description="Only incidents in this state.")] = None,
    destination_id: Annotated[
        str | None, Query(max_length=64, description="Only incidents of this destination.")
    ] = None,
    kind: Annotated[Kind | None, Query(description="Only incidents of this kind.")] = None,
    paging: Paging,
) -> IncidentPage:
    """List incidents, newest first.

    Only a key that is not limited to destinations sees incidents of the service.
    """
    wanted, below = IncidentFilter(state, destination_id, kind), record_id_of(context, paging.cursor)
    found = await use_cases.list_incidents(context, caller, wanted, limit=paging.most, below=below)
    return paging.page(IncidentPage, found, lambda row: (row.number,), public_incident)


@router.get("/incidents/{incident_id}", summary="Read an incident")
@requires(Scope.DESTINATIONS_READ)
async def read(incident_id: str, caller: CurrentCaller, context: Context) -> PublicIncident:
    """Read an incident: what is wrong, since when, what it affects and what to do."""
    return public_incident(await use_cases.find_incident(context, caller, incident_id))


@router.post("/incidents/{incident_id}/acknowledge", summary="Acknowledge an incident")
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge(
    incident_id: str, caller: CurrentCaller, context: Context, body: Acknowledgement | None = None
) -> PublicIncident:
    """Stop the reminders of an incident. A message is still sent when the incident resolves.

    A repeated call changes the note.
    """
    note = None if body is None else body.note
    return public_incident(await use_cases.acknowledge_incident(context, caller, incident_id, note=note))


@router.post("/incidents/{incident_id}/mute", summary="Mute an incident")
@requires(Scope.DESTINATIONS_WRITE)
async def mute(incident_id: str, body: Mute, caller: CurrentCaller, context: Context) -> PublicIncident:
    """Send no message about an incident until the given time. `{"until": null}` ends the mute."""
    return public_incident(await use_cases.mute_incident(context, caller, incident_id, until=body.until))


class ChannelPage(Page[ChannelStatus]):
    """The notification channels of the organisation."""


@router.get("/notification-channels", summary="List notification channels")
@requires(Scope.DESTINATIONS_READ)
async def list_channels(caller: CurrentCaller, context: Context, paging: Paging) -> ChannelPage:
    """List the channels that the operator configured, with the results of their deliveries."""
    return paging.part(ChannelPage, await use_cases.list_channels(context, caller))


@router.get("/destinations/{destination_id}/notifications", summary="Read notification settings")
@requires(Scope.DESTINATIONS_READ)
async def read_notifications(
    destination_id: str, caller: CurrentCaller, context: Context
) -> NotificationPreference:
    """Return the notification settings of a destination."""
    found = await use_cases.read_alerting(context, caller, destination_id)
    return NotificationPreference.of(found.preference)


@router.put("/destinations/{destination_id}/notifications", summary="Change notification settings")
@requires(Scope.DESTINATIONS_WRITE)
async def set_notifications(
    destination_id: str, body: NotificationPreference, caller: CurrentCaller, context: Context
) -> NotificationPreference:
    """Set the kinds of incident that cause messages, and the channels that receive them."""
    after = await use_cases.set_preference(context, caller, destination_id, body.preference())
    return NotificationPreference.of(after)
