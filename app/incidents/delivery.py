"""Deliver the messages of the outbox. Each channel has its own loop, so a failing channel delays no other."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

import asyncpg

from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.notifications.channels import Channel
from app.domain.outcomes.settle import RetryPolicy
from app.store.incidents import notifications
from app.telemetry import Telemetry
from app.webhook_client import WebhookClient

if TYPE_CHECKING:
    from app.mail_client import MailClient

LEASE: Final = timedelta(seconds=60)  # longer than the maximum duration of a delivery
FAILED_AFTER: Final = timedelta(hours=24)
_WAITS: Final = RetryPolicy(first_wait=5.0, longest_wait=900.0)


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

    async def close(self) -> None:
        """Close the connections of the webhooks."""
        await self.webhooks.aclose()


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
        """Deliver a due message. Return True if the channel works and another message may be due."""
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
