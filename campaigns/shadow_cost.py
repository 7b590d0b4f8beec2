"""What a shadow and the match quality of a destination cost the API process, in CPU time.

The API runs in this process with a real Postgres, and gets posts of 100 events in turns: without a shadow,
with one of 10 % and of 100 %. The median ratio of the turns says what a shadow costs. No worker runs.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final

import httpx

from app.processes import api
from app.processes.resources import open_resources
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.processes import ADMIN
from tests.pipeline.world import MAPPING, World, event, settings_of

POST: Final = 100  # events
DRAFT: Final = {
    **MAPPING,
    "fields": {
        **MAPPING["fields"],
        "phone": "user.phone",
        "value": {"path": "event.total", "on_error": "omit"},
    },
    "custom_data": ["event.total"],
}


class Cost:
    """Posts events to a destination, and measures the CPU time of this process."""

    def __init__(self, world: World, client: httpx.AsyncClient) -> None:
        self._world, self._client, self._number = world, client, 0
        self.destination = self.mapping = ""

    async def open(self) -> None:
        self.destination = await self._world.destination()
        found = await self._client.get(f"/destinations/{self.destination}/mappings")
        self.mapping = found.json()["items"][0]["id"]
        changed = await self._client.patch(f"{self.path}", json=DRAFT)
        assert changed.status_code == 200, changed.text

    @property
    def path(self) -> str:
        return f"/destinations/{self.destination}/mappings/{self.mapping}"

    async def cpu_of(self, work: Callable[[], Awaitable[Any]]) -> float:
        before = time.process_time()
        await work()
        return time.process_time() - before

    async def post(self, posts: int) -> None:
        """Post events, and wait until what follows a response is done."""
        for _ in range(posts):
            numbers = range(self._number, self._number + POST)
            self._number += POST
            body = [event(number) for number in numbers]
            answer = await self._client.post(
                "/events", json=body, params={"destination_id": self.destination}
            )
            assert answer.status_code == 202, answer.text[:500]
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.2)

    async def shadow(self, share: float) -> None:
        if share:
            started = await self._client.post(f"{self.path}/shadow", json={"share": share, "minutes": 60})
            assert started.status_code == 200, started.text
        else:
            await self._client.delete(f"{self.path}/shadow")
        await asyncio.sleep(1.2)  # every process reads it


async def _measure(url: str, rounds: int, posts: int) -> None:
    settings = settings_of(url, bootstrap_admin_key=ADMIN)
    async with (
        open_resources(settings, role="test", pool_size=10) as resources,
        api.build_application(resources) as application,
    ):
        world = World(resources, FakeAmazon(), application.state.context.intake, url)
        headers = {"X-Api-Key": ADMIN}
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            cost = Cost(world, client)
            await cost.open()
            await cost.post(posts)  # compiled, sampled, warm
            shares = (0.0, 0.1, 1.0)
            spent: dict[float, list[float]] = {share: [] for share in shares}
            for turn in range(rounds):
                for share in shares[:: 1 if turn % 2 else -1]:
                    await cost.shadow(share)
                    spent[share].append(await cost.cpu_of(lambda: cost.post(posts)))
            plain = spent[0.0]
            events = posts * POST
            each = median(plain) / events * 1e6
            print(f"{rounds} rounds of {events:,} events; {each:.1f} µs an event without a shadow")
            for share in shares[1:]:
                ratios = [with_ / without for with_, without in zip(spent[share], plain, strict=True)]
                spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
                print(f"shadow of {share:.0%}: {median(ratios):.3f} times the CPU ({spread})")
            counts = (await client.get(f"{cost.path}/shadow")).json()
            print("last shadow:", {name: counts[name] for name in ("events", "same", "different", "skipped")})
            quality = f"/destinations/{cost.destination}/match-quality"
            times = [await cost.cpu_of(lambda: client.get(quality)) for _ in range(5)]
            found = (await client.get(quality)).json()["items"][0]
            cpu = f"{median(times) * 1e3:.0f} ms of CPU"
            print(f"match quality with what-if of {found['events']:,} samples: {cpu}")


def main() -> int:
    from tests.databases import TEMPLATE, ThrowawayCluster

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--posts", type=int, default=40, help="of 100 events, in each turn")
    options = parser.parse_args()
    cluster = ThrowawayCluster()
    try:
        asyncio.run(_measure(cluster.address(TEMPLATE), options.rounds, options.posts))
    finally:
        cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
