"""Notification pages: the channels, and for each destination its messages, thresholds, maintenance window and
callbacks.
"""

from datetime import timedelta

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from app.admin import incidents as use_cases
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations.settings import change_destination
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.refusals import ErrorCode, Refusal
from app.admin.status_callback import read_status_callback, switch_status_callback
from app.api.access.secured_route import requires
from app.console import confirmations, form_view, pages
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
)
from app.console.destinations.page import PAGE, content_of
from app.console.destinations.threshold_view import alerting_of_form, threshold_rows
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.notifications.policy import Preference
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE = PAGE + "/notifications"
MAINTENANCE_HOURS = (1, 2, 4, 8, 24, 72)
SEVERITIES = {"info": "Info and up", "warning": "Warning and up", "critical": "Critical only"}
_KINDS = [(kind.value, spec.title) for kind, spec in KINDS.items()]


@router.get("/console/notifications", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def channels_page(visit: CurrentVisit) -> Response:
    """Show the channels and the results of their deliveries."""
    channels = await use_cases.list_channels(visit.context, visit.caller)
    return pages.show(visit.request, "notifications.html", channels=channels)


@router.get(_PAGE, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show the channels, thresholds and status callbacks of a destination."""
    return await _show(
        visit,
        found,
    )


@router.post(_PAGE, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def save(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Set the channels, kinds and minimum severity of a destination's messages."""
    kinds, severity = form.getlist("kind"), form_text(form, "min_severity")
    if severity not in SEVERITIES or not set(map(str, kinds)) <= {kind for kind, _ in _KINDS}:
        raise Refusal(ErrorCode.INVALID, "Choose the kinds and the severity from the lists.")
    preference = Preference(
        None if form_text(form, "all_channels") else frozenset(map(str, form.getlist("channel"))),
        None if form_text(form, "all_kinds") else frozenset(Kind(str(kind)) for kind in kinds),
        Severity(severity),
    )
    await use_cases.set_preference(visit.context, visit.caller, destination_id, preference)
    return _back(visit.context, destination_id, "notifications_saved")


@router.post(_PAGE + "/thresholds", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def save_thresholds(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Set when incidents of a destination open. An empty field restores the default."""
    typed = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        body = DestinationUpdate.model_validate({"alerting": alerting_of_form(typed)})
    except ValidationError as error:
        problems, _ = form_view.problems_of(error)
        return await _show(visit, found, problem=" ".join(problems.values()), typed=typed)
    await change_destination(visit.context, visit.caller, found.id, body, None)
    return _back(visit.context, found.id, "thresholds_saved")


@router.post(_PAGE + "/maintenance", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def maintain(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Send no messages about incidents of the destination for some hours. 0 ends this period."""
    hours = form_text(form, "hours")
    if hours not in {str(number) for number in (0, *MAINTENANCE_HOURS)}:
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed durations.")
    until = (visit.context.now() + timedelta(hours=int(hours))).isoformat() if int(hours) else None
    body = DestinationUpdate.model_validate({"alerting": {"muted_until": until}})
    await change_destination(visit.context, visit.caller, destination_id, body, None)
    if until is None:
        return _back(visit.context, destination_id, "maintenance_ended")
    return _back(visit.context, destination_id, "maintenance_started", int(hours))


@router.post(_PAGE + "/callback", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def switch_callback(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Switch status callbacks on or off."""
    enabled = form_text(form, "enabled") == "yes"
    await switch_status_callback(visit.context, visit.caller, destination_id, enabled=enabled)
    return _back(visit.context, destination_id, "callback_on" if enabled else "callback_off")


def _back(context: AppContext, destination_id: str, done: str, number: int | None = None) -> Response:
    address = f"/console/destinations/{destination_id}/notifications"
    return confirmations.redirect(context, address, done, number)


async def _show(
    visit: Visit, found: Destination, *, problem: str | None = None, typed: dict[str, str] | None = None
) -> Response:
    alerting = await use_cases.read_alerting(visit.context, visit.caller, found.id)
    preference = await use_cases.read_preference(visit.context, visit.caller, found.id)
    muted_until = alerting.muted_until
    return pages.show(
        visit.request,
        "destination_notifications.html",
        status=200 if problem is None else 422,
        **content_of(visit, found, "settings"),
        channels=await use_cases.list_channels(visit.context, visit.caller),
        preference=preference,
        kinds=_KINDS,
        severities=SEVERITIES,
        rows=threshold_rows(alerting, typed),
        problem=problem,
        muted_until=muted_until if muted_until and muted_until > visit.context.now() else None,
        hours=MAINTENANCE_HOURS,
        callback=await read_status_callback(visit.context, visit.caller, found.id),
    )
