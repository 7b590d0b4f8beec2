"""Compute incidents every few seconds, in the process that has the lease."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from app.domain.ids import DEFAULT_ORGANISATION
from app.domain.incidents import conditions, machine
from app.domain.incidents.health import STALLED_WITH_FAILURES_AFTER, UNANSWERED_AFTER
from app.domain.incidents.kinds import KINDS, OTHERS, PAUSED, Kind
from app.domain.notifications import Channel, DeclaredChannel
from app.incidents.observation import Observation, ObservedDestination, Observer
from app.incidents.outbox import MessagePlanner
from app.store import PipelineConnection, incidents
from app.store.database import job_leases
from app.store.destinations import outcome_history
from app.store.incidents import StoredIncident, notifications
from app.store.incidents.facts import forget_intake
from app.telemetry import Telemetry

# The lease of the monitor. Postgres ends the session of a frozen process after the same time.
LEASE: Final = timedelta(seconds=20)
_FORGET_EVERY_S: Final = 600.0
_RECORD_EVERY_S: Final = 15.0
_DECLARE_EVERY_S: Final = 60.0

_Subject = tuple[str, str | None, Kind]
"""Organisation, destination (None for kinds without one) and kind."""


@dataclass(frozen=True, slots=True)
class _Change:
    """The new state of an incident."""

    id: str
    organisation: str
    incident: machine.Incident
    transition: machine.Transition


ACCEPTED_FOR = timedelta(days=30)
"""How long the same finding opens no incident after a person acknowledged it."""


@dataclass(eq=False, repr=False, kw_only=True)
class IncidentMonitor:
    """Computes incidents in one process at a time. Every process sets the gauges."""

    every_s = 3.0

    owner: str
    connect: Callable[[], Awaitable[asyncpg.Connection]]
    observer: Observer
    planner: MessagePlanner
    channels: Sequence[Channel]
    monotonic: Callable[[], float]
    telemetry: Telemetry
    retention: timedelta
    _connection: asyncpg.Connection | None = None
    _owned: bool = False
    _excludes_earlier: bool = False  # whether this session keeps monitors of the last release away
    _recorded_at: float | None = None
    _stalled: set[str] = field(default_factory=set)  # destinations that were stalled at the last recording

    def __post_init__(self) -> None:
        self._declared_at = self._forget_at = self.monotonic()

    async def run(self) -> None:
        """Compute the incidents, unless another process does, and set the gauges."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.connect()
            await incidents.limit_silence(self._connection, LEASE)
            # While this process had no session, another process may have computed the incidents.
            self._excludes_earlier = self._owned = False
        connection = self._connection
        channels = await self._declare(connection)
        began = self.monotonic()
        owned = await job_leases.acquire(connection, job_leases.Job.INCIDENTS, self.owner, lease=LEASE)
        commit_s = self.monotonic() - began  # to acquire or renew a lease is to commit one row
        if owned and not self._excludes_earlier:
            owned = self._excludes_earlier = await job_leases.exclude_earlier_monitors(connection)
        if owned and not self._owned:
            self.observer.restart()
        self._owned = owned
        if owned:
            await self._compute(connection, channels, commit_s)
        self.telemetry.set_open_incidents(await incidents.open_by_kind(connection))

    async def leave(self) -> None:
        """Release the lease, so that another process takes over immediately, and end the session."""
        if self._connection is not None and not self._connection.is_closed():
            await job_leases.release(self._connection, job_leases.Job.INCIDENTS, self.owner)
            await self._connection.close()

    async def _declare(self, connection: asyncpg.Connection) -> Sequence[DeclaredChannel]:
        """Record the channels of this process, and return those of all processes."""
        now, own = self.monotonic(), {(each.organisation, each.key) for each in self.channels}
        declared = await notifications.declared(connection)
        known = {(each.organisation, each.key) for each in declared}
        self.telemetry.channels_missing.set(len(known - own))
        # A channel is unknown at the first run, and while its organisation does not exist.
        if own - known or now - self._declared_at >= _DECLARE_EVERY_S:
            self._declared_at = now
            await notifications.declare(connection, sorted(own))
            return await notifications.declared(connection)
        return declared

    async def _compute(
        self, connection: asyncpg.Connection, channels: Sequence[DeclaredChannel], commit_s: float
    ) -> None:
        observation = await self.observer.observe(connection, commit_s=commit_s)
        async with connection.transaction():
            stored = await incidents.current(connection)
            suspicious = [
                each.id for each in observation.destinations if each.facts.suspect or each.facts.drift
            ]
            accepted = await incidents.accepted_findings(connection, suspicious, within=ACCEPTED_FOR)
            # In a thread: for 5,000 destinations this takes up to 0.25 s.
            changes = await asyncio.to_thread(decide, observation, stored, accepted)
            await self._write(connection, changes)
            await self.planner.plan(connection, observation, channels)
            await incidents.record_run(connection)
        await self._record_outcomes(connection, observation)
        if self.monotonic() - self._forget_at >= _FORGET_EVERY_S:
            self._forget_at = self.monotonic()
            await incidents.delete_old(connection, keep=self.retention)
            await notifications.forget(connection)
            await forget_intake(connection)
            await outcome_history.forget(connection)

    async def _record_outcomes(self, connection: asyncpg.Connection, observation: Observation) -> None:
        now = self.monotonic()
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
        updated = [each for each in changes if each.transition is not machine.Transition.OPENED]
        await incidents.update(connection, [(each.id, each.incident) for each in updated])
        for change in changes:
            incident = change.incident
            if change.transition is machine.Transition.OPENED:
                await incidents.insert(connection, incident, id=change.id, organisation=change.organisation)
            if change.transition is not machine.Transition.UPDATED:
                self.telemetry.log(
                    f"incident.{change.transition.value}",
                    level=30,
                    incident_id=change.id,
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
    observation: Observation,
    stored: Sequence[StoredIncident],
    accepted: Collection[incidents.AcceptedFinding] = (),
) -> list[_Change]:
    """Return the incidents that an observation opens, updates, reopens, merges or resolves. Does no I/O.

    What is `accepted` counts as not found.
    """
    latest: dict[_Subject, StoredIncident] = {}
    for each in stored:
        subject = (each.organisation, each.incident.destination, each.incident.kind)
        if subject not in latest or not latest[subject].incident.is_open:
            latest[subject] = each
    is_open = {subject: each for subject, each in latest.items() if each.incident.is_open}
    findings = _findings_of_service(observation, is_open)
    destinations = {each.id: each for each in observation.destinations}
    explained = defaultdict[str, conditions.Explained](lambda: conditions.Explained({}))
    for destination in observation.destinations:
        open_kinds = {kind for kind in Kind if (destination.organisation, destination.id, kind) in is_open}
        facts = replace(destination.facts, open_kinds=open_kinds)
        problems = conditions.destination_findings(facts, destination.alerting, observation.now)
        found = conditions.explain(problems, open_kinds)
        explained[destination.id] = found
        for kind, finding in found.findings.items():
            findings[destination.organisation, destination.id, kind] = finding
    is_delayed = any(KINDS[kind].delays_delivery for _, _, kind in (*findings, *is_open))
    changes: dict[_Subject, _Change] = {}
    # A cause comes before its consequences, which are merged into it.
    for subject in sorted(
        {**latest, **findings}, key=lambda each: each[2] is not explained[each[1] or ""].cause
    ):
        organisation, destination_id, kind = subject
        causes = explained[destination_id or ""]
        if causes.cause is not None and causes.explains(kind) and subject in is_open:
            incident = is_open[subject]
            into = (organisation, destination_id, causes.cause)
            cause_id = changes[into].id if into in changes else latest[into].id
            after = machine.merged(incident.incident, cause_id, observation.now)
            changes[subject] = _Change(incident.id, organisation, after, machine.Transition.MERGED)
            continue
        stored_incident = latest.get(subject)
        found_now = findings.get(subject)
        if found_now is not None and (destination_id, kind, found_now.reason) in accepted:
            found_now = None
        change = _change(
            subject,
            stored_incident,
            found_now,
            destinations.get(destination_id or ""),
            observation.now,
            silent=is_delayed and KINDS[kind].is_delay,
        )
        if kind is causes.cause:
            change = _with_consequences(change, is_open.get(subject), causes)
        if change is not None:
            changes[subject] = change
    return list(changes.values())


def _findings_of_service(
    observation: Observation, is_open: Mapping[_Subject, StoredIncident]
) -> dict[_Subject, conditions.Finding]:
    """Return the problems of the service, as each organisation reads them, and those of channels."""
    findings: dict[_Subject, conditions.Finding] = {}
    destinations: dict[str, list[conditions.DestinationFacts]] = {}
    for each in observation.destinations:
        destinations.setdefault(each.organisation, []).append(each.facts)
    for found in conditions.service_findings(observation.service):
        findings[DEFAULT_ORGANISATION, None, found.kind] = found
        for organisation, facts in destinations.items():
            if organisation == DEFAULT_ORGANISATION:
                continue
            known = is_open.get((organisation, None, found.kind))
            general = conditions.in_general_words(found, facts, is_open=known is not None)
            if general is not None:
                findings[organisation, None, found.kind] = general
    for organisation, failing in observation.failing_channels.items():
        if (problem := conditions.channel_finding(failing)) is not None:
            findings[organisation, None, problem.kind] = problem
    return findings


def _change(
    subject: _Subject,
    stored: StoredIncident | None,
    finding: conditions.Finding | None,
    destination: ObservedDestination | None,
    now: datetime,
    *,
    silent: bool,
) -> _Change | None:
    """Return the change of an incident. Return None if nothing changes or there is no incident.

    `silent` says that a problem of the service explains the incident, so that it sends no message.
    """
    organisation, destination_id, kind = subject
    if stored is not None:
        after, transition = machine.advance(
            stored.incident,
            finding,
            now,
            success_at=destination.facts.success_at if destination else None,
            silent=silent,
            released=destination_id is not None and (destination is None or destination.releases(kind)),
        )
        if transition is machine.Transition.UNCHANGED:
            return None
        if after is not None:
            if transition is machine.Transition.RESOLVED and destination and destination.pauses(kind):
                after = replace(after, summary=OTHERS[PAUSED].headline)
            return _Change(stored.id, stored.organisation, after, transition)
    if finding is None:
        return None
    opened = machine.open_incident(finding, destination_id, now, silent=silent)
    return _Change(f"inc_{secrets.token_hex(10)}", organisation, opened, machine.Transition.OPENED)


def _with_consequences(
    change: _Change | None, stored: StoredIncident | None, causes: conditions.Explained
) -> _Change | None:
    """Return the change of a cause with its consequences. `stored` is its incident if it is open already."""
    if change is not None:
        if not change.incident.is_open:
            return change
        return replace(change, incident=machine.with_consequences(change.incident, causes))
    if stored is None:
        return None
    after = machine.with_consequences(stored.incident, causes)
    if after == stored.incident:
        return None
    return _Change(stored.id, stored.organisation, after, machine.Transition.UPDATED)
