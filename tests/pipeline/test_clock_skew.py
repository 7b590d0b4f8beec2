"""Processes whose clocks are off, by minutes, hours or weeks: nothing is lost, doubled or misjudged.

Schedules and ages are the database's clock, windows each process's own monotonic one.
"""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

import httpx
import pytest

from app.delivery.dispatcher import Dispatcher
from app.store.database.clock import DatabaseClock, adjusted_offset
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event, stamp

OFF = timedelta(minutes=5)
WINDOW_S = 1


def off(by: timedelta) -> DatabaseClock:
    """The database's clock as a process knows it whose own is off."""
    return DatabaseClock(lambda: time.time() + by.total_seconds())


def set_worker(dispatcher: Dispatcher, by: timedelta) -> None:
    """Set a worker's wall clock off."""
    dispatcher.worker.clock = off(by)


def set_api_clock(world: World, clock: DatabaseClock) -> None:
    """Give the API another clock."""
    world.intake.evaluator.clock = clock


@pytest.mark.parametrize(
    ("api_clock", "worker_clock"),
    [(-OFF, OFF), (OFF, -OFF)],
    ids=["the API behind, a worker ahead", "the API ahead, a worker behind"],
)
async def test_clocks_that_are_off_lose_and_double_nothing(
    world: World, api_clock: timedelta, worker_clock: timedelta
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
    set_api_clock(world, off(api_clock))
    right, wrong = world.work(), world.work()
    set_worker(wrong, worker_clock)
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


@pytest.mark.parametrize("api_clock", [-OFF, OFF], ids=["behind", "ahead"])
async def test_an_api_whose_clock_is_off_takes_an_id_once(world: World, api_clock: timedelta) -> None:
    """Two APIs, one of them off: the second copy of an event is a duplicate whichever takes it."""
    dst = await world.destination()
    old = {"event": {"timestamp": stamp(ago=timedelta(seconds=30)), "total": 1, "brand": "acme"}}
    assert [one.status for one in await world.post(dst, event(1, **old))] == ["accepted"]
    set_api_clock(world, off(api_clock))
    assert [one.status for one in await world.post(dst, event(1, **old))] == ["duplicate"]
    assert [one.status for one in await world.post(dst, event(2, **old))] == ["accepted"]


FAR = [timedelta(hours=1), timedelta(hours=-1), timedelta(days=40), timedelta(days=-40)]


@pytest.mark.parametrize("by", FAR, ids=str)
async def test_however_far_a_clock_is_off_events_are_judged_by_the_databases(
    world: World, by: timedelta
) -> None:
    """By the API what is new and what is old, also in a dry run; by a worker what has expired."""
    dst = await world.destination()
    set_api_clock(world, off(by))
    ages = {"new": 0, "old": 20, "too old": 22, "future": -1}
    events = [
        event(number, event={"timestamp": stamp(ago=timedelta(days=days)), "total": 1, "brand": "acme"})
        for number, days in enumerate(ages.values())
    ]
    for take in (world.rehearse, world.post):
        results = await take(dst, *events)
        assert [one.rejection.reason if one.rejection else one.status for one in results] == [
            "accepted",
            "accepted",
            "event_too_old",
            "timestamp_future",
        ]
    set_worker(world.work(), by)
    await world.until(dst, delivered=2)


async def test_a_clock_that_is_set_or_stood_still_is_noticed_before_anything_is_judged(world: World) -> None:
    """Wall time leaves monotonic time behind: after it was set, and after the machine was suspended."""
    dst = await world.destination()
    off_by = [0.0]
    clock = DatabaseClock(lambda: time.time() + off_by[0])
    set_api_clock(world, clock)
    await world.post(dst, event(1))
    assert not clock.is_off
    off_by[0] = -3600.0
    assert [one.status for one in await world.post(dst, event(2))] == ["accepted"]
    assert clock.is_off
    assert round(clock.offset) == 3600
    off_by[0] = 0.0
    await world.post(dst, event(3))
    assert not clock.is_off


@pytest.mark.parametrize(
    ("before", "after", "offset"),
    [(100, 100.5, 0), (99, 101, 0), (90, 91, 9), (110, 112, -10)],
    ids=["a delay", "a long one", "behind", "ahead"],
)
def test_a_delay_is_not_mistaken_for_skew(before: float, after: float, offset: float) -> None:
    """Only what lies outside our two readings must be the clock."""
    assert adjusted_offset(0, database=100.2, before=before, after=after) == pytest.approx(offset, abs=0.3)
