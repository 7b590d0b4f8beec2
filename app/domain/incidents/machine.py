"""The states of an incident, with hysteresis. Pure: the caller stores what `advance` returns."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.domain.incidents.conditions import Finding
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

    An incident that was acknowledged before it resolved reopens as `acknowledged`. A condition that holds
    again after more than 10 minutes opens a new incident.
    """

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Transition(StrEnum):
    """The change made by `advance`."""

    OPENED = "opened"
    REOPENED = "reopened"
    UPDATED = "updated"
    RESOLVED = "resolved"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Incident:
    """A stored incident; without `destination` it is of the service. `version` counts how often it opened."""

    kind: Kind
    destination: str | None
    severity: Severity
    state: IncidentState
    opened_at: datetime
    last_seen_at: datetime
    summary: str
    resolved_at: datetime | None = None
    affected_events: int = 0
    oldest_event_at: datetime | None = None
    expires_at: datetime | None = None
    acknowledged_at: datetime | None = None
    # Opened while a service problem was open, which explains it.
    is_silent: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.state is not IncidentState.RESOLVED


def open_incident(finding: Finding, destination: str | None, now: datetime, *, silent: bool) -> Incident:
    """Return a new incident for a finding."""
    return Incident(
        kind=finding.kind,
        destination=destination,
        severity=KINDS[finding.kind].severity,
        state=IncidentState.OPEN,
        opened_at=now,
        last_seen_at=now,
        summary=finding.summary,
        affected_events=finding.affected_events,
        oldest_event_at=finding.oldest_event_at,
        expires_at=finding.expires_at,
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
    """Return the incident after an observation, and what changed.

    `success_at` is the last successful request of the destination. `released` means that the kind was
    disabled or the destination deleted: the incident resolves immediately. For a resolved incident that is
    too old to reopen, returns None with OPENED: the caller opens a new one.
    """
    if finding is not None and not released:
        return _observed(incident, finding, now, silent=silent)
    if not incident.is_open:
        return incident, Transition.UNCHANGED
    if not released and now - incident.last_seen_at < QUIET:
        return incident, Transition.UNCHANGED
    needs_success = KINDS[incident.kind].needs_success and not released
    if needs_success and (success_at is None or success_at < incident.last_seen_at):
        return incident, Transition.UNCHANGED
    return replace(incident, state=IncidentState.RESOLVED, resolved_at=now), Transition.RESOLVED


def _observed(
    incident: Incident, finding: Finding, now: datetime, *, silent: bool
) -> tuple[Incident | None, Transition]:
    seen = replace(
        incident,
        last_seen_at=now,
        summary=finding.summary,
        affected_events=finding.affected_events,
        oldest_event_at=finding.oldest_event_at,
        expires_at=finding.expires_at,
    )
    if incident.is_open:
        return seen, Transition.UPDATED
    assert incident.resolved_at is not None
    if now - incident.resolved_at > REOPEN_WITHIN:
        return None, Transition.OPENED
    state = IncidentState.OPEN if incident.acknowledged_at is None else IncidentState.ACKNOWLEDGED
    return replace(seen, state=state, resolved_at=None, is_silent=silent), Transition.REOPENED


def explains_others(open_kinds: Collection[Kind]) -> bool:
    """Return whether an open service incident explains other incidents that open."""
    return any(KINDS[kind].silences_others for kind in open_kinds)
