"""Processes whose clocks are five minutes off: nothing is lost or doubled, and windows are kept.

Schedules are the database's clock and windows each process's own monotonic one; wall clocks only judge how
old an event is.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest

from app.delivery.dispatching import Dispatcher
from tests.road.amazon import Request
from tests.road.world import World, event, stamp

OFF = timedelta(minutes=5)
WINDOW_S = 1


def off(by: timedelta) -> datetime:
    return datetime.now(UTC) + by


def set_worker(dispatcher: Dispatcher, by: timedelta) -> None:
    """Set a worker's wall clock off."""
    delivery = dispatcher._delivery
    delivery._chance = replace(delivery._chance, now=lambda: off(by))


def set_door(world: World, by: timedelta) -> None:
    """Set the wall clock of the API off."""
    world.intake._now = world.intake._flusher._now = lambda: off(by)


@pytest.mark.parametrize(
    ("door", "works"),
    [(-OFF, OFF), (OFF, -OFF)],
    ids=["the API behind, a worker ahead", "the API ahead, a worker behind"],
)
async def test_clocks_that_are_off_lose_and_double_nothing(
    world: World, door: timedelta, works: timedelta
) -> None:
    """An API and a worker are off, another worker is right; 429s and failures on the way, and a takeover."""
    destinations = [await world.destination() for _ in range(4)]
    read: dict[str, list[float]] = {}
    left = {"1001": 2, "1002": 2}
    loop = asyncio.get_running_loop()

    def script(request: Request) -> httpx.Response | None:
        read.setdefault(request.advertiser_id, []).append(loop.time())
        if request.advertiser_id == "1003" and len(read["1003"]) == 1:
            return httpx.Response(503)
        if left.get(request.advertiser_id, 0) > 0:
            left[request.advertiser_id] -= 1
            return httpx.Response(429, headers={"Retry-After": str(WINDOW_S)})
        return None

    world.amazon.script = script
    set_door(world, door)
    right, wrong = world.work(), world.work()
    set_worker(wrong, works)
    # A moment old, as events are: one from the future beyond five minutes would be refused for that.
    old = {"event": {"timestamp": stamp(ago=timedelta(seconds=30)), "total": 1, "brand": "acme"}}
    for number in range(40):
        await world.post(destinations[number % 4], event(number, **old))
    right.stop()
    for number in range(40, 60):
        await world.post(destinations[number % 4], event(number, **old))
    for dst in destinations:
        await world.until(dst, delivered=15, seconds=30)

    assert len(world.amazon.times) == 60
    assert set(world.amazon.times.values()) == {1}
    assert {len(payloads) for payloads in world.amazon.accepted.values()} == {1}
    for advertiser in ("1001", "1002"):
        gaps = [after - before for before, after in pairwise(read[advertiser][:3])]
        assert min(gaps) >= WINDOW_S - 0.05, (advertiser, gaps)


@pytest.mark.parametrize("door", [-OFF, OFF], ids=["behind", "ahead"])
async def test_a_door_whose_clock_is_off_takes_an_id_once(world: World, door: timedelta) -> None:
    """Two APIs, one of them off: the second copy of an event is a duplicate whichever takes it."""
    dst = await world.destination()
    old = {"event": {"timestamp": stamp(ago=timedelta(seconds=30)), "total": 1, "brand": "acme"}}
    assert [one.status for one in await world.post(dst, event(1, **old))] == ["accepted"]
    set_door(world, door)
    assert [one.status for one in await world.post(dst, event(1, **old))] == ["duplicate"]
    assert [one.status for one in await world.post(dst, event(2, **old))] == ["accepted"]
