"""Decide which message about an incident a channel gets now.

The decision compares the incident with the messages that the channel already got. So a restart sends no
message twice and loses none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState

SAME_MESSAGE_EVERY: Final = timedelta(minutes=10)
REMIND_EVERY: Final = timedelta(days=1)
MOST_MESSAGES: Final = 10  # per minute and channel; more incidents are sent as a digest
MOST_URGENT_DIGESTS: Final = 4  # per minute and channel, while critical incidents are due
MINUTE: Final = timedelta(minutes=1)
MOST_ITEMS: Final = 50  # per digest


class MessageType(StrEnum):
    OPENED = "incident.opened"
    RESOLVED = "incident.resolved"
    REMINDER = "incident.reminder"
    DIGEST = "incident.digest"


@dataclass(frozen=True, slots=True)
class Preference:
    """The notification settings of a destination. None stands for all channels, or for all kinds."""

    channels: frozenset[str] | None = None
    kinds: frozenset[Kind] | None = None
    min_severity: Severity = Severity.WARNING

    def includes(self, incident: Incident, channel: str) -> bool:
        """Return whether messages about an incident are sent to a channel."""
        kinds = {incident.kind, *incident.consequences}
        is_wanted = self.kinds is None or not self.kinds.isdisjoint(kinds)
        has_channel = self.channels is None or channel in self.channels
        return is_wanted and has_channel and incident.severity.rank >= self.min_severity.rank


@dataclass(frozen=True, slots=True)
class SentMessages:
    """The times at which a channel last got each type of message about one incident."""

    opened_at: datetime | None = None
    resolved_at: datetime | None = None
    reminded_at: datetime | None = None
    severity: Severity | None = None  # of the incident when the last `incident.opened` was sent

    @property
    def is_open(self) -> bool:
        """Whether the last message to the channel said that the incident is open."""
        if self.opened_at is None:
            return False
        return self.resolved_at is None or self.resolved_at < self.opened_at


def due_message(incident: Incident, sent: SentMessages, now: datetime, *, muted: bool) -> MessageType | None:
    """Return the type of the message that is due, or None.

    `muted` means that a person, a maintenance window or a problem of the service suppresses messages. The
    message that an incident opened is sent at the earliest ten minutes after the last message that it opened
    or resolved, unless the severity rises. The message that it resolved is sent at the earliest ten minutes
    after the last message that it resolved. So a problem that comes and goes causes few messages. An incident
    that was merged into another one sends none, because its problem goes on there.
    """
    if muted or incident.merged_into is not None:
        return None
    if not incident.is_open:
        waits = sent.resolved_at is not None and now - sent.resolved_at < SAME_MESSAGE_EVERY
        return MessageType.RESOLVED if sent.is_open and not waits else None
    if sent.severity is not None and incident.severity.rank > sent.severity.rank:
        return MessageType.OPENED
    if not sent.is_open:
        # An acknowledged incident needs no announcement.
        acknowledged = incident.state is IncidentState.ACKNOWLEDGED
        last = max(filter(None, (sent.opened_at, sent.resolved_at)), default=None)
        waits = last is not None and now - last < SAME_MESSAGE_EVERY
        return None if waits or acknowledged else MessageType.OPENED
    last = max(filter(None, (sent.opened_at, sent.reminded_at)))
    if incident.state is IncidentState.OPEN and now - last >= REMIND_EVERY:
        return MessageType.REMINDER
    return None


@dataclass(frozen=True, slots=True)
class ChannelLoad:
    """How many messages and digests were created for a channel within the last minute."""

    messages: int = 0
    digests: int = 0


class Batching(StrEnum):
    """How to send the due messages of a channel: one each, as one digest, or later."""

    SINGLE = "single"
    DIGEST = "digest"
    WAIT = "wait"


def batching(due: Sequence[object], load: ChannelLoad, *, urgent: bool) -> Batching:
    """Return how to send due messages. More than ten in a minute are sent as one digest a minute.

    With `urgent` (a critical incident is due), several digests a minute are sent.
    """
    if load.messages + len(due) <= MOST_MESSAGES:
        return Batching.SINGLE
    return Batching.DIGEST if load.digests < (MOST_URGENT_DIGESTS if urgent else 1) else Batching.WAIT
