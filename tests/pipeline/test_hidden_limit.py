"""A window after a 429, over four workers whose owners end. How rates follow limits: domain/test_lanes.py."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest

from tests.pipeline.amazon import Request
from tests.pipeline.manual_clock import ManualClock
from tests.pipeline.world import World, event, make_world

WORKERS = 4
DESTINATIONS = 24  # of one advertiser: each has a request of its own waiting at any time


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


@pytest.fixture
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
