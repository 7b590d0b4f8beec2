"""Incident pages: the list, and one incident with its cause, its remedy, and the buttons for it.

Also notification pages: the channels, and for each destination its messages, thresholds, maintenance window
and callbacks.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin import incidents as use_cases
from app.admin.destinations import read_status_callback, switch_status_callback
from app.admin.destinations.settings import DestinationUpdate, change_destination
from app.api.lists import PAGE_SIZE
from app.console.destinations.chart_view import charts
from app.console.time_range import range_since
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, CurrentVisit, Form, PageRouter, Paging
from app.console.wording import Label, age, amazon_message, person
from app.domain.incidents import thresholds
from app.domain.incidents.kinds import ACCESS, KINDS, OPERATOR, Kind, Remedy, Severity, advice
from app.domain.incidents.machine import Incident, IncidentState
from app.domain.notifications import Preference, SentMessages
from app.store.destinations.figures import RequestRow
from app.store.incidents import IncidentFilter, StoredIncident

router = PageRouter()

_PAGE = "/console/incidents"


@router.get(_PAGE, Scope.DESTINATIONS_READ)
async def list_page(
    visit: CurrentVisit,
    paging: Paging,
    state: Annotated[str, Query(max_length=20)] = "",
    destination: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """List the incidents of all destinations or of one, newest first."""
    chosen = IncidentState(state) if state in set(IncidentState) else None
    wanted = IncidentFilter(chosen, destination or None)
    found = await use_cases.list_incidents(visit.context, wanted, limit=paging.most, below=paging.record_id)
    return await visit.show(
        "incidents.html",
        **paging.listed(found, lambda row: (row.number,)),
        now=visit.context.now(),
        present=present,
        state=state,
        destination=destination,
        name=(await visit.names([destination])).get(destination, destination),
        states=STATES,
    )


@router.get(_PAGE + "/{incident_id}", Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, incident_id: str) -> Response:
    """Show an incident."""
    found = await use_cases.find_incident(visit.context, incident_id)
    by, now = found.acknowledged_by, visit.context.now()
    chosen = range_since(found.incident.opened_at, now)
    history = await use_cases.read_incident_history(
        visit.context, found, since=chosen.since, bucket=chosen.name.bucket
    )
    return await visit.show(
        "incident.html",
        view=present(found, now, visit.caller.scopes, suspended=history.suspended),
        timeline=timeline(found, history.messages, by and person(by, await visit.names([by]))),
        last_answer=last_answer(history.requests, found.incident),
        charts=charts(history.outcomes, (), chosen),
        states=STATES,
        muted_until=found.muted_until if found.muted_until and found.muted_until > now else None,
        hours=MUTE_HOURS,
    )


@router.post(_PAGE + "/acknowledge", Scope.DESTINATIONS_WRITE)
async def acknowledge_chosen(visit: CurrentVisit, form: Form) -> Response:
    """Acknowledge the chosen incidents of the list, or one of the home page."""
    if not (chosen := form.getlist("incident")[:PAGE_SIZE]):
        raise Refusal(ErrorCode.INVALID, "Choose at least one incident.")
    for incident_id in chosen:
        await use_cases.acknowledge_incident(visit.context, incident_id, note=None)
    return visit.done("acknowledged", "/console" if form.text("home") else _PAGE)


@router.post(_PAGE + "/{incident_id}/acknowledge", Scope.DESTINATIONS_WRITE)
async def acknowledge(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Acknowledge an incident, with an optional note."""
    try:
        await use_cases.acknowledge_incident(visit.context, incident_id, note=form.text("note"))
    except Refusal as refusal:
        return await page(visit.refused(refusal), incident_id)
    return visit.done("acknowledged", _PAGE + "/{incident_id}")


@router.post(_PAGE + "/{incident_id}/mute", Scope.DESTINATIONS_WRITE)
async def mute(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Mute an incident for some hours; 0 ends the mute."""
    hours = form.hours(MUTE_HOURS)
    until = visit.context.now() + timedelta(hours=hours) if hours else None
    await use_cases.mute_incident(visit.context, incident_id, until=until)
    return visit.done("incident_muted" if hours else "incident_unmuted", _PAGE + "/{incident_id}", hours)


MUTE_HOURS: Final = (1, 8, 24, 168)
STATES: Final[Mapping[str, str]] = {"open": "Open", "acknowledged": "Acknowledged", "resolved": "Resolved"}

TONES: Final[Mapping[str, str]] = {"critical": "bad", "warning": "warn", "info": "quiet"}


@dataclass(frozen=True, slots=True)
class RemedyButton:
    """The button next to an incident: a form that is posted, or a link."""

    label: str
    address: str
    is_post: bool = False


_OF_SERVICE: Final[Mapping[Kind, RemedyButton]] = {
    Kind.NO_WORKER: RemedyButton("Check workers", "/console/system"),
    Kind.DATABASE_SLOW: RemedyButton("Check database", "/console/system"),
    Kind.NOTIFICATIONS_FAILING: RemedyButton("Check channels", "/console/notifications"),
}
# The label of the button for each action, and its address below the page of the destination.
_LINKS: Final[Mapping[Remedy, tuple[str, str]]] = {
    Remedy.REPLAY: ("View errors", "/errors"),
    Remedy.OPEN_MAPPING: ("Open mappings", "/mappings"),
}
_CHANGES: Final[Mapping[Remedy, tuple[str, str]]] = {
    Remedy.RECONNECT: ("Reconnect", "/connect"),
    Remedy.RESUME: ("Resume", "/resume"),
    Remedy.OPEN_SETTINGS: ("Check region and ID", "/settings"),
    Remedy.RAISE_LIMIT: ("Raise limit", "/settings"),
}


def remedy_button(
    incident: Incident, scopes: Container[str], *, suspended: bool | None = False
) -> RemedyButton | None:
    """Return the button for the action of an incident. A visitor whose scopes do not allow it gets a link.

    `suspended` says that only the operator of the service can resume the destination.
    """
    if incident.destination is None:
        return None if incident.reason == OPERATOR else _OF_SERVICE.get(incident.kind)
    page = f"/console/destinations/{incident.destination}"
    if incident.kind is Kind.REJECTIONS:
        return RemedyButton("View rejections", f"{page}/rejections?range=1h")
    if incident.kind is Kind.THROTTLED:  # by Amazon's limit: a higher one of the destination changes nothing
        return RemedyButton("View requests", f"{page}/requests?failed=true")
    if incident.kind is Kind.DEAD_LETTERS and Scope.REPLAY in scopes:
        return RemedyButton("Replay or dismiss…", f"{page}/replay?status=dead&dismissed=false")
    action = advice(incident.kind, incident.reason)[1]
    if incident.kind in ACCESS and action is Remedy.OPEN_AMAZON:
        action = Remedy.RECONNECT  # after the person has access at Amazon
    offered = Scope.DESTINATIONS_WRITE in scopes and not (suspended and action is Remedy.RESUME)
    label, path = {**_LINKS, **(_CHANGES if offered else {})}.get(action, ("Open destination", ""))
    return RemedyButton(label, page + path, action in (Remedy.RECONNECT, Remedy.RESUME) and offered)


# The list of the events that each kind of incident affects.
_EVENTS: Final[Mapping[Kind, str]] = {
    Kind.SIGN_IN_LOST: "/events?status=parked",
    Kind.AMAZON_FORBIDDEN: "/events?status=parked",
    Kind.FAILING: "/events?status=retrying",
    Kind.THROTTLED: "/events?status=queued",
    Kind.BACKLOG: "/events?status=queued",
    Kind.DEAD_LETTERS: "/events?status=dead&dismissed=false",
    Kind.REJECTIONS: "/rejections?range=24h",
}


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident as the pages show it. `note` says why nothing is left to do."""

    stored: StoredIncident
    tag: Label
    remedy: str
    consequences: str
    duration: str
    button: RemedyButton | None
    events_link: str | None
    note: str

    @property
    def title(self) -> str:
        return KINDS[self.stored.incident.kind].title


def present(
    stored: StoredIncident,
    now: datetime,
    scopes: Container[str],
    *,
    suspended: bool | None = False,
    holds: bool = True,
) -> IncidentDetails:
    """Return the view of an incident for a visitor. `holds` says whether its condition still lasts."""
    incident = stored.incident
    lasts = incident.is_open and holds
    path = incident.destination and _EVENTS.get(incident.kind)
    notes = ["Acknowledged."] if incident.acknowledged_at is not None else []
    notes += [] if holds else ["Recovering: the problem is no longer observed. Resolves automatically."]
    button = remedy_button(incident, scopes, suspended=suspended)
    explained = ", ".join(KINDS[kind].title.lower() for kind in incident.consequences)
    return IncidentDetails(
        stored,
        Label(incident.severity.capitalize(), TONES[incident.severity], "Severity"),
        remedy=advice(incident.kind, incident.reason)[0] if lasts else "",
        consequences=f" Consequences: {explained}." if explained else "",
        duration=age(((incident.resolved_at or now) - incident.opened_at).total_seconds()),
        button=button if lasts else None,
        events_link=path and f"/console/destinations/{incident.destination}{path}",
        note=" ".join(notes),
    )


def timeline(
    stored: StoredIncident, messages: Mapping[str, SentMessages], acknowledged_by: str | None
) -> list[tuple[datetime, str]]:
    """Return what happened to an incident and when, oldest first."""
    incident = stored.incident
    found = [
        (incident.opened_at, f"Opened: {incident.severity}."),
        (incident.acknowledged_at, f"Acknowledged by {acknowledged_by or 'an unknown person'}."),
        (incident.resolved_at, "Resolved."),
    ]
    for channel, sent in messages.items():
        found += [
            (sent.opened_at, f"Message to {channel}: opened."),
            (sent.reminded_at, f"Last reminder to {channel}."),
            (sent.resolved_at, f"Message to {channel}: resolved."),
        ]
    entries = [(at, sentence) for at, sentence in found if at is not None]
    return sorted(entries, key=lambda entry: entry[0])


def last_answer(requests: Sequence[RequestRow], incident: Incident) -> tuple[datetime, str] | None:
    """Return the time and the words of Amazon's newest answer that was no success.

    Answers long before the incident or after its end are not of its cause.
    """
    since, until = incident.opened_at - timedelta(minutes=15), incident.resolved_at
    for each in requests:
        is_of_incident = each.started_at >= since and (until is None or each.started_at <= until)
        if is_of_incident and (each.outcome != "answered" or each.message):
            status = f"HTTP {each.http_status}" if each.http_status else each.outcome.replace("_", " ")
            message = amazon_message(each.message)
            return each.started_at, f"{status}: {message}" if message else status
    return None


_NOTIFICATIONS = PAGE + "/notifications"
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
    return await visit.show("notifications.html", channels=await use_cases.list_channels(visit.context))


@router.get(_NOTIFICATIONS, Scope.DESTINATIONS_READ)
async def notifications_page(visit: CurrentDestination) -> Response:
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
        defaults=thresholds.DEFAULTS,
        ranges=thresholds.RANGES,
        members=_MEMBERS,
        muted_until=muted_until if muted_until and muted_until > visit.context.now() else None,
        hours=MAINTENANCE_HOURS,
        callback=await read_status_callback(*visit.on),
    )


@router.post(_NOTIFICATIONS, Scope.DESTINATIONS_WRITE)
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
    return visit.done("notifications_saved", _NOTIFICATIONS)


@router.post(_NOTIFICATIONS + "/thresholds", Scope.DESTINATIONS_WRITE)
async def save_thresholds(visit: CurrentDestination, form: Form) -> Response:
    """Set when incidents of a destination open. An empty field restores the default."""
    try:
        body = DestinationUpdate.model_validate({"alerting": alerting_of_form(form)})
        await change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await notifications_page(visit.refused(error))
    return visit.done("thresholds_saved", _NOTIFICATIONS)


@router.post(_NOTIFICATIONS + "/maintenance", Scope.DESTINATIONS_WRITE)
async def maintain(visit: CurrentDestination, form: Form) -> Response:
    """Send no messages about incidents of the destination for some hours. 0 ends this period."""
    hours = form.hours(MAINTENANCE_HOURS)
    until = (visit.context.now() + timedelta(hours=hours)).isoformat() if hours else None
    body = DestinationUpdate.model_validate({"alerting": {"muted_until": until}})
    await change_destination(*visit.on, body, None)
    return visit.done("maintenance_started" if hours else "maintenance_ended", _NOTIFICATIONS, hours)


@router.post(_NOTIFICATIONS + "/callback", Scope.DESTINATIONS_WRITE)
async def switch_callback(visit: CurrentDestination, form: Form) -> Response:
    """Switch status callbacks on or off."""
    enabled = form.text("enabled") == "yes"
    await switch_status_callback(*visit.on, enabled=enabled)
    return visit.done("callback_on" if enabled else "callback_off", _NOTIFICATIONS)


_Members = dict[str, float | str | None]


def alerting_of_form(form: Form) -> dict[str, _Members]:
    """Return the typed thresholds as the API's `alerting`. A number that equals its default becomes null."""
    body: dict[str, _Members] = {}
    for kind, default in thresholds.DEFAULTS.items():
        members: _Members = {"enabled": None if f"{kind.value}.enabled" in form else False}
        for name, usual in default.members.items():
            if name == "enabled":
                continue
            given = form.number(f"{kind.value}.{name}")
            if name == "share" and isinstance(given, float | int):
                given = round(given / 100, 15)
            members[name] = None if given == usual else given
        body[kind.value] = members
    return body
