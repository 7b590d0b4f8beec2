"""Use case: the notification channels of an organisation, with the results of their deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.admin.access import Caller
from app.admin.context import AppContext
from app.domain.notifications.channels import ChannelType
from app.store.incidents import notifications


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel without its address, which is a credential."""

    name: str
    type: ChannelType
    state: Literal["ok", "failing"]
    last_success_at: datetime | None
    last_error: str | None


async def list_channels(context: AppContext, caller: Caller) -> Sequence[ChannelStatus]:
    """Return the channels that the operator configured for the caller's organisation, by name."""
    async with context.pool.acquire() as connection:
        health = await notifications.channel_health(connection)
    ours = [channel for channel in context.channels if channel.organisation == caller.organisation]
    result = []
    for channel in sorted(ours, key=lambda channel: channel.key):
        known = health.get(channel.key, notifications.ChannelHealth())
        result.append(
            ChannelStatus(
                name=channel.name,
                type=channel.type,
                state="ok" if known.failing_since is None else "failing",
                last_success_at=known.last_success_at,
                last_error=known.last_error,
            )
        )
    return result
