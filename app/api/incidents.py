"""Incidents over HTTP: list, read, acknowledge and mute. Notification channels and settings over HTTP."""

from typing import Annotated

from fastapi import Query

from app.admin import Scope
from app.admin import incidents as use_cases
from app.admin.incidents import ChannelStatus, NotificationPreference
from app.admin.inputs import Instant, Note, RequestBody
from app.api.access.secured_route import ONE, Context, OnDestination, SecuredRouter
from app.api.lists import Page, Paging
from app.domain.incidents.kinds import Kind
from app.domain.incidents.machine import IncidentState
from app.incidents.outbox import PublicIncident, public_incident
from app.store.incidents import IncidentFilter

router = SecuredRouter("incidents")


class IncidentPage(Page[PublicIncident]):
    """A page of incidents, newest first."""


class Acknowledgement(RequestBody):
    """An optional note about an incident, which other people see."""

    note: Note | None = None


class Mute(RequestBody):
    """The time at which the mute ends. Null ends the mute now."""

    until: Instant | None = None


@router.get("/incidents", Scope.DESTINATIONS_READ, summary="List incidents")
async def list_all(
    context: Context,
    paging: Paging,
    state: Annotated[IncidentState | None, Query(description="Only incidents in this state.")] = None,
    destination_id: Annotated[
        str | None, Query(max_length=64, description="Only incidents of this destination.")
    ] = None,
    kind: Annotated[Kind | None, Query(description="Only incidents of this kind.")] = None,
) -> IncidentPage:
    """List incidents, newest first.

    Only a key that is not limited to destinations sees incidents of the service.
    """
    wanted, below = IncidentFilter(state, destination_id, kind), paging.record_id
    found = await use_cases.list_incidents(context, wanted, limit=paging.most, below=below)
    return IncidentPage(**paging.listed(found, lambda row: (row.number,), public_incident))


@router.get("/incidents/{incident_id}", Scope.DESTINATIONS_READ, summary="Read an incident")
async def read(context: Context, incident_id: str) -> PublicIncident:
    """Read an incident: what is wrong, since when, what it affects and what to do."""
    return public_incident(await use_cases.find_incident(context, incident_id))


@router.post(
    "/incidents/{incident_id}/acknowledge", Scope.DESTINATIONS_WRITE, summary="Acknowledge an incident"
)
async def acknowledge(
    context: Context, incident_id: str, body: Acknowledgement | None = None
) -> PublicIncident:
    """Stop the reminders of an incident. A message is still sent when the incident resolves.

    A repeated call changes the note.
    """
    note = None if body is None else body.note
    return public_incident(await use_cases.acknowledge_incident(context, incident_id, note=note))


@router.post("/incidents/{incident_id}/mute", Scope.DESTINATIONS_WRITE, summary="Mute an incident")
async def mute(context: Context, incident_id: str, body: Mute) -> PublicIncident:
    """Send no message about an incident until the given time. `{"until": null}` ends the mute."""
    return public_incident(await use_cases.mute_incident(context, incident_id, until=body.until))


class ChannelPage(Page[ChannelStatus]):
    """The notification channels of the organisation."""


@router.get("/notification-channels", Scope.DESTINATIONS_READ, summary="List notification channels")
async def list_channels(context: Context, paging: Paging) -> ChannelPage:
    """List the channels that the operator configured, with the results of their deliveries."""
    return paging.part(ChannelPage, await use_cases.list_channels(context))


@router.get(ONE + "/notifications", Scope.DESTINATIONS_READ, summary="Read notification settings")
async def read_notifications(on: OnDestination) -> NotificationPreference:
    """Return the notification settings of a destination."""
    found = await use_cases.read_alerting(*on)
    return NotificationPreference.of(found.preference)


@router.put(ONE + "/notifications", Scope.DESTINATIONS_WRITE, summary="Change notification settings")
async def set_notifications(on: OnDestination, body: NotificationPreference) -> NotificationPreference:
    """Set the kinds of incident that cause messages, and the channels that receive them."""
    return NotificationPreference.of(await use_cases.set_preference(*on, body.preference()))
