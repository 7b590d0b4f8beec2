"""An idle lane costs no statements, and its events are still found in time."""

from contextlib import AsyncExitStack

import pytest

from app.delivery.lane import POLL_EVERY_S, Alarms, Lane
from app.domain.ids import DEFAULT_ORGANISATION, LaneId
from app.domain.pacing.pace import Pace, RateLimit
from app.store.lanes import LaneLease
from tests.pipeline.world import World, event

IDLE = 300
WATCHED_S = 20


async def transactions(world: World) -> int:
    """Return how many transactions the sessions of the workers have ended; a lone statement is one."""
    # A session reports its transactions up to ten seconds late, or after it was asked for them.
    report = "SELECT pg_stat_force_next_flush()"
    async with AsyncExitStack() as stack:
        pool = world.delivering.pool
        for _ in range(pool.get_max_size()):
            connection = await stack.enter_async_context(pool.acquire())
            await connection.execute(report)
    for dispatcher, _ in world.workers:
        assert dispatcher.leases._session is not None
        await dispatcher.leases._session.execute(report)
    (row,) = await world.fetch("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(row["xact_commit"])


async def own(world: World, number: int) -> None:
    """Let a worker own that many lanes and deliver everything in them."""
    destinations = [await world.destination() for _ in range(number)]
    for dst in destinations:
        await world.post(dst, event(1))
    world.stop_clock()
    dispatcher = world.work(listens=False)
    await world.advance(2 * POLL_EVERY_S)
    assert not await world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NULL")
    owned = dispatcher.leases.owned
    assert len(owned) == number
    assert all(lane.wake_at is None for lane in owned.values())


@pytest.mark.campaign
async def test_idle_lanes_cost_no_statements(world: World) -> None:
    """Three hundred idle lanes cost as few statements as one: the worker's background jobs."""
    await own(world, IDLE)
    before = await transactions(world)
    asked = await transactions(world) - before
    before = await transactions(world)
    await world.advance(WATCHED_S)
    ended = await transactions(world) - before - asked
    # About five a second for leases, erasures, overdue attempts and maintenance; one statement per lane and
    # second would be 300.
    assert ended <= 10 * WATCHED_S, f"{ended} transactions in {WATCHED_S} s with {IDLE} idle lanes"
    assert ended >= WATCHED_S, "the worker's own polls were not counted"


async def test_what_comes_due_in_an_idle_lane_is_found_by_the_poll(world: World) -> None:
    """Without notifications: among many idle lanes the one with a due event is woken within two polls."""
    await own(world, 30)
    dst = await world.destination()
    for number, delivered in enumerate((1, 2)):
        await world.post(dst, event(number))
        await world.advance(2 * POLL_EVERY_S)
        assert (await world.counts(dst))["delivered"] == delivered


async def test_a_retry_that_is_due_later_does_not_hide_a_live_event(world: World) -> None:
    """A lane whose next retry is minutes away still sends what comes meanwhile, though no notice is heard."""
    dst = await world.destination()
    await world.post(dst, event(1))
    world.stop_clock()
    world.work(listens=False)
    await world.advance(2 * POLL_EVERY_S)
    assert (await world.counts(dst))["delivered"] == 1
    await world.fetch(
        "UPDATE batch_states SET disposition = NULL, settled_at = NULL, due_at = now() + interval '1 hour'"
    )
    await world.advance(2 * POLL_EVERY_S)  # the worker has seen the later one
    await world.post(dst, event(2))
    await world.advance(2 * POLL_EVERY_S)
    assert await world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NOT NULL")


def test_an_earlier_alarm_replaces_a_later_one() -> None:
    """Each lane is due once, in the order of the times."""
    alarms = Alarms()
    lanes = [
        Lane(
            LaneLease(LaneId(number), 1, DEFAULT_ORGANISATION, "NA", "1", 0.0),
            1e9,
            Pace(RateLimit(10, 10)),
            alarms,
        )
        for number in range(3)
    ]
    for lane, at in zip((*lanes, lanes[2]), (5.0, 2.0, 9.0, 1.0), strict=True):
        lane.wake(at)
    lanes[0].wake(7.0)
    assert alarms.next_at == 1.0
    assert list(alarms.due(5.0)) == [lanes[2], lanes[1], lanes[0]]
    for lane in lanes:
        lane.begin_claim(10.0)
    assert list(alarms.due(10.0)) == []
    assert alarms.next_at == float("inf")
