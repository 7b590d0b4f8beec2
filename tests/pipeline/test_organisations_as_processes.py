"""Organisations on two API processes and two workers: a suspension under load."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from dev.postgres.postmaster import free_port
from tests.pipeline.processes import Operator, Product
from tests.pipeline.test_processes import sandbox_events
from tests.pipeline.world import event, eventually


@dataclass
class Tenant(Operator):
    """A user of one organisation. `apis` are the addresses of the API processes."""

    key: str = ""
    apis: tuple[str, ...] = ()

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


@pytest_asyncio.fixture
async def product(database_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    """Two API processes, each on a port of its own, two workers and the sandbox."""
    made = Product(database_url, tmp_path / "everything.log")
    try:
        made.listener.close()
        made.ports = {"api-1": made.api_port, "api-2": free_port()}
        made.start("sandbox", "sandbox")
        for name, port in made.ports.items():
            made.start(name, "serve", PORT=str(port))
        made.work("worker-1")
        made.work("worker-2")
        addresses = [f"http://127.0.0.1:{port}/health/live" for port in made.ports.values()]
        await asyncio.to_thread(made.ready, *addresses, made.amazon + "/_sandbox/health")
        yield made
    finally:
        await asyncio.to_thread(made.close)


async def tenant(product: Product, client: httpx.AsyncClient, name: str, **limits: int) -> Tenant:
    """Create an organisation with a key."""
    platform = Operator(product, client)
    await platform.call("POST", "/organisations", {"id": name, "name": name, "limits": limits}, status=201)
    scopes = ["events:write", "events:read", "destinations:read", "destinations:write"]
    made = await platform.call(
        "POST", f"/keys?organisation_id={name}", {"name": name, "scopes": scopes}, status=201
    )
    apis = tuple(f"http://127.0.0.1:{port}" for port in product.ports.values())
    return Tenant(product, client, made["key"], apis)


async def destination_of(owner: Tenant, advertiser: str) -> str:
    await owner.client.post(
        f"{owner.product.amazon}/_sandbox/advertisers",
        json={"advertisers": [{"advertiser_id": advertiser, "region": "NA", "name": advertiser}]},
    )
    return await owner.destination(advertiser)


async def test_suspended_under_load_and_resumed_every_accepted_event_is_delivered_once(
    product: Product,
) -> None:
    """Over HTTP, while both API processes receive events and both workers send.

    While it is suspended, nothing of it is accepted or sent, and another organisation goes on.
    """
    async with httpx.AsyncClient(timeout=30) as client:
        acme, beta = await tenant(product, client, "acme"), await tenant(product, client, "beta")
        platform = Operator(product, client)
        # Several destinations, so that both workers send.
        mine = [await destination_of(acme, str(7_200_000_000 + n)) for n in range(4)]
        theirs = await destination_of(beta, "7300000000")
        accepted: set[str] = set()
        statuses: Counter[int] = Counter()
        done = asyncio.Event()

        async def load(sender: Tenant, api: str, destinations: list[str], seed: int) -> None:
            number = seed
            while not done.is_set():
                destination = destinations[number % len(destinations)]
                answer = await sender.send(api, event(number, destination_id=destination))
                if sender is acme:
                    statuses[answer.status_code] += 1
                assert answer.status_code in (202, 403), answer.text
                if answer.status_code == 202:
                    accepted.add(answer.json()["results"][0]["event_id"])
                number += 1
                await asyncio.sleep(0.005)

        loads = [
            asyncio.create_task(load(sender, api, destinations, 100_000 * (2 * n + m)))
            for n, (sender, destinations) in enumerate(((acme, mine), (beta, [theirs])))
            for m, api in enumerate(acme.apis)
        ]

        async def delivered(owner: Tenant, destinations: list[str]) -> int:
            counts = [await owner.counts(one) for one in destinations]
            return sum(each["delivered"] for each in counts)

        await eventually(lambda: _at_least(statuses, 202, 200), seconds=30)
        await platform.call("POST", "/organisations/acme/suspend")
        await eventually(lambda: _at_least(statuses, 403, 20), seconds=10)

        async def stands_still() -> bool:
            """Whether nothing of it is accepted or sent while a hundred events of another one are."""
            others = await delivered(beta, [theirs])
            before = (statuses[202], await delivered(acme, mine))

            async def others_go_on() -> bool:
                return await delivered(beta, [theirs]) >= others + 100

            await eventually(others_go_on, seconds=60)
            return (statuses[202], await delivered(acme, mine)) == before

        # Requests in flight end first, and each process learns of it.
        await eventually(stands_still, seconds=5)
        assert any([(await acme.counts(one))["held"] for one in mine])
        taken = statuses[202]
        assert await stands_still()
        await platform.call("POST", "/organisations/acme/resume")
        await eventually(lambda: _at_least(statuses, 202, taken + 100), seconds=15)
        done.set()
        await asyncio.gather(*loads)

        async def all_delivered() -> bool:
            return await delivered(acme, mine) + await delivered(beta, [theirs]) == len(accepted)

        await eventually(all_delivered, seconds=60, every=0.2)
        arrived = await sandbox_events(platform)
        assert {item["times"] for item in arrived} == {1}
        assert {item["event_id"].split(":", 1)[1] for item in arrived} == accepted
        assert len(arrived) == len(accepted)


async def _at_least(statuses: "Counter[int]", status: int, number: int) -> bool:
    return statuses[status] >= number
