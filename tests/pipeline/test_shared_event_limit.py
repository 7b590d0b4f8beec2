"""The limit on events a second of an organisation that posts to three API processes.

A post has two events. The load comes on a fixed schedule and does not wait for `Retry-After`.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from dev.postgres.postmaster import free_port
from tests.pipeline.processes import Operator, Product, running_product
from tests.pipeline.test_no_connection import OPEN, SILENT, unwilling
from tests.pipeline.world import event

LIMIT = 40  # events a second
OFFERED = 60  # to each API process
MAX_OPEN_POSTS = 20  # for each API process; httpx keeps 100 connections
OUTAGE_S, MEASURED_S = 8.0, 10.0
WARM_S = 5.0  # the first burst is made up for

pytestmark = pytest.mark.process


async def limited(platform: Operator) -> Operator:
    """Create an organisation with the limit; return somebody who has a key of it."""
    made = {"id": "acme", "name": "acme", "limits": {"events_per_second": LIMIT}}
    await platform.call("POST", "/organisations", made, status=201)
    scopes = ["events:write", "events:read", "destinations:read", "destinations:write"]
    key = await platform.call(
        "POST", "/keys?organisation_id=acme", {"name": "acme", "scopes": scopes}, status=201
    )
    return replace(platform, key=key["key"])


@dataclass
class Load:
    """Posts to each API process at a rate of its own schedule; `responses` are (time, status)."""

    sender: Operator
    destination: str
    responses: list[tuple[float, int]] = field(default_factory=list)

    async def run(self, number: int, port: int) -> None:
        due = time.monotonic()
        posts: set[asyncio.Task[None]] = set()
        try:
            while True:
                posts = {post for post in posts if not post.done()}
                # More would keep this process busy, and with it the proxy of the database.
                if len(posts) < MAX_OPEN_POSTS:
                    posts.add(asyncio.create_task(self._post(port, number)))
                number += 2
                due += 2 / OFFERED
                await asyncio.sleep(max(0, due - time.monotonic()))
        finally:
            for post in posts:
                post.cancel()

    async def _post(self, port: int, number: int) -> None:
        events = [event(number + n, destination_id=self.destination) for n in range(2)]
        address, headers = f"http://127.0.0.1:{port}/events", {"X-Api-Key": self.sender.key}
        try:
            response = await self.sender.client.post(address, json={"events": events}, headers=headers)
        except httpx.HTTPError:
            return
        assert response.status_code in (202, 429, 503), response.text
        self.responses.append((time.monotonic(), response.status_code))

    def accepted(self, since: float, seconds: float) -> float:
        """Return the accepted events a second in a time range."""
        times = [at for at, status in self.responses if status == 202]
        return 2 * sum(since <= at < since + seconds for at in times) / seconds


async def test_after_an_outage_events_are_accepted_immediately(database_url: str, tmp_path: Path) -> None:
    """Posts are answered meanwhile. What could not be stored does not count in all processes afterwards."""
    async with unwilling(database_url) as (postgres, address):
        product = Product(address, tmp_path / "everything.log")
        others = [free_port(), free_port()]
        for port in others:
            product.start(f"api-{port}", "serve", PORT=str(port), SHUTDOWN_DELAY_SECONDS="0")
        async with running_product(product) as platform:
            product.ready(*(f"http://127.0.0.1:{port}/health/live" for port in others))
            sender = await limited(platform)
            await sender.advertisers("7100000001")
            load = Load(sender, await sender.destination("7100000001"))
            ports = (product.api_port, *others)
            tasks = [asyncio.create_task(load.run(n * 1_000_000, port)) for n, port in enumerate(ports)]
            await asyncio.sleep(WARM_S)
            began = time.monotonic()
            # All connections are cut, and new ones hang for a time.
            postgres.mode = SILENT
            postgres.reset()
            await asyncio.sleep(OUTAGE_S)
            postgres.mode = OPEN
            postgres.reset()
            after = time.monotonic()
            answers = [status for at, status in load.responses if at >= began + 2]
            assert set(answers) <= {429, 503}
            # In bursts, because requests that need the same row wait for one query.
            assert len(answers) > 60
            await asyncio.sleep(3 + MEASURED_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert 0.9 * LIMIT <= load.accepted(after + 3, MEASURED_S) <= 1.1 * LIMIT
