"""Messages about incidents: write the due ones to the outbox, and deliver those of the outbox.

The planner writes in the transaction that changes the incidents. Each channel has its own loop of delivery,
so a failing channel delays no other.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, assert_never

import asyncpg
from pydantic import ConfigDict, Field

from app.domain import notifications as messages
from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.incidents.kinds import KINDS, Kind, Remedy, Severity, advice
from app.domain.incidents.machine import IncidentState
from app.domain.notifications import Channel, DeclaredChannel
from app.domain.outcomes.settle import RetryPolicy
from app.incidents.observation import Observation, ObservedDestination
from app.store import PipelineConnection, incidents
from app.store.incidents import StoredIncident, notifications
from app.telemetry import Telemetry
from app.webhook_client import WebhookClient

if TYPE_CHECKING:
    from app.mail_client import MailClient

# Incidents of delays send no message for this time after the end of the problem that explains them.
_SILENT_AFTERWARDS: Final = timedelta(minutes=5)
LEASE: Final = timedelta(seconds=60)  # longer than the maximum duration of a delivery
FAILED_AFTER: Final = timedelta(hours=24)
_WAITS: Final = RetryPolicy(first_wait=5.0, longest_wait=900.0)


@dataclass(frozen=True, slots=True)
class PublicIncident:
    """A diagnosed problem with a beginning, an end and a remedy, as the API and messages show it."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    id: Annotated[str, Field(examples=["inc_0a1b2c3d4e5f6a7b8c9d"])]
    destination_id: str | None
    """Null if the incident concerns the service and not a single destination."""
    destination_name: str | None
    kind: Kind
    severity: Severity
    state: IncidentState
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    summary: str
    remedy: str
    action: Remedy
    affected_events: int
    oldest_event_at: datetime | None
    """When the oldest of the affected events was accepted."""
    expires_at: datetime | None
    """When the first waiting event reaches the age limit, if events wait."""
    consequences: Sequence[Kind]
    """The kinds of problem that this incident explains. They open no incident."""
    merged_into: str | None
    """The id of the incident that explains this one."""
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    muted_until: datetime | None
    note: str | None


def public_incident(stored: StoredIncident) -> PublicIncident:
    """Return an incident with its remedy."""
    incident = stored.incident
    remedy, action = advice(incident.kind, incident.reason)
    known: dict[str, Any] = {
        each.name: getattr(source, each.name) for source in (incident, stored) for each in fields(source)
    }
    known |= {"destination_id": incident.destination, "remedy": remedy, "action": action}
    return PublicIncident(**{each.name: known[each.name] for each in fields(PublicIncident)})


class MessagePlanner:
    """Decides which messages each channel gets, and writes them to the outbox.

    The channels are those of all processes, because another process may have channels that this one lacks.
    """

    def __init__(self, *, public_url: str) -> None:
        self._url = f"{public_url}/console/incidents"

    async def plan(
        self, connection: PipelineConnection, observation: Observation, channels: Sequence[DeclaredChannel]
    ) -> None:
        """Write every message that is due now."""
        if not channels:
            return
        stored = await incidents.current(connection)
        if not stored:
            return
        now = observation.now
        sent = await notifications.sent(connection, [each.id for each in stored])
        loads = await notifications.loads(connection)
        destinations = {each.id: each for each in observation.destinations}
        is_explained = _is_explained(stored, now)
        merged = [each.id for each in stored if each.incident.merged_into is not None]
        for channel in channels:
            if merged:
                await notifications.drop_unsent(connection, channel, merged, forget=True)
            due = []
            for each in stored:
                if each.organisation != channel.organisation:
                    continue
                history = sent.get((each.id, channel.key), messages.SentMessages())
                destination = destinations.get(each.incident.destination or "")
                message = _due_message(each, history, destination, channel, now, is_explained=is_explained)
                if message is not None:
                    due.append((each, message))
            load = loads.get((channel.organisation, channel.key), messages.ChannelLoad())
            await self._write(connection, channel, due, load, now)

    async def _write(
        self,
        connection: PipelineConnection,
        channel: DeclaredChannel,
        due: Sequence[tuple[StoredIncident, messages.MessageType]],
        load: messages.ChannelLoad,
        now: datetime,
    ) -> None:
        if not due:
            return
        urgent = any(
            message is messages.MessageType.OPENED and stored.incident.severity is Severity.CRITICAL
            for stored, message in due
        )
        batches: list[tuple[messages.MessageType, Sequence[str], bytes]] = []
        match messages.batching(due, load, urgent=urgent):
            case messages.Batching.WAIT:
                return
            case messages.Batching.SINGLE:
                batches = [
                    (message, [stored.id], messages.incident_body(message, self._message_data(stored), now))
                    for stored, message in due
                ]
            case messages.Batching.DIGEST:
                # In a thread: for 5,000 incidents this takes up to 0.2 s.
                body = await asyncio.to_thread(self._digest, due, now)
                batches = [(messages.MessageType.DIGEST, [stored.id for stored, _ in due], body)]
        resolved = [stored.id for stored, message in due if message is messages.MessageType.RESOLVED]
        if resolved:
            await notifications.drop_unsent(connection, channel, resolved)
        for message, ids, body in batches:
            id_ = f"msg_{secrets.token_hex(12)}"
            await notifications.enqueue(connection, channel, message, ids, body, id=id_)
        for stored, message in due:
            await notifications.mark_sent(connection, channel, message, stored, now=now)

    def _digest(self, due: Sequence[tuple[StoredIncident, messages.MessageType]], now: datetime) -> bytes:
        items = [(message, self._message_data(stored)) for stored, message in due]
        return messages.digest_body(items, now, url=self._url)

    def _message_data(self, stored: StoredIncident) -> Mapping[str, Any]:
        return {**asdict(public_incident(stored)), "url": f"{self._url}/{stored.id}"}


def _due_message(
    stored: StoredIncident,
    sent: messages.SentMessages,
    destination: ObservedDestination | None,
    channel: DeclaredChannel,
    now: datetime,
    *,
    is_explained: bool,
) -> messages.MessageType | None:
    """Return the type of the message that is due for this incident and channel; None if none is due."""
    incident = stored.incident
    preference = messages.Preference() if destination is None else destination.preference
    # A channel that got the message that it opened also gets the message that it resolved.
    if not preference.includes(incident, channel.name) and (incident.is_open or not sent.is_open):
        return None
    muted_until = [stored.muted_until, destination.alerting.muted_until if destination else None]
    muted = any(until is not None and until > now for until in muted_until)
    # If a wider cause explains the incident, send no message until some minutes after the end of the cause.
    muted = muted or (incident.is_silent and is_explained)
    return messages.due_message(incident, sent, now, muted=muted)


def _is_explained(stored: Sequence[StoredIncident], now: datetime) -> bool:
    """Return whether an incident that explains others is open, or was open within the last minutes."""
    return any(
        KINDS[each.incident.kind].delays_delivery
        and (each.incident.resolved_at is None or now - each.incident.resolved_at < _SILENT_AFTERWARDS)
        for each in stored
    )


@dataclass(eq=False, repr=False)
class ChannelClients:
    """Sends messages to channels: by webhook or by mail, as the channel's type requires."""

    webhooks: WebhookClient
    mails: "MailClient | None"

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message. Network errors are returned, not raised."""
        match channel.type:
            case "webhook":
                return await self.webhooks.post(channel.addresses[0], channel.secrets, id, body)
            case "email":
                if self.mails is None:
                    return NotAcknowledged("not_configured")
                return await self.mails.send(channel, id, body)
            case _:
                assert_never(channel.type)


@dataclass(eq=False, repr=False)
class NotificationDelivery:
    """Delivers the messages of one channel. The processes share the work."""

    every_s = 1.0

    channel: Channel
    pool: asyncpg.Pool
    client: ChannelClients
    jitter: Callable[[], float]
    telemetry: Telemetry

    async def run(self) -> None:
        """Deliver the due messages. Stop at the first message that the channel does not accept."""
        while await self._deliver_next():
            pass

    async def _deliver_next(self) -> bool:
        """Deliver a due message. Return True if another message may be due now."""
        organisation, key = self.channel.organisation, self.channel.key
        async with self.pool.acquire() as connection:
            due = await notifications.claim(connection, organisation, key, lease=LEASE)
        if due is None:
            return False
        reply = await self.client.send(self.channel, due.id, due.body)
        async with self.pool.acquire() as connection:
            if isinstance(reply, Acknowledged):
                await notifications.finish(connection, due.id)
                await notifications.channel_succeeded(connection, organisation, key)
                self.telemetry.notifications["delivered"].inc()
                return True
            await notifications.channel_failed(connection, organisation, key, reply.why)
            if due.age > FAILED_AFTER:
                await notifications.finish(connection, due.id)
                self._report("notification.failed_permanently", logging.ERROR, due.id, reply)
                return True
            wait = max(_WAITS.wait(due.tries, jitter=self.jitter()), min(reply.retry_after or 0.0, 3_600.0))
            await notifications.reschedule(connection, due.id, wait=timedelta(seconds=wait))
            self._report("notification.rescheduled", logging.WARNING, due.id, reply)
        return False

    def _report(self, event: str, level: int, message_id: str, reply: NotAcknowledged) -> None:
        """Log a failed delivery with the name of the channel, never with its address."""
        self.telemetry.notifications["failed"].inc()
        self.telemetry.log(
            event, level=level, channel=self.channel.key, message_id=message_id, reason=reply.why
        )
