"""An idle lane costs no statements, and its events are still found in time."""

import asyncio

import pytest

from tests.pipeline.world import World, event, eventually

IDLE = 300
WATCHED_S = 3.0
LATE_S = 11.0


async def transactions(world: World) -> int:
    """Return how many transactions the test's database has ended; a lone statement is one."""
    (row,) = await world.fetch("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(row["xact_commit"])


async def own(world: World, number: int) -> None:
    """Let a worker own that many lanes and deliver everything in them."""
    destinations = [await world.destination() for _ in range(number)]
    for dst in destinations:
        await world.post(dst, event(1))
    dispatcher = world.work(listens=False)

    async def dry() -> bool:
        (row,) = await world.fetch("SELECT count(*) AS n FROM batch_states WHERE settled_at IS NULL")
        owned = dispatcher._leases.owned
        asleep = not dispatcher._tasks and all(lane.wake_at is None for lane in owned.values())
        return row["n"] == 0 and len(owned) == number and asleep

    await eventually(dry, seconds=60)


@pytest.mark.campaign
async def test_idle_lanes_cost_no_statements(world: World) -> None:
    """Three hundred idle lanes cost as few statements as one: the worker's background jobs."""
    await own(world, IDLE)

    async def watched() -> int:
        before = await transactions(world)
        await asyncio.sleep(WATCHED_S)
        return await transactions(world) - before

    # About five a second for leases, erasures, overdue attempts and maintenance; one statement per lane and
    # second would be 900. Postgres reports the transactions of a session up to ten seconds late: wait for
    # the earlier ones, which may still be in the first count.
    await asyncio.sleep(LATE_S)
    counts = [await watched() for _ in range(4)]
    assert min(counts) <= 60, f"{counts} transactions in {WATCHED_S} s each with {IDLE} idle lanes"


async def test_what_comes_due_in_an_idle_lane_is_found_by_the_poll(world: World) -> None:
    """Without notifications: among many idle lanes the one with a due event is woken within seconds."""
    await own(world, 30)
    dst = await world.destination()
    await world.post(dst, event(1), event(2))
    await world.until(dst, delivered=2)
    await world.post(dst, event(3))
    await world.until(dst, delivered=3)


async def test_a_retry_that_is_due_later_does_not_hide_a_live_event(world: World) -> None:
    """A lane whose next retry is minutes away still sends what comes meanwhile, though no notice is heard."""
    dst = await world.destination()
    await world.post(dst, event(1))
    world.work(listens=False)
    await world.until(dst, delivered=1)
    await world.fetch(
        "UPDATE batch_states SET disposition = NULL, settled_at = NULL, due_at = now() + interval '1 hour'"
    )
    await world.polled()  # and has seen the later one
    await world.post(dst, event(2))
    (row,) = await eventually(lambda: world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NOT NULL"))
    assert row
