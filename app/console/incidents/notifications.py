"""Notification pages: the channels, and for each destination its messages, thresholds, maintenance window and
callbacks.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin import incidents as use_cases
from app.admin.destinations import read_status_callback, switch_status_callback
from app.admin.destinations.settings import DestinationUpdate, change_destination
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, CurrentVisit, Form, PageRouter
from app.domain.incidents import thresholds
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.incidents.thresholds import DEFAULTS, RANGES
from app.domain.notifications import Preference

router = PageRouter()

_PAGE = PAGE + "/notifications"
MAINTENANCE_HOURS = (1, 2, 4, 8, 24, 72)
SEVERITIES = {"info": "Info and up", "warning": "Warning and up", "critical": "Critical only"}
# Label and unit of each member.
_MEMBERS: Final[Mapping[str, tuple[str, str]]] = {
    "share": ("Share", "%"),
    "min_requests": ("At least", "requests"),
    "min_events": ("At least", "events"),
    "window_seconds": ("Within", "s"),
    "breaker_seconds": ("Or circuit breaker open for", "s"),
    "minutes": ("Longer than", "min"),
    "hours": ("Less than", "h left"),
}


@router.get("/console/notifications", Scope.DESTINATIONS_READ)
async def channels_page(visit: CurrentVisit) -> Response:
    """Show the channels and the results of their deliveries."""
    channels = await use_cases.list_channels(visit.context)
    return await visit.show("notifications.html", channels=channels)


@router.get(_PAGE, Scope.DESTINATIONS_READ)
async def page(visit: CurrentDestination) -> Response:
    """Show the channels, thresholds and status callbacks of a destination."""
    stored = await use_cases.read_alerting(*visit.on)
    alerting, preference = thresholds.read(stored.alerting), stored.preference
    muted_until = alerting.muted_until
    return await visit.show(
        "destination_notifications.html",
        channels=await use_cases.list_channels(visit.context),
        preference=preference,
        kinds=KINDS,
        severities=SEVERITIES,
        alerting=alerting,
        defaults=DEFAULTS,
        ranges=RANGES,
        members=_MEMBERS,
        muted_until=muted_until if muted_until and muted_until > visit.context.now() else None,
        hours=MAINTENANCE_HOURS,
        callback=await read_status_callback(*visit.on),
    )


@router.post(_PAGE, Scope.DESTINATIONS_WRITE)
async def save(visit: CurrentDestination, form: Form) -> Response:
    """Set the channels, kinds and minimum severity of a destination's messages."""
    kinds, severity = form.getlist("kind"), form.text("min_severity")
    if severity not in SEVERITIES or not set(kinds) <= set(Kind):
        raise Refusal(ErrorCode.INVALID, "Choose the kinds and the severity from the lists.")
    preference = Preference(
        None if form.text("all_channels") else frozenset(form.getlist("channel")),
        None if form.text("all_kinds") else frozenset(map(Kind, kinds)),
        Severity(severity),
    )
    await use_cases.set_preference(*visit.on, preference)
    return visit.done("notifications_saved", _PAGE)


@router.post(_PAGE + "/thresholds", Scope.DESTINATIONS_WRITE)
async def save_thresholds(visit: CurrentDestination, form: Form) -> Response:
    """Set when incidents of a destination open. An empty field restores the default."""
    try:
        body = DestinationUpdate.model_validate({"alerting": alerting_of_form(form)})
        await change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await page(visit.refused(error))
    return visit.done("thresholds_saved", _PAGE)


@router.post(_PAGE + "/maintenance", Scope.DESTINATIONS_WRITE)
async def maintain(visit: CurrentDestination, form: Form) -> Response:
    """Send no messages about incidents of the destination for some hours. 0 ends this period."""
    hours = form.hours(MAINTENANCE_HOURS)
    until = (visit.context.now() + timedelta(hours=hours)).isoformat() if hours else None
    body = DestinationUpdate.model_validate({"alerting": {"muted_until": until}})
    await change_destination(*visit.on, body, None)
    return visit.done("maintenance_started" if hours else "maintenance_ended", _PAGE, hours)


@router.post(_PAGE + "/callback", Scope.DESTINATIONS_WRITE)
async def switch_callback(visit: CurrentDestination, form: Form) -> Response:
    """Switch status callbacks on or off."""
    enabled = form.text("enabled") == "yes"
    await switch_status_callback(*visit.on, enabled=enabled)
    return visit.done("callback_on" if enabled else "callback_off", _PAGE)


def alerting_of_form(form: Form) -> dict[str, dict[str, float | str | None]]:
    """Return the typed thresholds as the API's `alerting`. A number that equals its default becomes null."""
    body: dict[str, dict[str, float | str | None]] = {}
    for kind, default in DEFAULTS.items():
        members: dict[str, float | str | None] = {
            "enabled": None if f"{kind.value}.enabled" in form else False
        }
        for name, usual in default.members.items():
            if name == "enabled":
                continue
            given = form.number(f"{kind.value}.{name}")
            if name == "share" and isinstance(given, float | int):
                given = round(given / 100, 15)
            members[name] = None if given == usual else given
        body[kind.value] = members
    return body
