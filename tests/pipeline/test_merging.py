"""How long a part-full request waits for company, and when it does not (ADR 0021)."""

import asyncio
from dataclasses import replace

import pytest

from tests.pipeline.world import World, event, eventually

WINDOW_S = 1.5


@pytest.fixture
def merging(world: World) -> World:
    """A road whose merge window is long enough to be told from everything else."""
    settings = world.resources.settings.model_copy(update={"merge_window_ms": round(WINDOW_S * 1000)})
    world.resources = replace(world.resources, settings=settings)
    return world


async def test_the_first_after_a_rest_leaves_at_once_and_what_follows_shares_the_next_window(
    merging: World,
) -> None:
    """A lone event waits for nobody; those that come within the window after it leave together at its end."""
    world, now = merging, asyncio.get_running_loop().time
    dst = await world.destination()
    dispatcher = world.work()

    async def owned() -> bool:
        return len(dispatcher._ownership.owned) == 1

    await world.post(dst, event(0))
    await world.until(dst, delivered=1)
    await eventually(owned)
    await asyncio.sleep(WINDOW_S * 1.4)  # past its last look too

    began = now()
    await world.post(dst, event(1))
    await world.until(dst, delivered=2, seconds=WINDOW_S)
    assert now() - began < WINDOW_S * 0.7, "the first after a rest waited"

    for number in (2, 3, 4):
        await world.post(dst, event(number))
        await asyncio.sleep(WINDOW_S / 10)
    await world.until(dst, delivered=5)
    assert now() - began >= WINDOW_S * 0.9, "the window after a request was not kept"
    assert [len(request.events) for request in world.amazon.requests] == [1, 1, 3]


async def test_a_request_that_fills_up_waits_for_nobody(merging: World) -> None:
    """Five hundred events leave at once, though a part-full request has just left."""
    world, now = merging, asyncio.get_running_loop().time
    dst = await world.destination()
    world.work()
    await world.post(dst, event(0))
    await world.until(dst, delivered=1)
    began = now()
    await world.post(dst, *(event(number) for number in range(1, 501)))
    await world.until(dst, delivered=501)
    assert now() - began < WINDOW_S * 0.7


async def test_a_lane_whose_request_was_taken_whole_is_not_looked_at_again(merging: World) -> None:
    """What comes in is told by its own notice, or found by the poll; a look for nothing costs."""
    world = merging
    dst = await world.destination()
    dispatcher = world.work()
    await world.post(dst, event(0))
    await world.until(dst, delivered=1)

    async def asleep() -> bool:
        lanes = dispatcher._ownership.owned.values()
        return len(lanes) == 1 and not dispatcher._tasks and all(lane.wake_at is None for lane in lanes)

    await eventually(asleep)
    await asyncio.sleep(WINDOW_S)  # the next leaves at once, by its notice
    await world.post(dst, event(1))
    await world.until(dst, delivered=2, seconds=WINDOW_S)
    await eventually(asleep, seconds=WINDOW_S / 2)
