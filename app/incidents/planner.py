"""Write the due messages about incidents to the outbox, in the transaction that changes the incidents."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.incidents.causes import advice
from app.domain.incidents.kinds import KINDS, Severity
from app.domain.notifications.channels import DeclaredChannel
from app.domain.notifications.messages import digest_body, incident_body
from app.domain.notifications.policy import (
    Batching,
    ChannelLoad,
    MessageType,
    Preference,
    SentMessages,
    batching,
    due_message,
)
from app.incidents.observation import Observation, ObservedDestination
from app.store import PipelineConnection, incidents
from app.store.incidents import StoredIncident, notifications

# Incidents of delays send no message for this time after the end of the problem that explains them.
_SILENT_AFTERWARDS: Final = timedelta(minutes=5)


def public_incident(stored: StoredIncident) -> dict[str, Any]:
    """Return an incident in the form in which the API and messages show it."""
    incident = stored.incident
    remedy, action = advice(incident.kind, incident.reason)
    return {
        "id": stored.id,
        "destination_id": incident.destination,
        "destination_name": stored.destination_name,
        "kind": incident.kind.value,
        "severity": incident.severity.value,
        "state": incident.state.value,
        "opened_at": incident.opened_at,
        "last_seen_at": incident.last_seen_at,
        "resolved_at": incident.resolved_at,
        "summary": incident.summary,
        "remedy": remedy,
        "action": action.value,
        "affected_events": incident.affected_events,
        "oldest_event_at": incident.oldest_event_at,
        "expires_at": incident.expires_at,
        "consequences": [kind.value for kind in incident.consequences],
        "merged_into": incident.merged_into,
        "acknowledged_at": incident.acknowledged_at,
        "acknowledged_by": stored.acknowledged_by,
        "muted_until": stored.muted_until,
        "note": stored.note,
    }


class MessagePlanner:
    """Decides which messages each channel gets, and writes them to the outbox.

    The channels are those of all processes, because another process may have channels that this one lacks.
    """

    def __init__(self, *, public_url: str) -> None:
        self._url = f"{public_url}/console/incidents"

    async def plan(
        self,
        connection: PipelineConnection,
        observation: Observation,
        channels: Sequence[DeclaredChannel],
    ) -> None:
        """Write every message that is due now."""
        if not channels:
            return
        stored = await incidents.current(connection)
        if not stored:
            return
        sent = await notifications.sent(connection, [each.id for each in stored])
        loads = await notifications.loads(connection)
        watched = {each.id: each for each in observation.destinations}
        is_explained = _is_explained(stored, observation.now)
        merged = [each.id for each in stored if each.incident.merged_into is not None]
        for channel in channels:
            if merged:
                await notifications.drop_unsent(
                    connection, channel.organisation, channel.key, merged, forget=True
                )
            due = [
                (each, message)
                for each in stored
                if each.organisation == channel.organisation
                and (
                    message := _due_message(
                        each,
                        sent.get((each.id, channel.key), SentMessages()),
                        watched.get(each.incident.destination or ""),
                        channel,
                        observation.now,
                        is_explained=is_explained,
                    )
                )
            ]
            load = loads.get((channel.organisation, channel.key), ChannelLoad())
            await self._write(connection, channel, due, load, observation.now)

    async def _write(
        self,
        connection: PipelineConnection,
        channel: DeclaredChannel,
        due: Sequence[tuple[StoredIncident, MessageType]],
        load: ChannelLoad,
        now: datetime,
    ) -> None:
        if not due:
            return
        urgent = any(
            message is MessageType.OPENED and stored.incident.severity is Severity.CRITICAL
            for stored, message in due
        )
        batches: list[tuple[MessageType, Sequence[str], bytes]] = []
        match batching(due, load, urgent=urgent):
            case Batching.WAIT:
                return
            case Batching.SINGLE:
                batches = [
                    (message, [stored.id], incident_body(message, self._message_data(stored), now))
                    for stored, message in due
                ]
            case Batching.DIGEST:
                items = [(message, self._message_data(stored)) for stored, message in due]
                body = digest_body(items, now, url=self._url)
                batches = [(MessageType.DIGEST, [stored.id for stored, _ in due], body)]
        resolved = [stored.id for stored, message in due if message is MessageType.RESOLVED]
        if resolved:
            await notifications.drop_unsent(connection, channel.organisation, channel.key, resolved)
        for message, ids, body in batches:
            await notifications.enqueue(
                connection,
                id=f"msg_{secrets.token_hex(12)}",
                organisation=channel.organisation,
                channel=channel.key,
                type=message,
                incidents=ids,
                body=body,
            )
        for stored, message in due:
            await notifications.mark_sent(
                connection,
                message,
                organisation=channel.organisation,
                incident=stored.id,
                channel=channel.key,
                severity=stored.incident.severity,
                now=now,
            )

    def _message_data(self, stored: StoredIncident) -> Mapping[str, Any]:
        return {**public_incident(stored), "url": f"{self._url}/{stored.id}"}


def _due_message(
    stored: StoredIncident,
    sent: SentMessages,
    destination: ObservedDestination | None,
    channel: DeclaredChannel,
    now: datetime,
    *,
    is_explained: bool,
) -> MessageType | None:
    """Return the type of the message that is due for this incident and channel; None if none is due."""
    incident = stored.incident
    preference = Preference() if destination is None else destination.preference
    # A channel that got the message that it opened also gets the message that it resolved.
    if not preference.includes(incident, channel.name) and (incident.is_open or not sent.is_open):
        return None
    muted_until = [stored.muted_until, destination.alerting.muted_until if destination else None]
    muted = any(until is not None and until > now for until in muted_until)
    # If a wider cause explains the incident, send no message until some minutes after the end of the cause.
    muted = muted or (incident.is_silent and is_explained)
    return due_message(incident, sent, now, muted=muted)


def _is_explained(stored: Sequence[StoredIncident], now: datetime) -> bool:
    """Return whether an incident that explains others is open, or was open within the last minutes."""
    return any(
        KINDS[each.incident.kind].delays_delivery
        and (each.incident.resolved_at is None or now - each.incident.resolved_at < _SILENT_AFTERWARDS)
        for each in stored
    )
