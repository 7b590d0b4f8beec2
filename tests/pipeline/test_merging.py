"""The merge window: how long a partial request waits for more events, and when it does not (ADR 0050)."""

from dataclasses import replace

import pytest

from tests.pipeline.world import World, event, eventually

WINDOW_S = 0.8


@pytest.fixture
def merging(world: World) -> World:
    """A pipeline with this merge window, on a clock that the test moves."""
    settings = world.resources.settings.model_copy(update={"merge_window_ms": round(WINDOW_S * 1000)})
    world.resources = replace(world.resources, settings=settings)
    world.delivering = replace(world.delivering, settings=settings)
    world.stop_clock()
    return world


def sent(world: World) -> list[int]:
    """Return the number of events of each request so far."""
    return [len(request.events) for request in world.amazon.requests]


async def start(world: World) -> str:
    """Deliver the first event of a destination; return once its worker listens and the lane is idle."""
    dst = await world.destination(event(0))
    dispatcher = world.work()
    await world.advance(2 * WINDOW_S)
    assert sent(world) == [1]
    await eventually(lambda: world.fetch(LISTENING))
    (lane,) = dispatcher.leases.owned.values()
    assert lane.wake_at is None
    return dst


LISTENING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"


async def test_the_first_event_after_an_idle_time_is_sent_at_once_and_later_ones_share_a_request(
    merging: World,
) -> None:
    """The first event does not wait; those of the window after it are sent together at its end.

    A lane whose request was delivered is not polled again: a notification or a regular poll finds new events.
    """
    world = merging
    dst = await start(world)
    await world.post(dst, event(1))
    await world.until(dst, delivered=2)  # and the clock stands still
    await world.advance(0)
    ((dispatcher, _),) = world.workers
    (lane,) = dispatcher.leases.owned.values()
    assert lane.wake_at is None

    for number in (2, 3, 4):
        await world.post(dst, event(number))
        await announced(world, number - 1)
        await world.advance(WINDOW_S / 4)
    assert sent(world) == [1, 1], "the merge window was cut short"
    await world.advance(WINDOW_S / 3)
    assert sent(world) == [1, 1, 3]


async def test_a_full_request_does_not_wait(merging: World) -> None:
    """Five hundred events are sent at once, although a partial request was just sent."""
    world = merging
    dst = await start(world)
    await world.post(dst, event(501))
    await world.until(dst, delivered=2)
    await world.post(dst, *(event(number) for number in range(1, 501)))
    await world.until(dst, delivered=502)  # and the clock stands still
    assert sent(world) == [1, 1, 500]


async def announced(world: World, events: int) -> None:
    """Wait until the worker was notified of that many events since its lane's last request."""
    ((dispatcher, _),) = world.workers
    owned = dispatcher.leases.owned
    await eventually(lambda: [lane.announced_events for lane in owned.values()] == [events])
