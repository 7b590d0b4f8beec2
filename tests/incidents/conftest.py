"""A pipeline with an incident monitor, and a receiver for its messages."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.notifications import Channel, read_webhooks
from app.incidents.monitor import IncidentMonitor
from app.incidents.observation import Observer
from app.incidents.outbox import ChannelClients, MessagePlanner, NotificationDelivery
from app.webhook_client import WebhookClient
from tests.clock import Clock
from tests.incidents.receivers import SECRET, WebhookReceiver, webhook_receiver
from tests.pipeline.conftest import service
from tests.pipeline.service import Service
from tests.pipeline.world import World, make_world, stamp

PUBLIC = "http://ours.test"


@dataclass
class Watch:
    """A world whose incidents are computed when a test says so, by a clock that a test moves."""

    world: World
    receiver: WebhookReceiver
    monitor: IncidentMonitor
    delivery: NotificationDelivery
    clients: ChannelClients
    clock: Clock

    @classmethod
    def of(cls, world: World, receiver: WebhookReceiver, *, of_api: bool = False) -> "Watch":
        """Return a monitor in a worker, or with `of_api` in an API process, with the rights of its role."""
        resources = world.receiving if of_api else world.delivering
        assert resources is not None
        clock = Clock()
        channels = read_webhooks(f"ops={receiver.url}", f"ops={SECRET}")
        monitor = IncidentMonitor(
            owner=secrets.token_hex(4),
            connect=resources.connect,
            observer=Observer(timedelta(days=21), clock),
            planner=MessagePlanner(public_url=PUBLIC),
            channels=channels,
            monotonic=time.monotonic,
            telemetry=world.resources.telemetry,
            retention=timedelta(days=90),
        )
        clients = ChannelClients(WebhookClient(now=world.resources.clock.now), None)
        delivery = NotificationDelivery(
            channels[0],
            pool=resources.pool,
            client=clients,
            jitter=lambda: 0.5,
            telemetry=world.resources.telemetry,
        )
        return cls(world, receiver, monitor, delivery, clients, clock)

    async def tick(self) -> None:
        """Compute once and deliver."""
        await self.monitor.run()
        await self.delivery.run()

    def add(self, channel: Channel) -> NotificationDelivery:
        """Configure one more channel, as the operator does; return what delivers its messages."""
        self.monitor.channels = [*self.monitor.channels, channel]
        return replace(self.delivery, channel=channel)

    def add_webhook(self, name: str, receiver: WebhookReceiver) -> NotificationDelivery:
        """Add a channel to a receiver."""
        (channel,) = read_webhooks(f"{name}={receiver.url}", f"{name}={SECRET}")
        return self.add(channel)

    async def incidents(self) -> dict[str, dict[str, Any]]:
        """Return the newest incident of each kind."""
        rows = await self.world.fetch("SELECT * FROM incidents ORDER BY number")
        return {row["kind"]: dict(row) for row in rows}

    async def until_open(self, kind: str) -> dict[str, Any]:
        """Tick until a kind is open; fail after the time that the interface allows."""
        until = time.monotonic() + 15
        while True:
            await self.tick()
            found = (await self.incidents()).get(kind)
            if found is not None and found["state"] != "resolved":
                return found
            assert time.monotonic() < until, f"{kind} is not open; {await self.incidents()}"
            await asyncio.sleep(0.2)

    async def let_pass(self, seconds: float) -> None:
        """Move everything that was observed into the past."""
        self.clock.now += seconds
        span = timedelta(seconds=seconds)
        await self.world.fetch(
            "UPDATE incidents SET opened_at = opened_at - $1::interval, "
            "last_seen_at = last_seen_at - $1::interval, resolved_at = resolved_at - $1::interval",
            span,
        )
        await self.world.fetch(
            "UPDATE incident_messages SET opened_at = opened_at - $1::interval, "
            "resolved_at = resolved_at - $1::interval, reminded_at = reminded_at - $1::interval",
            span,
        )
        await self.world.fetch("UPDATE notifications SET created_at = created_at - $1::interval", span)
        await self.world.fetch("UPDATE intake_steps SET at = at - $1::interval", span)

    async def resolved(self, kind: str) -> dict[str, Any]:
        """Let the quiet time pass; return the incident, which must be resolved."""
        await self.let_pass(31)
        await self.tick()
        found = (await self.incidents())[kind]
        assert found["state"] == "resolved", found
        return found

    async def close(self) -> None:
        await self.monitor.leave()
        await self.clients.webhooks.aclose()


@pytest.fixture
async def watch(database_url: str) -> AsyncIterator[Watch]:
    """A world with a monitor and a receiver that takes everything."""
    async with make_world(database_url, with_roles=True) as world, webhook_receiver() as receiver:
        made = Watch.of(world, receiver, of_api=True)
        yield made
        await made.close()


@pytest.fixture
async def watched(watch: Watch) -> str:
    """The id of a destination that the monitor watches."""
    return await watch.world.destination()


@pytest.fixture
def world(service: Service) -> World:
    """The pipeline behind the API."""
    return service.world


@pytest.fixture
async def dst(world: World) -> str:
    """The id of a destination that is connected and has a mapping."""
    return await world.destination()


__all__ = ["Service", "Watch", "service", "stamp"]
