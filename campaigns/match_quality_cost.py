"""What the figures of match quality and a shadow cost the API process, in CPU time.

The API runs in this process with a real Postgres, and gets posts of purchases in turns: without samples,
what-if, drift and amounts; with them; and with a shadow of 10 % or 100 % of the events beside. The median
ratio of neighbouring turns says what each costs. No worker runs. What happens once a second happens once a
second of CPU time here, as on a process that uses one core, so that other work on the machine does not count.
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from types import SimpleNamespace
from typing import Any, Final

import httpx

from app.ingest.schema_sampler import SchemaSampler
from app.ingest.shadows import ShadowRunner
from app.processes import gc_tuning
from campaigns.running import throwaway_database
from tests.pipeline.rows import MAPPING
from tests.pipeline.service import serving
from tests.pipeline.world import World, event

BARE: Final = "without match quality"
PLAIN: Final = "with match quality"
SHADOWS: Final = {"a shadow of 10 %": 0.1, "a shadow of 100 %": 1.0}
PURCHASE: Final = {**MAPPING, "event_type": "OFF_AMAZON_PURCHASES", "event_name": "Sale"}
# Changes every event, so that each comparison is the longest one.
DRAFT: Final = {
    **PURCHASE,
    "fields": {
        **MAPPING["fields"],
        "phone": "user.phone",
        "value": {"path": "event.total", "on_error": "omit"},
    },
    "custom_data": ["event.total"],
}


class Cost:
    """Posts events to a destination, and measures the CPU time of this process."""

    def __init__(self, world: World, client: httpx.AsyncClient, size: int) -> None:
        self._world, self._client, self._size, self._number = world, client, size, 0
        self.destination = self.mapping = ""
        self._recorders = (world.intake.sampler, world.intake.repeated)

    async def open(self) -> None:
        self.destination = await self._world.destination(mapping=PURCHASE)
        found = await self._client.get(f"/destinations/{self.destination}/mappings")
        self.mapping = found.json()["items"][0]["id"]
        changed = await self._client.patch(f"{self.path}", json=DRAFT)
        assert changed.status_code == 200, changed.text

    @property
    def path(self) -> str:
        return f"/destinations/{self.destination}/mappings/{self.mapping}"

    @staticmethod
    async def cpu_of(work: Callable[[], Awaitable[Any]]) -> float:
        before = time.process_time()
        await work()
        return time.process_time() - before

    async def turn(self, mode: str, posts: int) -> float:
        """Return the CPU time of posts, with what follows the responses."""
        intake = self._world.intake
        nothing: Any = SimpleNamespace(observe=lambda *_: None)
        intake.sampler, intake.repeated = (nothing, nothing) if mode == BARE else self._recorders
        bodies = [self._body() for _ in range(posts)]
        async with self._shadow(SHADOWS.get(mode, 0)):
            return await self.cpu_of(lambda: self._post(bodies))

    def _body(self) -> bytes:
        numbers = range(self._number, self._number + self._size)
        self._number += self._size
        return json.dumps([event(number) for number in numbers]).encode()

    async def _post(self, bodies: list[bytes]) -> None:
        for body in bodies:
            answer = await self._client.post(
                "/events", content=body, params={"destination_id": self.destination}
            )
            assert answer.status_code == 202, answer.text[:500]
        await asyncio.sleep(0.1)

    @asynccontextmanager
    async def _shadow(self, share: float) -> AsyncIterator[None]:
        if share:
            started = await self._client.post(f"{self.path}/shadow", json={"share": share, "minutes": 600})
            assert started.status_code == 200, started.text
        yield
        if share:
            await self._client.delete(f"{self.path}/shadow")


def _ratio(spent: dict[str, list[float]], mode: str, beside: str) -> str:
    ratios = sorted(a / b for a, b in zip(spent[mode], spent[beside], strict=True))
    return f"{mode} ÷ {beside}: {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


async def _measure(url: str, rounds: int, posts: int, size: int) -> None:
    async with serving(url) as service:
        world, client = service.world, service.client
        client.headers["Content-Type"] = "application/json"
        sampler, shadows = world.intake.sampler, world.intake.shadows
        assert isinstance(sampler, SchemaSampler)
        assert isinstance(shadows, ShadowRunner)
        sampler.monotonic = shadows.monotonic = time.process_time
        cost = Cost(world, client, size)
        await cost.open()
        await cost.turn(PLAIN, max(20, 1_500 // size))  # compiled, its first thousand events sampled
        gc_tuning.freeze_and_relax()  # as the process does
        modes = (BARE, PLAIN, *SHADOWS)
        spent: dict[str, list[float]] = {mode: [] for mode in modes}
        for turn in range(rounds):
            for mode in modes[:: 1 if turn % 2 else -1]:
                spent[mode].append(await cost.turn(mode, posts))
        events = posts * size
        each = median(spent[BARE]) / events * 1e6
        print(f"{rounds} rounds of {posts:,} posts of {size}; {each:.1f} µs an event {BARE}")
        print(_ratio(spent, PLAIN, BARE))
        for mode in SHADOWS:
            print(_ratio(spent, mode, PLAIN))
        counts = (await client.get(f"{cost.path}/shadow")).json()
        print("last shadow:", {name: counts[name] for name in ("events", "same", "different", "skipped")})
        quality = f"/destinations/{cost.destination}/match-quality"
        times = [await cost.cpu_of(lambda: client.get(quality)) for _ in range(5)]
        found = (await client.get(quality)).json()["items"][0]
        cpu = f"{median(times) * 1e3:.0f} ms of CPU"
        print(f"match quality with what-if of {found['events']:,} samples: {cpu}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--posts", type=int, default=200, help="in each turn")
    parser.add_argument("--size", type=int, default=100, help="events in a post")
    options = parser.parse_args()
    with throwaway_database() as url:
        asyncio.run(_measure(url, options.rounds, options.posts, options.size))
    return 0
