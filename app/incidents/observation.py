"""Read the facts from which incidents are computed, and measure how long conditions last."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg

from app.domain.ids import DestinationNumber
from app.domain.incidents import thresholds
from app.domain.incidents.conditions import DestinationFacts, ServiceFacts
from app.domain.incidents.kinds import Kind
from app.domain.notifications import Preference
from app.domain.pacing.lane_limits import LONGEST_LEASE_S
from app.store import PipelineConnection, transactions
from app.store.incidents import facts as incident_facts
from app.store.incidents import notifications

SLOW_COMMIT_S = 1.0
_VOLUMES_EVERY_S = 10.0  # they are sums of complete hours, which rarely change
_WORKER_GRACE = timedelta(seconds=10)  # a worker may restart in this time
_SLICE = 500  # destinations that are read without a pause of the event loop


@dataclass(frozen=True, slots=True)
class ObservedDestination:
    """A destination with its facts and its alert settings."""

    id: str
    number: DestinationNumber
    organisation: str
    facts: DestinationFacts
    alerting: thresholds.Alerting
    preference: Preference

    def releases(self, kind: Kind) -> bool:
        """Return whether an incident of this kind resolves immediately: disabled, or explained by a pause."""
        return self.pauses(kind) or not self.alerting.thresholds[kind].enabled

    def pauses(self, kind: Kind) -> bool:
        """Return whether a pause of the destination explains an incident of this kind."""
        return kind is Kind.BACKLOG and self.facts.is_paused


@dataclass(frozen=True, slots=True)
class Observation:
    """The facts about all destinations, the service and the notification channels at one time."""

    now: datetime
    destinations: Sequence[ObservedDestination]
    service: ServiceFacts
    # For how long each failing channel has failed, by organisation and name of the channel.
    failing_channels: Mapping[str, Mapping[str, timedelta]]


@dataclass(slots=True)
class Observer:
    """Reads observations from the database, and measures how long conditions last."""

    max_event_age: timedelta
    monotonic: Callable[[], float]
    # Since when the breakers of lanes are open, and since when conditions of the service hold.
    _open_since: dict[int, float] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _volumes: Mapping[DestinationNumber, incident_facts.VolumeFacts] = field(default_factory=dict)
    _volumes_read_at: float | None = None

    def restart(self) -> None:
        """Forget all measurements, because another process computed the incidents meanwhile."""
        self._open_since.clear()
        self._since.clear()
        self._volumes_read_at = None

    async def observe(self, connection: asyncpg.Connection, *, commit_s: float) -> Observation:
        """Read all facts. `commit_s` is the duration of the last commit in seconds."""
        async with connection.transaction():
            await incident_facts.record_intake(connection)
        now = await transactions.started_at(connection)
        stored = await incident_facts.destinations(connection)
        destinations = await self._destinations(connection, stored)
        failing: dict[str, dict[str, timedelta]] = {}
        for (organisation, name), since in (await notifications.failing_channels(connection)).items():
            failing.setdefault(organisation, {})[name] = now - since
        workers = await incident_facts.workers(connection, lease=timedelta(seconds=LONGEST_LEASE_S))
        oldest = workers.oldest_sendable_at
        absent = timedelta(0)
        absent_for = self._measure("no_worker", oldest is not None and not workers.is_leased)
        if oldest is not None and absent_for >= _WORKER_GRACE:
            # The times of the database count, because this process may have begun to measure just now.
            absent = now - oldest
        service = ServiceFacts(
            without_worker_for=absent,
            waiting_events=sum(each.facts.waiting_events for each in destinations),
            oldest_waiting_at=oldest,
            earliest_expiry_at=min(
                (at for each in destinations if (at := each.facts.earliest_expiry_at) is not None),
                default=None,
            ),
            slow_commits_for=self._measure("slow_commits", commit_s > SLOW_COMMIT_S),
        )
        return Observation(now, destinations, service, failing)

    async def _destinations(
        self, connection: PipelineConnection, stored: Sequence[incident_facts.WatchedDestination]
    ) -> list[ObservedDestination]:
        settings = {each.number: thresholds.read(each.alerting.alerting) for each in stored}
        if self._volumes_read_at is None or self.monotonic() - self._volumes_read_at >= _VOLUMES_EVERY_S:
            self._volumes_read_at = self.monotonic()
            self._volumes = await incident_facts.volumes(connection)
        expiring_hours = [each.thresholds[Kind.EXPIRING].hours for each in settings.values()]
        known = await incident_facts.read(
            connection,
            stored,
            failing_s=[each.thresholds[Kind.FAILING].window_seconds for each in settings.values()],
            rejections_s=[each.thresholds[Kind.REJECTIONS].window_seconds for each in settings.values()],
            max_event_age=self.max_event_age,
            expiring_within=timedelta(hours=max(expiring_hours, default=0)),
            volumes=self._volumes,
        )
        now = self.monotonic()
        opened = {each.lane for each in stored if each.breaker != "closed"}
        self._open_since = {lane: self._open_since.get(lane, now) for lane in opened}
        suspects, drifts = await incident_facts.mapping_problems(connection)
        found = []
        for place, each in enumerate(stored):
            if place % _SLICE == 0:
                await asyncio.sleep(0)
            facts = known[each.number]
            open_s = now - self._open_since.get(each.lane, now) if facts.oldest_waiting_at else 0.0
            facts = replace(
                facts,
                no_token_since=_later(each.no_token_since, facts.oldest_waiting_at),
                breaker_open_for=timedelta(seconds=open_s),
                suspect=suspects.get(each.number),
                drift=drifts.get(each.number),
            )
            alerting, preference = settings[each.number], each.alerting.preference
            found.append(
                ObservedDestination(each.id, each.number, each.organisation, facts, alerting, preference)
            )
        return found

    def _measure(self, condition: str, holds: bool) -> timedelta:
        """Return for how long a condition has held without a break. `holds`: whether it holds now."""
        if not holds:
            self._since.pop(condition, None)
            return timedelta(0)
        now = self.monotonic()
        return timedelta(seconds=now - self._since.setdefault(condition, now))


def _later(since: datetime | None, waiting: datetime | None) -> datetime | None:
    """Return the later of both times; None if one of them is None."""
    return None if since is None or waiting is None else max(since, waiting)
