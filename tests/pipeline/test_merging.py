"""The merge window: how long a partial request waits for more events, and when it does not (ADR 0021)."""

import asyncio
from dataclasses import replace

import pytest

from tests.pipeline.world import World, event, eventually

WINDOW_S = 3.0  # its half is much for a busy machine


@pytest.fixture
def merging(world: World) -> World:
    """A pipeline whose merge window is much longer than every other wait."""
    settings = world.resources.settings.model_copy(update={"merge_window_ms": round(WINDOW_S * 1000)})
    world.resources = replace(world.resources, settings=settings)
    world.delivering = replace(world.delivering, settings=settings)
    return world


async def test_the_first_event_after_an_idle_time_is_sent_at_once_and_later_ones_share_a_request(
    merging: World,
) -> None:
    """The first event does not wait; those of the window after it are sent together at its end."""
    world, now = merging, asyncio.get_running_loop().time
    dst = await world.destination()
    dispatcher = world.work()

    async def owned() -> bool:
        return len(dispatcher._leases.owned) == 1

    await world.post(dst, event(0))
    await world.until(dst, delivered=1)
    await eventually(owned)
    await asyncio.sleep(WINDOW_S * 1.4)  # past its last poll too

    began = now()
    await world.post(dst, event(1))
    await world.until(dst, delivered=2, seconds=WINDOW_S)
    assert now() - began < WINDOW_S * 0.7, "the first event after an idle time waited"

    for number in (2, 3, 4):
        await world.post(dst, event(number))
        await asyncio.sleep(WINDOW_S / 10)
    await world.until(dst, delivered=5)
    assert now() - began >= WINDOW_S * 0.9, "the merge window was cut short"
    assert [len(request.events) for request in world.amazon.requests] == [1, 1, 3]


async def test_a_full_request_does_not_wait(merging: World) -> None:
    """Five hundred events are sent at once, although a partial request was just sent."""
    world, now = merging, asyncio.get_running_loop().time
    dst = await world.destination()
    world.work()
    await world.post(dst, event(0))
    await world.until(dst, delivered=1)
    began = now()
    await world.post(dst, *(event(number) for number in range(1, 501)))
    await world.until(dst, delivered=501)
    assert now() - began < WINDOW_S * 0.7


async def test_a_lane_whose_request_was_delivered_is_not_polled_again(merging: World) -> None:
    """A notification or the regular poll finds new events; a poll without due work costs."""
    world = merging
    dst = await world.destination()
    dispatcher = world.work()
    await world.post(dst, event(0))
    await world.until(dst, delivered=1)

    async def asleep() -> bool:
        lanes = dispatcher._leases.owned.values()
        return len(lanes) == 1 and not dispatcher._tasks and all(lane.wake_at is None for lane in lanes)

    await eventually(asleep)
    await asyncio.sleep(WINDOW_S)  # the next event is sent at once, by its notification
    await world.post(dst, event(1))
    await world.until(dst, delivered=2, seconds=WINDOW_S)
    await eventually(asleep, seconds=WINDOW_S / 2)
