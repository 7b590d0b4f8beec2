"""The states of an incident. `advance` changes the state, and its caller stores the incident.

An incident resolves only after a quiet time, and reopens within some minutes. So a problem that comes and
goes is one incident.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.domain.incidents.conditions import Explained, Finding
from app.domain.incidents.kinds import KINDS, Kind, Severity

QUIET: Final = timedelta(seconds=30)
REOPEN_WITHIN: Final = timedelta(minutes=10)


class IncidentState(StrEnum):
    """The state of an incident.

    ::

                    the condition holds                  acknowledge
        (none) ────────────────────────────▶  open  ───────────────────▶  acknowledged
                                             ▲    │                             │
              the condition holds again      │    │  quiet for 30 s and, for    │
              within 10 minutes: the same id │    │  delivery kinds, a request  │
                                             │    ▼  succeeded                  │
                                            resolved  ◀─────────────────────────┘

    If the incident was acknowledged before it resolved, it reopens as `acknowledged`. After more than 10
    minutes, the same condition opens a new incident. An incident that another one explains is merged into it:
    it resolves immediately.
    """

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Transition(StrEnum):
    """How `advance` changed an incident."""

    OPENED = "opened"
    REOPENED = "reopened"
    UPDATED = "updated"
    RESOLVED = "resolved"
    MERGED = "merged"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Finding):
    """The last finding of a problem of a destination, or of the service if `destination` is None.

    `consequences` are the kinds of problem that this incident explains. `merged_into` is the id of the
    incident that explains this one.
    """

    destination: str | None
    severity: Severity
    state: IncidentState
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = None
    acknowledged_at: datetime | None = None
    is_silent: bool = False  # it sends no message, because a problem of the service explains it
    consequences: tuple[Kind, ...] = ()
    merged_into: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the incident is open or acknowledged."""
        return self.state is not IncidentState.RESOLVED


def open_incident(finding: Finding, destination: str | None, now: datetime, *, silent: bool) -> Incident:
    return Incident(
        **asdict(finding),
        destination=destination,
        severity=KINDS[finding.kind].severity,
        state=IncidentState.OPEN,
        opened_at=now,
        last_seen_at=now,
        is_silent=silent,
    )


def advance(
    incident: Incident,
    finding: Finding | None,
    now: datetime,
    *,
    success_at: datetime | None = None,
    silent: bool = False,
    released: bool = False,
) -> tuple[Incident | None, Transition]:
    """Return the incident after a check, and the change. `finding` is the problem found, or None.

    `success_at` is the time of the destination's last successful request. `released` means that the kind was
    disabled or the destination deleted: the incident resolves immediately. Return None and OPENED if a
    resolved incident is too old to reopen: the caller must then open a new incident.
    """
    if finding is not None and not released:
        updated = replace(incident, **asdict(finding), last_seen_at=now)
        if incident.is_open:
            return updated, Transition.UPDATED
        assert incident.resolved_at is not None
        if now - incident.resolved_at > REOPEN_WITHIN:
            return None, Transition.OPENED
        state = IncidentState.OPEN if incident.acknowledged_at is None else IncidentState.ACKNOWLEDGED
        severity = KINDS[incident.kind].severity
        reopened = replace(updated, state=state, severity=severity, is_silent=silent)
        return replace(reopened, resolved_at=None, merged_into=None), Transition.REOPENED
    if not incident.is_open:
        return incident, Transition.UNCHANGED
    if not released and now - incident.last_seen_at < QUIET:
        return incident, Transition.UNCHANGED
    needs_success = KINDS[incident.kind].needs_success and not released
    if needs_success and (success_at is None or success_at < incident.last_seen_at):
        return incident, Transition.UNCHANGED
    return replace(incident, state=IncidentState.RESOLVED, resolved_at=now), Transition.RESOLVED


def with_consequences(incident: Incident, explained: Explained) -> Incident:
    """Return an open incident with what it explains. Its severity rises, but does not fall."""
    severity = max(incident.severity, explained.severity, key=lambda each: each.rank)
    return replace(incident, severity=severity, consequences=explained.consequences)


def merged(incident: Incident, into: str, now: datetime) -> Incident:
    """Return an open incident after it was resolved into the incident with the id `into`."""
    return replace(incident, state=IncidentState.RESOLVED, resolved_at=now, merged_into=into, consequences=())
