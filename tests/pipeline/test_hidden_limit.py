"""An undeclared limit in a real pipeline: four workers, a bucket that moves, an owner that ends."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event, make_world

pytestmark = pytest.mark.long

WORKERS = 4
DESTINATIONS = 24  # of one advertiser: each has a request of its own waiting at any time
SETTLES_IN = 10.0
# What is promised, asked for with CHAOS=full. Each 429 is more than a thousandth here, and on cores that
# others use one or two may come on top, or a rise be found a look later: so much room the suite leaves.
USED, REFUSED = (0.85, 0.02) if os.environ.get("CHAOS") == "full" else (0.8, 0.024)


@dataclass
class Bucket:
    """Takes `limit` requests a second and `burst` at once, on the clock of its arrivals."""

    limit: float
    burst: float
    retry_after: int | None = None
    level: float = 0.0
    seen: float = 0.0
    log: list[tuple[float, bool]] = field(default_factory=list)

    def __call__(self, request: Request) -> httpx.Response | None:
        now = asyncio.get_running_loop().time()
        self.level = min(self.burst, self.level + (now - self.seen) * self.limit)
        self.seen, taken = now, self.level >= 1
        self.level -= taken
        self.log.append((now, taken))
        if taken:
            return None
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return httpx.Response(429, headers=headers)


@pytest_asyncio.fixture
async def worlds(database_url: str) -> AsyncIterator[list[World]]:
    """Four workers' worlds on one database and one Amazon."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(make_world(database_url))
        rest = [
            await stack.enter_async_context(make_world(database_url, first.amazon))
            for _ in range(WORKERS - 1)
        ]
        yield [first, *rest]


async def keep_waiting(world: World, destinations: list[str]) -> None:
    """Post to every destination, over and over, so that the lane always has more than it may send."""
    number = 0
    while True:
        for dst in destinations:
            number += 1
            await world.post(dst, event(number))
        await asyncio.sleep(0.5)


async def test_four_workers_follow_a_hidden_limit_that_falls_and_rises(worlds: list[World]) -> None:
    """10, 3, 8 a second: ten seconds after each move most of it is used, and hardly anything is refused.

    Soon after the fall the worker that owns the lane ends; its successor goes on from what it had learned.
    A bucket of two at once, 40 s a phase; more buckets are in tests/domain/test_lanes.py.
    """
    world = worlds[0]
    destinations = [await world.destination(advertiser="77", rate=20, burst=5) for _ in range(DESTINATIONS)]
    bucket = Bucket(limit=10, burst=2)
    world.amazon.script = bucket
    for one in worlds:
        one.work()
    posting = asyncio.create_task(keep_waiting(world, destinations))
    used: dict[float, float] = {}
    try:
        for limit, seconds in ((10.0, 40.0), (3.0, 40.0), (8.0, 40.0)):
            bucket.limit = limit
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(SETTLES_IN / 2)
            if limit == 3.0:
                owner = next(one for one in worlds if one.workers[0][0]._leases.owned)
                await owner.stop_workers()
            await asyncio.sleep(seconds - SETTLES_IN / 2)
            taken = sum(taken for at, taken in bucket.log if at >= began + SETTLES_IN and taken)
            used[limit] = taken / (limit * (seconds - SETTLES_IN))
    finally:
        posting.cancel()
    refused = sum(not taken for _, taken in bucket.log) / len(bucket.log)
    began = bucket.log[0][0]
    print("429s after", [round(at - began, 1) for at, taken in bucket.log if not taken], "s")
    print(f"used {used}, refused {refused:.3f} of {len(bucket.log)}")
    assert min(used.values()) >= USED, used
    assert refused <= REFUSED
    (row,) = await world.fetch("SELECT learned_rate FROM lanes")
    assert 5 <= row["learned_rate"] <= 9


async def test_nothing_leaves_inside_a_window_whoever_owns_the_lane(worlds: list[World]) -> None:
    """Every 429 shuts the lane for its Retry-After, over four workers, also when the owner ends in it."""
    world = worlds[0]
    destinations = [await world.destination(advertiser="77", rate=50, burst=5) for _ in range(8)]
    bucket = Bucket(limit=4, burst=1, retry_after=1)
    world.amazon.script = bucket
    for one in worlds:
        one.work()
    posting = asyncio.create_task(keep_waiting(world, destinations))
    try:
        for _ in range(3):
            before = sum(not taken for _, taken in bucket.log)
            while sum(not taken for _, taken in bucket.log) == before:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)  # its 429 was read and the window is kept
            owner = next((one for one in worlds if one.workers and one.workers[0][0]._leases.owned), None)
            if owner is not None:
                await owner.stop_workers()
            await asyncio.sleep(2)
    finally:
        posting.cancel()
    windows = [at for at, taken in bucket.log if not taken]
    assert len(windows) >= 3
    inside = [at - one for one in windows for at, _ in bucket.log if 0.1 < at - one < 1.0]
    assert not inside
