"""The limit on events a second of an organisation that posts to three API processes.

A post has two events. The load comes on a fixed schedule and does not wait for `Retry-After`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from dev.postgres.postmaster import free_port
from tests.pipeline.processes import Operator, Product
from tests.pipeline.test_no_connection import OPEN, SILENT, StalledPostgres
from tests.pipeline.world import event

LIMIT = 40  # events a second
MAX_OPEN_POSTS = 20  # for each API process; httpx keeps 100 connections
WARM_S = 5.0  # the first burst is made up for

pytestmark = pytest.mark.process


@dataclass
class Tenant(Operator):
    """A user of one organisation."""

    key: str = ""

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await self.client.request(
            method, self.product.api + path, json=body, headers={"X-Api-Key": self.key}
        )
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def send(self, api: str, *events: dict[str, Any]) -> httpx.Response:
        """Post a batch once to one API process."""
        return await self.client.post(
            f"{api}/events", json={"events": list(events)}, headers={"X-Api-Key": self.key}
        )


async def tenant(product: Product, client: httpx.AsyncClient, name: str, **limits: int) -> Tenant:
    """Create an organisation with a key."""
    platform = Operator(product, client)
    await platform.call("POST", "/organisations", {"id": name, "name": name, "limits": limits}, status=201)
    scopes = ["events:write", "events:read", "destinations:read", "destinations:write"]
    made = await platform.call(
        "POST", f"/keys?organisation_id={name}", {"name": name, "scopes": scopes}, status=201
    )
    return Tenant(product, client, made["key"])


async def destination_of(owner: Tenant, advertiser: str) -> str:
    await owner.client.post(
        f"{owner.product.amazon}/_sandbox/advertisers",
        json={"advertisers": [{"advertiser_id": advertiser, "region": "NA", "name": advertiser}]},
    )
    return await owner.destination(advertiser)


@dataclass
class Load:
    """Posts to each API process at a rate of its own; `responses` are (time, process, status)."""

    sender: Tenant
    destination: str
    rates: dict[str, float]  # events a second by process
    responses: list[tuple[float, str, int]] = field(default_factory=list)

    async def run(self, name: str) -> None:
        number, due = list(self.rates).index(name) * 1_000_000, time.monotonic()
        api = f"http://127.0.0.1:{self.sender.product.ports[name]}"
        posts: set[asyncio.Task[None]] = set()
        try:
            while True:
                posts = {post for post in posts if not post.done()}
                # More would keep this process busy, and with it the proxy of the database.
                if len(posts) < MAX_OPEN_POSTS:
                    posts.add(asyncio.create_task(self._post(api, name, number)))
                number += 2
                due += 2 / self.rates[name]
                await asyncio.sleep(max(0, due - time.monotonic()))
        finally:
            for post in posts:
                post.cancel()

    async def _post(self, api: str, name: str, number: int) -> None:
        try:
            events = [event(number + n, destination_id=self.destination) for n in range(2)]
            response = await self.sender.send(api, *events)
        except httpx.HTTPError:
            return
        assert response.status_code in (202, 429, 503), response.text
        self.responses.append((time.monotonic(), name, response.status_code))

    def accepted(self, since: float, seconds: float) -> float:
        """Return the accepted events a second in a time range."""
        times = [at for at, _, status in self.responses if status == 202]
        return 2 * sum(since <= at < since + seconds for at in times) / seconds


@dataclass
class Deployment:
    """Three API processes that reach their database through `postgres`."""

    product: Product
    postgres: StalledPostgres
    client: httpx.AsyncClient

    @asynccontextmanager
    async def load(self, **rates: float) -> AsyncIterator[Load]:
        """Post for an organisation with the limit during the block."""
        acme = await tenant(self.product, self.client, "acme", events_per_second=LIMIT)
        load = Load(acme, await destination_of(acme, "7100000001"), rates)
        tasks = [asyncio.create_task(load.run(name)) for name in rates]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def outage(self, seconds: float) -> None:
        """Cut all connections to the database, and let new ones hang for a time."""
        self.postgres.mode = SILENT
        self.postgres.cut()
        await asyncio.sleep(seconds)
        self.postgres.mode = OPEN
        self.postgres.cut()


@pytest_asyncio.fixture
async def deployment(database_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    parts = urlsplit(database_url)
    postgres = StalledPostgres((parts.hostname or "", parts.port or 0))
    port = await postgres.start()
    through = database_url.replace(f":{parts.port}/", f":{port}/") + "?sslmode=disable"
    product = Product(through, tmp_path / "everything.log")
    try:
        product.listener.close()
        product.ports = {"api-1": product.api_port, "api-2": free_port(), "api-3": free_port()}
        product.start("sandbox", "sandbox")
        for name, own in product.ports.items():
            product.start(name, "serve", PORT=str(own))
        addresses = [f"http://127.0.0.1:{own}/health/live" for own in product.ports.values()]
        await asyncio.to_thread(product.ready, *addresses, product.amazon + "/_sandbox/health")
        async with httpx.AsyncClient(timeout=40) as client:
            yield Deployment(product, postgres, client)
    finally:
        postgres.cut()
        await asyncio.to_thread(product.close)
        postgres.server.close()


async def test_after_an_outage_events_are_accepted_immediately(deployment: Deployment) -> None:
    """Posts are answered meanwhile. What could not be stored does not count in all processes afterwards."""
    async with deployment.load(**{"api-1": 60, "api-2": 60, "api-3": 60}) as load:
        await asyncio.sleep(WARM_S)
        began = time.monotonic()
        await deployment.outage(8)
        after = time.monotonic()
        answers = [status for at, _, status in load.responses if at >= began + 2]
        assert set(answers) <= {429, 503}
        # In bursts, because requests that need the same row wait for one query.
        assert len(answers) > 60
        await asyncio.sleep(13)
    assert 0.9 * LIMIT <= load.accepted(after + 3, 10) <= 1.1 * LIMIT
