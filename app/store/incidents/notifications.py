"""Notifications about incidents: an outbox of messages, and the health of the channels that send them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.incidents.kinds import Severity
from app.domain.notifications.channels import DeclaredChannel
from app.domain.notifications.policy import MINUTE, ChannelLoad, MessageType, SentMessages
from app.store import PipelineConnection
from app.store.rows import read_row

_KEEP_FINISHED = timedelta(hours=1)
_KEEP_UNSENT = timedelta(hours=25)  # no process has the channel, else the message had failed before
_DECLARED_FOR = timedelta(minutes=15)  # a restart of all processes takes less


async def sent(
    connection: PipelineConnection, incidents: Sequence[str]
) -> dict[tuple[str, str], SentMessages]:
    """Return which messages were sent about these incidents, by (incident, channel)."""
    rows = await connection.fetch(
        "SELECT incident, channel, opened_at, resolved_at, reminded_at, severity FROM incident_messages "
        "WHERE incident = ANY ($1::text[])",
        list(incidents),
    )
    return {(row["incident"], row["channel"]): read_row(SentMessages, row) for row in rows}


_MOMENTS: Mapping[MessageType, str] = {
    MessageType.OPENED: "opened_at",
    MessageType.RESOLVED: "resolved_at",
    MessageType.REMINDER: "reminded_at",
}


async def mark_sent(
    connection: PipelineConnection,
    message: MessageType,
    *,
    organisation: str,
    incident: str,
    channel: str,
    severity: Severity,
    now: datetime,
) -> None:
    """Record the time of a message about an incident to a channel.

    For a message about the opening of an incident, the severity is recorded too.
    """
    column = _MOMENTS[message]
    await connection.execute(
        f"""
        INSERT INTO incident_messages AS m (organisation_id, incident, channel, {column}, severity)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (incident, channel) DO UPDATE SET {column} = excluded.{column},
          severity = CASE WHEN $6 THEN excluded.severity ELSE m.severity END
        """,
        organisation,
        incident,
        channel,
        now,
        severity.value,
        message is MessageType.OPENED,
    )


async def loads(connection: PipelineConnection) -> dict[tuple[str, str], ChannelLoad]:
    """Return the numbers of messages created within the last minute, by (organisation, channel)."""
    rows = await connection.fetch(
        "SELECT organisation_id, channel, count(*) AS messages, "
        "  count(*) FILTER (WHERE type = 'incident.digest') AS digests "
        "FROM notifications WHERE created_at > now() - $1::interval GROUP BY 1, 2",
        MINUTE,
    )
    return {
        (row["organisation_id"], row["channel"]): ChannelLoad(row["messages"], row["digests"]) for row in rows
    }


async def enqueue(
    connection: PipelineConnection,
    *,
    id: str,
    organisation: str,
    channel: str,
    type: MessageType,
    incidents: Sequence[str],
    body: bytes,
) -> None:
    """Write a message about these incidents to the outbox."""
    await connection.execute(
        "INSERT INTO notifications (organisation_id, id, channel, type, incidents, body) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        organisation,
        id,
        channel,
        type.value,
        list(incidents),
        body,
    )


async def drop_unsent(
    connection: PipelineConnection,
    organisation: str,
    channel: str,
    incidents: Sequence[str],
    *,
    forget: bool = False,
) -> None:
    """Delete the messages that these incidents are open, unless a process sends them now.

    With `forget`, the channel gets the message when such an incident opens again.
    """
    await connection.execute(
        """
        WITH dropped AS (
          -- Messages that no process is sending now.
          DELETE FROM notifications WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL
            AND type = ANY ($3::text[]) AND incidents <@ $4::text[]
            AND (leased_until IS NULL OR leased_until < now())
          RETURNING type, incidents)
        UPDATE incident_messages m SET opened_at = NULL, severity = NULL FROM dropped d
        WHERE $5 AND d.type = 'incident.opened' AND m.channel = $2 AND m.incident = ANY (d.incidents)
        """,
        organisation,
        channel,
        [MessageType.OPENED.value, MessageType.REMINDER.value],
        list(incidents),
        forget,
    )


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
    row = await connection.fetchrow(
        """
        UPDATE notifications SET leased_until = now() + $3::interval, tries = tries + 1
        WHERE id = (SELECT id FROM notifications n
          WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL AND due_at <= now()
            AND (leased_until IS NULL OR leased_until < now())
            AND NOT EXISTS (SELECT FROM notifications earlier
              WHERE earlier.organisation_id = $1 AND earlier.channel = $2 AND earlier.finished_at IS NULL
                AND earlier.number < n.number AND earlier.incidents && n.incidents)
          ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, body, tries, now() - created_at AS age
        """,
        organisation,
        channel,
        lease,
    )
    return None if row is None else read_row(DueNotification, row)


async def finish(connection: PipelineConnection, id: str) -> None:
    """Mark a message as finished: it was delivered or failed permanently."""
    await connection.execute(
        "UPDATE notifications SET finished_at = now(), leased_until = NULL WHERE id = $1", id
    )


async def reschedule(connection: PipelineConnection, id: str, *, wait: timedelta) -> None:
    """Make a message due again after `wait`."""
    await connection.execute(
        "UPDATE notifications SET due_at = now() + $2::interval, leased_until = NULL WHERE id = $1", id, wait
    )


async def forget(connection: PipelineConnection) -> None:
    """Delete finished messages after an hour, and messages for which no process has a channel."""
    await connection.execute(
        "DELETE FROM notifications WHERE finished_at < now() - $1::interval "
        "OR created_at < now() - $2::interval",
        _KEEP_FINISHED,
        _KEEP_UNSENT,
    )


async def channel_succeeded(connection: PipelineConnection, organisation: str, name: str) -> None:
    """Record that a channel accepted a message. If it failed before, its waiting messages become due."""
    await connection.execute(
        """
        UPDATE notifications SET due_at = now()
        WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL AND due_at > now()
          AND EXISTS (SELECT FROM notification_channels
            WHERE organisation_id = $1 AND name = $2 AND failing_since IS NOT NULL)
        """,
        organisation,
        name,
    )
    await connection.execute(
        """
        INSERT INTO notification_channels (organisation_id, name, last_success_at) VALUES ($1, $2, now())
        ON CONFLICT (organisation_id, name)
        DO UPDATE SET last_success_at = now(), failing_since = NULL, last_error = NULL
        """,
        organisation,
        name,
    )


async def channel_failed(connection: PipelineConnection, organisation: str, name: str, error: str) -> None:
    """Record that a channel did not accept a message. `error` is a code or a status, never an address."""
    await connection.execute(
        """
        INSERT INTO notification_channels (organisation_id, name, failing_since, last_error)
        VALUES ($1, $2, now(), $3)
        ON CONFLICT (organisation_id, name) DO UPDATE
        SET failing_since = coalesce(notification_channels.failing_since, now()),
          last_error = excluded.last_error
        """,
        organisation,
        name,
        error,
    )


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """A channel's last success. A failing channel also has the start of its failure and the last error."""

    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    last_error: str | None = None


async def channel_health(connection: PipelineConnection) -> dict[str, ChannelHealth]:
    """Return the health of the acting organisation's channels by name. An unused channel has no entry."""
    rows = await connection.fetch(
        "SELECT name, last_success_at, failing_since, last_error FROM notification_channels "
        "WHERE organisation_id = acting_organisation()"
    )
    return {row["name"]: read_row(ChannelHealth, row) for row in rows}


async def declare(connection: PipelineConnection, channels: Sequence[tuple[str, str]]) -> None:
    """Record that a process has these channels, given by (organisation, name)."""
    await connection.execute(
        """
        INSERT INTO notification_channels (organisation_id, name, declared_at)
        SELECT o.id, c.name, now() FROM unnest($1::text[], $2::text[]) AS c (organisation, name)
        JOIN organisations o ON o.id = c.organisation
        -- In a fixed order, because several processes lock these rows at the same time.
        ORDER BY o.id, c.name
        ON CONFLICT (organisation_id, name) DO UPDATE SET declared_at = now()
        """,
        [organisation for organisation, _ in channels],
        [name for _, name in channels],
    )


async def declared(connection: PipelineConnection) -> list[DeclaredChannel]:
    """Return the channels that a running process has."""
    rows = await connection.fetch(
        "SELECT organisation_id AS organisation, name AS key FROM notification_channels "
        "WHERE declared_at > now() - $1::interval ORDER BY 1, 2",
        _DECLARED_FOR,
    )
    return [read_row(DeclaredChannel, row) for row in rows]


async def failing_channels(connection: PipelineConnection) -> dict[tuple[str, str], datetime]:
    """Return since when each failing channel fails, by (organisation, name)."""
    rows = await connection.fetch(
        "SELECT organisation_id, name, failing_since FROM notification_channels "
        "WHERE failing_since IS NOT NULL"
    )
    return {(row["organisation_id"], row["name"]): row["failing_since"] for row in rows}
