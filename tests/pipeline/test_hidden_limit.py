"""An undeclared limit in a real pipeline: four workers, a bucket that moves, an owner that ends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from tests.pipeline.amazon import Request
from tests.pipeline.manual_clock import ManualClock
from tests.pipeline.world import World, event, make_world

WORKERS = 4
DESTINATIONS = 24  # of one advertiser: each has a request of its own waiting at any time
SETTLES_IN = 10.0
USED, REFUSED = 0.75, 0.08  # the changes of the limit are among the 429s


@dataclass
class Bucket:
    """Takes `limit` requests a second and `burst` at once, on the clock of its arrivals."""

    clock: ManualClock
    limit: float
    burst: float
    retry_after: int | None = None
    level: float = 0.0
    seen: float = 0.0
    log: list[tuple[float, bool]] = field(default_factory=list)

    def __call__(self, request: Request) -> httpx.Response | None:
        now = self.clock.now
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
        clock = first.stop_clock()
        for other in rest:
            other.clock = clock
        yield [first, *rest]


@dataclass
class Load:
    """Posts to every destination, twice a second, so that the lane always has more than it may send."""

    world: World
    destinations: list[str]
    number: int = 0

    async def advance(self, seconds: float) -> None:
        """Let that much time pass under load."""
        for _ in range(round(seconds * 2)):
            for dst in self.destinations:
                self.number += 1
                await self.world.post(dst, event(self.number))
            await self.world.advance(0.5)


def owner(worlds: list[World]) -> World:
    """Return the world whose worker owns the lane."""
    return next(one for one in worlds if one.workers and one.workers[0][0].leases.owned)


@pytest.mark.long
async def test_four_workers_follow_a_hidden_limit_that_falls_and_rises(worlds: list[World]) -> None:
    """10, 3, 8 a second: ten seconds after each move most of it is used, and hardly anything is refused.

    Soon after the fall the worker that owns the lane ends; its successor goes on from what it had learned.
    A bucket of two at once, 40 s a phase; more buckets are in tests/domain/test_lanes.py.
    """
    world = worlds[0]
    clock = world.clock
    assert clock is not None
    destinations = [await world.destination(advertiser="77", rate=20, burst=5) for _ in range(DESTINATIONS)]
    world.amazon.script = bucket = Bucket(clock, limit=10, burst=2)
    for one in worlds:
        one.work()
    load = Load(world, destinations)
    used: dict[float, float] = {}
    for limit, seconds in ((10.0, 40.0), (3.0, 40.0), (8.0, 40.0)):
        bucket.limit, began = limit, clock.now
        await load.advance(SETTLES_IN / 2)
        if limit == 3.0:
            await owner(worlds).stop_workers()
        await load.advance(seconds - SETTLES_IN / 2)
        taken = sum(taken for at, taken in bucket.log if at >= began + SETTLES_IN and taken)
        used[limit] = taken / (limit * (seconds - SETTLES_IN))
    refused = sum(not taken for _, taken in bucket.log) / len(bucket.log)
    began = bucket.log[0][0]
    print("429s after", [round(at - began, 1) for at, taken in bucket.log if not taken], "s")
    print(f"used {used}, refused {refused:.3f} of {len(bucket.log)}")
    assert min(used.values()) >= USED, used
    assert refused <= REFUSED
    (row,) = await world.fetch("SELECT learned_rate FROM lanes")
    assert 4 <= row["learned_rate"] <= 11


@pytest.mark.long
async def test_a_fast_lane_waits_a_second_for_each_429_and_uses_most_of_the_limit(world: World) -> None:
    """15 a second of a configured 20, five at once: 75 %, with 5 % of 429s, from 20 s on."""
    clock = world.stop_clock()
    destinations = [await world.destination(advertiser="77", rate=20, burst=5) for _ in range(DESTINATIONS)]
    world.amazon.script = bucket = Bucket(clock, limit=15, burst=5, retry_after=1)
    world.work()
    load, began = Load(world, destinations), clock.now
    await load.advance(80)
    log = [accepted for at, accepted in bucket.log if at >= began + 20]
    print(f"used {sum(log) / (15 * 60):.2f}, refused {1 - sum(log) / len(log):.3f}")
    assert sum(log) / (15 * 60) >= 0.75
    assert 1 - sum(log) / len(log) <= 0.05


async def test_nothing_leaves_inside_a_window_whoever_owns_the_lane(worlds: list[World]) -> None:
    """Every 429 shuts the lane for its Retry-After, over four workers, also when the owner ends in it."""
    world = worlds[0]
    clock = world.clock
    assert clock is not None
    destinations = [await world.destination(advertiser="77", rate=50, burst=5) for _ in range(8)]
    world.amazon.script = bucket = Bucket(clock, limit=4, burst=1, retry_after=60)
    for one in worlds:
        one.work()
    load = Load(world, destinations)
    for ends in range(WORKERS):
        before, deadline = len(bucket.log), clock.now + 60
        while all(taken for _, taken in bucket.log[before:]):
            assert clock.now < deadline, "the limit was not reached"
            await load.advance(0.5)
        if ends < WORKERS - 1:
            await owner(worlds).stop_workers()
        requests = len(bucket.log)
        await load.advance(5)
        assert owner(worlds)
        # The next owner reads the end of the window from the database, whose time hardly passed.
        await clock.advance(40)
        assert len(bucket.log) == requests
        await world.fetch("UPDATE lanes SET blocked_until = now()")
        await clock.advance(25)
        assert len(bucket.log) > requests
