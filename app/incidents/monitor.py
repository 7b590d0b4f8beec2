"""Compute incidents every few seconds, in the process that has the lease."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from app.domain.ids import DEFAULT_ORGANISATION
from app.domain.incidents.conditions import (
    Finding,
    ServiceLimits,
    channel_finding,
    destination_findings,
    service_findings,
)
from app.domain.incidents.destination_condition import STALLED_WITH_FAILURES_AFTER, UNANSWERED_AFTER
from app.domain.incidents.kinds import KINDS, Kind
from app.domain.incidents.machine import Incident, Transition, advance, explains_others, open_incident
from app.incidents.observation import Observation, ObservedDestination, Observer
from app.incidents.planner import MessagePlanner
from app.store import (
    PipelineConnection,
    incident_facts,
    incidents,
    job_leases,
    notifications,
    outcome_history,
)
from app.store.incidents import StoredIncident
from app.store.job_leases import Job
from app.telemetry import Telemetry

# The lease of the monitor. Postgres ends the session of a frozen process after the same time.
LEASE: Final = timedelta(seconds=20)
_FORGET_EVERY_S: Final = 600.0
_RECORD_EVERY_S: Final = 15.0

_Subject = tuple[str, str | None, Kind]
"""Organisation, destination (None for kinds without one) and kind."""


@dataclass(frozen=True, slots=True)
class _Change:
    """The new state of an incident. `id` is None for a new incident."""

    id: str | None
    organisation: str
    incident: Incident
    transition: Transition


class IncidentMonitor:
    """Computes incidents in one process at a time. Every process sets the gauges."""

    every_s = 3.0

    def __init__(
        self,
        *,
        owner: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        observer: Observer,
        planner: MessagePlanner,
        monotonic: Callable[[], float],
        telemetry: Telemetry,
        retention: timedelta,
        limits: ServiceLimits | None = None,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._observer = observer
        self._planner = planner
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._retention = retention
        self._limits = limits or ServiceLimits()
        self._owned = False
        self._forget_at = monotonic()
        self._recorded_at: float | None = None
        self._stalled: set[str] = set()  # destinations that were stalled at the last recording

    async def run(self) -> None:
        """Compute the incidents, unless another process does, and set the gauges."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await incidents.limit_silence(self._connection, LEASE)
        connection = self._connection
        owned = await job_leases.acquire(connection, Job.INCIDENTS, self._owner, lease=LEASE)
        if owned and not self._owned:
            self._observer.restart()
        self._owned = owned
        if owned:
            began = self._monotonic()
            await incidents.probe_commit(connection)
            await self._compute(connection, self._monotonic() - began)
        self._telemetry.set_open_incidents(await incidents.open_by_kind(connection))

    async def leave(self) -> None:
        """Release the lease, so that another process takes over immediately, and end the session."""
        if self._connection is not None and not self._connection.is_closed():
            await job_leases.release(self._connection, Job.INCIDENTS, self._owner)
            await self._connection.close()

    async def _compute(self, connection: asyncpg.Connection, commit_s: float) -> None:
        observation = await self._observer.observe(connection, commit_s=commit_s)
        async with connection.transaction():
            stored = await incidents.current(connection)
            changes = decide(observation, stored, self._limits)
            await self._write(connection, changes)
            await self._planner.plan(connection, observation)
        await self._record_outcomes(connection, observation)
        if self._monotonic() - self._forget_at >= _FORGET_EVERY_S:
            self._forget_at = self._monotonic()
            await incidents.delete_old(connection, keep=self._retention)
            await notifications.forget(connection)
            await incident_facts.forget_intake(connection)
            await outcome_history.forget(connection)

    async def _record_outcomes(self, connection: asyncpg.Connection, observation: Observation) -> None:
        now = self._monotonic()
        stalled = {each.id for each in observation.destinations if _is_stalled(each, observation.now)}
        is_due = self._recorded_at is None or now - self._recorded_at >= _RECORD_EVERY_S
        # Record a newly stalled destination immediately, because the home page shows only recorded values.
        if not is_due and stalled <= self._stalled:
            return
        self._recorded_at, self._stalled = now, stalled
        ages = {
            each.number: (observation.now - each.facts.oldest_waiting_at).total_seconds()
            for each in observation.destinations
            if each.facts.oldest_waiting_at is not None
        }
        async with connection.transaction():
            await outcome_history.record(connection, ages)

    async def _write(self, connection: PipelineConnection, changes: Sequence[_Change]) -> None:
        updates = [(each.id, each.incident) for each in changes if each.id is not None]
        await incidents.update(connection, updates)
        for change in changes:
            incident = change.incident
            id_ = change.id or f"inc_{secrets.token_hex(10)}"
            if change.id is None:
                await incidents.insert(connection, incident, id=id_, organisation=change.organisation)
            if change.transition is not Transition.UPDATED:
                self._telemetry.log(
                    f"incident.{change.transition.value}",
                    level=30,
                    incident_id=id_,
                    destination_id=incident.destination,
                    kind=incident.kind.value,
                    severity=incident.severity.value,
                )


def _is_stalled(destination: ObservedDestination, now: datetime) -> bool:
    """Return whether the requests of a destination fail while an event has waited for too long."""
    facts = destination.facts
    oldest, unanswered = facts.oldest_waiting_at, facts.unanswered_since
    fails = facts.last_outcome not in (None, "answered") or (
        unanswered is not None and now - unanswered > UNANSWERED_AFTER
    )
    return fails and oldest is not None and now - oldest > STALLED_WITH_FAILURES_AFTER


def decide(
    observation: Observation, stored: Sequence[StoredIncident], limits: ServiceLimits
) -> list[_Change]:
    """Return the incidents that an observation opens, updates, reopens or resolves. Does no I/O."""
    latest: dict[_Subject, StoredIncident] = {}
    for each in stored:
        subject = (each.organisation, each.incident.destination, each.incident.kind)
        if subject not in latest or not latest[subject].incident.is_open:
            latest[subject] = each
    of_service = list(service_findings(observation.service, limits))
    watched = {each.id: each for each in observation.destinations}
    findings: dict[_Subject, Finding] = {
        (DEFAULT_ORGANISATION, None, found.kind): found for found in of_service
    }
    for organisation, failing in observation.failing_channels.items():
        if (found := channel_finding(failing, limits)) is not None:
            findings[organisation, None, found.kind] = found
    for destination in observation.destinations:
        for finding in destination_findings(destination.facts, destination.alerting, observation.now):
            findings[destination.organisation, destination.id, finding.kind] = finding
    explained = explains_others(
        [found.kind for found in of_service]
        + [each.incident.kind for each in latest.values() if each.incident.is_open]
    )
    changes = (
        _change(subject, latest.get(subject), findings.get(subject), watched, observation.now, explained)
        for subject in {**latest, **findings}
    )
    return [change for change in changes if change is not None]


def _change(
    subject: _Subject,
    stored: StoredIncident | None,
    finding: Finding | None,
    watched: Mapping[str, ObservedDestination],
    now: datetime,
    explained: bool,
) -> _Change | None:
    """Return the change of an incident. Return None if nothing changes or there is no incident.

    `explained` says that an open incident silences others, so this incident sends no message.
    """
    organisation, destination_id, kind = subject
    destination = None if destination_id is None else watched.get(destination_id)
    silent = explained and not KINDS[kind].silences_others
    if stored is not None:
        released = destination_id is not None and (
            destination is None or not destination.alerting.of(kind).enabled
        )
        after, transition = advance(
            stored.incident,
            finding,
            now,
            success_at=destination.success_at if destination else None,
            silent=silent,
            released=released,
        )
        if transition is Transition.UNCHANGED:
            return None
        if after is not None:
            return _Change(stored.id, stored.organisation, after, transition)
    if finding is None:
        return None
    opened = open_incident(finding, destination_id, now, silent=silent)
    return _Change(None, organisation, opened, Transition.OPENED)
