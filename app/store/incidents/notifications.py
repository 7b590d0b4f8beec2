"""Notifications about incidents: an outbox of messages, and the health of the channels that send them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.notifications import MINUTE, ChannelLoad, DeclaredChannel, MessageType, SentMessages
from app.store import PipelineConnection, fetch_row, fetch_rows, read_row, read_sql, transposed
from app.store.incidents import StoredIncident

SQL: Final = read_sql(__file__)

_KEEP_FINISHED = timedelta(hours=1)
_KEEP_UNSENT = timedelta(hours=25)  # no process has the channel, else the message had failed before
_DECLARED_FOR = timedelta(minutes=15)  # a restart of all processes takes less


async def sent(
    connection: PipelineConnection, incidents: Sequence[str]
) -> dict[tuple[str, str], SentMessages]:
    """Return which messages were sent about these incidents, by (incident, channel)."""
    rows = await connection.fetch(SQL["sent"], list(incidents))
    return {(row["incident"], row["channel"]): read_row(SentMessages, row) for row in rows}


async def mark_sent(
    connection: PipelineConnection,
    channel: DeclaredChannel,
    message: MessageType,
    about: StoredIncident,
    *,
    now: datetime,
) -> None:
    """Record the time of a message about an incident to a channel.

    For a message about the opening of an incident, the severity is recorded too.
    """
    key = (channel.organisation, about.id, channel.key)
    severity = about.incident.severity.value
    await connection.execute(SQL["mark_sent"], *key, message.value, now, severity)


async def loads(connection: PipelineConnection) -> dict[tuple[str, str], ChannelLoad]:
    """Return the numbers of messages created within the last minute, by (organisation, channel)."""
    rows = await connection.fetch(SQL["loads"], MINUTE)
    return {(row["organisation_id"], row["channel"]): read_row(ChannelLoad, row) for row in rows}


async def enqueue(
    connection: PipelineConnection,
    channel: DeclaredChannel,
    type: MessageType,
    incidents: Sequence[str],
    body: bytes,
    *,
    id: str,
) -> None:
    """Write the message `id` about these incidents to the outbox of a channel."""
    await connection.execute(
        SQL["enqueue"], channel.organisation, id, channel.key, type.value, list(incidents), body
    )


async def drop_unsent(
    connection: PipelineConnection, channel: DeclaredChannel, ids: Sequence[str], *, forget: bool = False
) -> None:
    """Delete the messages that the incidents with these ids are open, unless a process sends them now.

    With `forget`, the channel gets the message when such an incident opens again.
    """
    types = [MessageType.OPENED.value, MessageType.REMINDER.value]
    await connection.execute(SQL["drop_unsent"], channel.organisation, channel.key, types, list(ids), forget)


@dataclass(frozen=True, slots=True)
class DueNotification:
    """A message to send now. `age` is the time since it was written to the outbox."""

    id: str
    body: bytes
    tries: int
    age: timedelta


async def claim(
    connection: PipelineConnection, organisation: str, channel: str, *, lease: timedelta
) -> DueNotification | None:
    """Lease the oldest due message of a channel for `lease`, or return None if none is due.

    A message waits for the earlier messages about the same incident.
    """
    return await fetch_row(connection, DueNotification, SQL["claim"], organisation, channel, lease)


async def finish(connection: PipelineConnection, id: str) -> None:
    """Mark a message as finished: it was delivered or failed permanently."""
    await connection.execute(SQL["finish"], id)


async def reschedule(connection: PipelineConnection, id: str, *, wait: timedelta) -> None:
    """Make a message due again after `wait`."""
    await connection.execute(SQL["reschedule"], id, wait)


async def forget(connection: PipelineConnection) -> None:
    """Delete finished messages after an hour, and messages for which no process has a channel."""
    await connection.execute(SQL["forget"], _KEEP_FINISHED, _KEEP_UNSENT)


async def channel_succeeded(connection: PipelineConnection, organisation: str, name: str) -> None:
    """Record that a channel accepted a message. If it failed before, its waiting messages become due."""
    await connection.execute(SQL["make_waiting_due"], organisation, name)
    await connection.execute(SQL["channel_succeeded"], organisation, name)


async def channel_failed(connection: PipelineConnection, organisation: str, name: str, error: str) -> None:
    """Record that a channel did not accept a message. `error` is a code or a status, never an address."""
    await connection.execute(SQL["channel_failed"], organisation, name, error)


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """A channel's last success. A failing channel also has the start of its failure and the last error."""

    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    last_error: str | None = None


async def channel_health(connection: PipelineConnection) -> dict[str, ChannelHealth]:
    """Return the health of the acting organisation's channels by name. An unused channel has no entry."""
    rows = await connection.fetch(SQL["channel_health"])
    return {row["name"]: read_row(ChannelHealth, row) for row in rows}


async def declare(connection: PipelineConnection, channels: Sequence[tuple[str, str]]) -> None:
    """Record that a process has these channels, given by (organisation, name)."""
    await connection.execute(SQL["declare"], *transposed(channels, 2))


async def declared(connection: PipelineConnection) -> list[DeclaredChannel]:
    """Return the channels that a running process has."""
    return await fetch_rows(connection, DeclaredChannel, SQL["declared"], _DECLARED_FOR)


async def failing_channels(connection: PipelineConnection) -> dict[tuple[str, str], datetime]:
    """Return since when each failing channel fails, by (organisation, name)."""
    rows = await connection.fetch(SQL["failing_channels"])
    return {(row["organisation_id"], row["name"]): row["failing_since"] for row in rows}
