"""View of the operations home: conditions, open incidents, and a row for each destination. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from app.console.destinations.sparkline import condensed, line
from app.console.incidents.view import TONES, consequences_sentence
from app.console.time_range import TimeRange
from app.console.wording import REGIONS, STATES, Label, age, events, number, state_key
from app.domain.ids import DestinationNumber
from app.domain.incidents.causes import ACCESS, OPERATOR, advice
from app.domain.incidents.destination_condition import Condition
from app.domain.incidents.kinds import KINDS, Kind, Remedy, Severity
from app.store.destinations.health import ListedDestination, Sort
from app.store.destinations.outcome_history import OutcomeBucket
from app.store.incidents import OpenIncident

# For each condition: its label for one destination, its label for several, and its tone. The page uses this
# order.
_CONDITIONS: Final[Mapping[Condition, tuple[str, str, str]]] = {
    Condition.NEEDS_ATTENTION: ("needs attention", "need attention", "bad"),
    Condition.STALLED: ("stalled", "stalled", "bad"),
    Condition.RECOVERING: ("recovering", "recovering", "warn"),
    Condition.PAUSED: ("paused", "paused", "warn"),
    Condition.HEALTHY: ("healthy", "healthy", "good"),
    Condition.IDLE: ("idle", "idle", "quiet"),
    Condition.SETUP: ("in setup", "in setup", "quiet"),
    Condition.DELETED: ("deleted", "deleted", "quiet"),
}
FILTERS: Final[Mapping[str, str]] = {
    condition.value: several.capitalize() for condition, (_, several, _) in _CONDITIONS.items()
}
# Shown even if no destination is in this condition.
_ALWAYS: Final = frozenset({Condition.NEEDS_ATTENTION, Condition.RECOVERING, Condition.HEALTHY})


@dataclass(frozen=True, slots=True)
class StripItem:
    """How many destinations are in a condition, and the link that lists them."""

    count: str
    label: str
    tone: str
    href: str
    is_current: bool


def strip(
    conditions: Mapping[Condition, int], parameters: Mapping[str, str], chosen: Condition | None
) -> list[StripItem]:
    """Return the conditions with their counts. Deleted destinations have no condition in the list."""
    return [
        StripItem(
            number(conditions[condition]),
            one if conditions[condition] == 1 else several,
            tone if conditions[condition] else "quiet",
            address(parameters, health=None if condition is chosen else condition.value),
            condition is chosen,
        )
        for condition, (one, several, tone) in _CONDITIONS.items()
        if condition is not Condition.DELETED and (conditions[condition] or condition in _ALWAYS)
    ]


def address(parameters: Mapping[str, str], **changes: str | None) -> str:
    """Return the address of the home page with some parameters changed.

    The result starts on the first page.
    """
    kept = {name: value for name, value in {**parameters, "page": None, **changes}.items() if value}
    return f"/console?{urlencode(kept)}" if kept else "/console"


@dataclass(frozen=True, slots=True)
class RemedyButton:
    """The button next to an incident: a form that is posted, or a link."""

    label: str
    address: str
    is_post: bool = False


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One open incident."""

    id: str
    title: str
    tag: Label
    summary: str
    remedy: str
    since: datetime
    affected: str | None
    destination_id: str | None
    destination_name: str | None
    button: RemedyButton | None
    note: str | None
    may_acknowledge: bool


def incident_rows(found: Sequence[OpenIncident], *, may_write: bool) -> list[IncidentRow]:
    """Return the open incidents, for a visitor who may or may not change destinations."""
    return [_incident_row(each, may_write=may_write) for each in found]


def _incident_row(each: OpenIncident, *, may_write: bool) -> IncidentRow:
    stored, incident = each.stored, each.stored.incident
    note = None if each.holds else "Recovering: the problem is no longer observed. Resolves automatically."
    if incident.acknowledged_at is not None:
        note = f"Acknowledged. {note or ''}".strip()
    return IncidentRow(
        id=stored.id,
        title=KINDS[incident.kind].title,
        tag=Label(incident.severity.value.capitalize(), TONES[incident.severity.value], "Severity"),
        summary=incident.summary + consequences_sentence(incident.consequences),
        remedy=advice(incident.kind, incident.reason)[0] if each.holds else "",
        since=incident.opened_at,
        affected=events(incident.affected_events) if incident.affected_events else None,
        destination_id=incident.destination,
        destination_name=stored.destination_name,
        button=remedy_button(each, may_write=may_write) if each.holds else None,
        note=note,
        may_acknowledge=may_write and incident.acknowledged_at is None,
    )


_OF_SERVICE: Final[Mapping[Kind, RemedyButton]] = {
    Kind.NO_WORKER: RemedyButton("Check workers", "/console/system"),
    Kind.DATABASE_SLOW: RemedyButton("Check database", "/console/system"),
    Kind.NOTIFICATIONS_FAILING: RemedyButton("Check channels", "/console/notifications"),
}


def remedy_button(each: OpenIncident, *, may_write: bool) -> RemedyButton | None:
    """Return the button for the action of an incident, or None if the visitor may not use it."""
    incident = each.stored.incident
    if incident.destination is None:
        return None if incident.reason == OPERATOR else _OF_SERVICE.get(incident.kind)
    page = f"/console/destinations/{incident.destination}"
    reconnect = RemedyButton("Reconnect", f"{page}/connect", is_post=True)
    if incident.kind is Kind.REJECTIONS:
        return RemedyButton("View rejections", f"{page}/rejections?range=1h")
    action = advice(incident.kind, incident.reason)[1]
    button = None
    if action is Remedy.REPLAY:
        button = RemedyButton("View errors", f"{page}/errors")
    elif may_write and incident.kind in (Kind.BACKLOG, Kind.EXPIRING):
        button = _resume(each, page, reconnect)
    elif may_write and action is Remedy.OPEN_SETTINGS:
        button = RemedyButton("Check region and ID", f"{page}/settings")
    elif may_write and incident.kind in ACCESS:
        button = reconnect
    elif may_write and action is Remedy.RAISE_LIMIT:
        button = RemedyButton("Raise limit", f"{page}/settings")
    return button or RemedyButton("Open destination", page)


def _resume(each: OpenIncident, page: str, reconnect: RemedyButton) -> RemedyButton | None:
    """Return the button that makes waiting events continue; None if only the service's operator can do so."""
    state = each.destination_state
    if each.suspended and state == "paused":
        return None
    if state == "paused":
        return RemedyButton("Resume", f"{page}/resume", is_post=True)
    if state == "needs_reconnect":
        return reconnect
    return RemedyButton("Raise limit", f"{page}/settings")


@dataclass(frozen=True, slots=True)
class HomeRow:
    """One row of the table, with the figures of the chosen time range."""

    id: str
    name: str
    advertiser_id: str
    region: str
    health: Label
    waiting: str
    waiting_tone: str
    delivered: str
    failed: str
    failed_tone: str
    rejected: str | None
    delivered_line: str
    failed_line: str | None
    line_label: str


_WAITS_LONG_S: Final = 900  # the threshold of the incident kind `backlog`


def destination_rows(
    items: Sequence[ListedDestination],
    history: Mapping[DestinationNumber, Sequence[OutcomeBucket]],
    chosen: TimeRange,
) -> list[HomeRow]:
    """Return the rows of a page."""
    starts = {start: index for index, start in enumerate(chosen.bucket_starts())}
    return [_destination_row(item, history.get(item.number, ()), starts, chosen) for item in items]


def _destination_row(
    item: ListedDestination,
    history: Sequence[OutcomeBucket],
    starts: Mapping[datetime, int],
    chosen: TimeRange,
) -> HomeRow:
    delivered, failed = [0] * len(starts), [0] * len(starts)
    for bucket in history:
        if (index := starts.get(bucket.at)) is not None:
            delivered[index] += bucket.delivered
            failed[index] += bucket.failed
    rejected = sum(bucket.rejected for bucket in history)
    waits = item.oldest_waiting_seconds or 0
    figures = f"{number(sum(delivered))} delivered, {number(sum(failed))} failed"
    return HomeRow(
        id=item.id,
        name=item.name,
        advertiser_id=item.advertiser_id,
        region=REGIONS[item.region],
        health=health_label(item),
        waiting=age(waits) if waits >= 1 else "–",
        waiting_tone="warn" if waits > _WAITS_LONG_S else "",
        delivered=number(sum(delivered)),
        failed=number(sum(failed)),
        failed_tone="bad" if sum(failed) else "quiet",
        rejected=number(rejected) if rejected else None,
        delivered_line=line(condensed(delivered)),
        failed_line=line(condensed(failed)) if any(failed) else None,
        line_label=f"{chosen.label}: {figures}",
    )


def health_label(item: ListedDestination) -> Label:
    """Return the health of a destination as a pill."""
    plural = "" if item.open_incidents == 1 else "s"
    incidents = f"{item.open_incidents} open incident{plural}."
    match item.condition:
        case Condition.NEEDS_ATTENTION:
            if item.state == "needs_reconnect":
                return _state_label(item)
            if item.severity is Severity.CRITICAL:
                return Label("Failing", "bad", incidents)
            return Label("Degraded", "warn", incidents)
        case Condition.RECOVERING:
            return Label(
                "Recovering",
                "warn",
                "The problem is no longer observed; the incident resolves automatically.",
            )
        case Condition.STALLED:
            return Label(
                "Stalled",
                "bad",
                "Events wait, but none was delivered for 20 seconds. Requests may fail or get no response.",
            )
        case Condition.HEALTHY:
            return Label("Healthy", "good", "No open incident; events arrived within 24 hours.")
        case Condition.IDLE:
            return Label("Idle", "quiet", "No event within 24 hours.")
        case _:
            return _state_label(item)


def _state_label(item: ListedDestination) -> Label:
    key = state_key(item.state, is_suspended=item.suspended, sign_in_reason=item.sign_in_reason)
    return STATES[key]


@dataclass(frozen=True, slots=True)
class Column:
    """A column heading; `sort` is None if the table cannot be sorted by it."""

    label: str
    sort: Sort | None
    css: str = ""
    title: str = ""


COLUMNS: Final = (
    Column("Destination", Sort.NAME),
    Column("Health", Sort.TROUBLE),
    Column("Oldest waiting", Sort.BACKLOG, "n", "The longest wait of an event in the last minute"),
    Column("Delivered", Sort.DELIVERED, "n"),
    Column("Failed", Sort.FAILED, "n", "Events that failed permanently or expired"),
    Column("Trend", None, "trend", "Delivered events, and failed events in red on a separate scale"),
)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of the table: a sentence, and links to the neighbours."""

    text: str
    previous: str | None
    next: str | None


def pages(page: int, size: int, matching: int, parameters: Mapping[str, str]) -> Pages | None:
    """Return the links between pages, or None if there is one page only."""
    last = max(1, -(-matching // size))
    if last == 1 and page == 1:
        return None
    first_row = (page - 1) * size + 1
    text = f"{number(first_row)} to {number(min(matching, page * size))} of {number(matching)}"
    return Pages(
        text if first_row <= matching else f"{number(matching)} in all",
        address(parameters, page=str(min(page - 1, last))) if page > 1 else None,
        address(parameters, page=str(page + 1)) if page < last else None,
    )
