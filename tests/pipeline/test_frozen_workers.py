"""A worker whose process stands still stops nobody: what it was at moves to others within the lease."""

import asyncio
from datetime import timedelta

import pytest

from app.delivery.erasure import erasure_place
from app.domain.pacing.lane_limits import Times
from app.store import erasures, silent_sessions
from tests.databases import SESSIONS_HERE
from tests.pipeline.freezing import freezable_worker
from tests.pipeline.world import World, event, eventually

QUICK = Times(lease=4, request=1)
LANES = 6


def test_the_quick_times_fit_together() -> None:
    """Or the tests below would try something that no worker does."""
    assert not list(QUICK.problems())


async def test_the_lanes_of_a_frozen_worker_move_though_there_are_more_lanes_than_workers(
    world: World, database_url: str
) -> None:
    """Two workers share six lanes; one stands still. Every event is delivered within the lease, each once."""
    made = [await world.destination() for _ in range(LANES)]
    world.work(times=QUICK)
    posted = 0
    with freezable_worker(database_url, world.amazon, QUICK) as frozen:

        async def both_own() -> bool:
            nonlocal posted
            posted += 1
            for dst in made:
                # A new event: a lane that was released is only taken again if events wait in it.
                await world.post(dst, event(posted))
            mine = len(world.workers[0][0].leases.owned)
            return (mine, frozen.lanes) == (LANES // 2, LANES // 2)

        await eventually(both_own, seconds=60, every=0.2)
        for dst in made:
            await world.until(dst, delivered=posted)
        frozen.freeze()
        began = asyncio.get_running_loop().time()
        for dst in made:
            await world.post(dst, event(posted + 1), event(posted + 2))
        for dst in made:
            await world.until(dst, delivered=posted + 2, seconds=QUICK.lease + 8)
        took = asyncio.get_running_loop().time() - began
        assert took < QUICK.lease + 4, took
        frozen.thaw()
        # It finds its session closed, lets go of its lanes, and takes part again.
        await eventually(lambda: _value(frozen.lanes <= LANES // 2))
        for dst in made:
            await world.post(dst, event(posted + 3))
        for dst in made:
            await world.until(dst, delivered=posted + 3)
    assert set(world.amazon.times.values()) == {1}
    assert all(len(hashes) == 1 for hashes in world.amazon.accepted.values())


async def test_a_frozen_worker_without_lanes_is_not_counted(world: World, database_url: str) -> None:
    """It never held a lease that could lapse; the lanes that come up are not left for it."""
    with freezable_worker(database_url, world.amazon, QUICK) as frozen:
        await eventually(
            lambda: world.fetch(f"SELECT 1 FROM pg_locks WHERE classid = 7312 AND {SESSIONS_HERE}")
        )
        frozen.freeze()
        world.work(times=QUICK)
        made = [await world.destination() for _ in range(LANES)]
        for dst in made:
            await world.post(dst, event(1))
        for dst in made:
            await world.until(dst, delivered=1, seconds=QUICK.lease + 8)


async def test_the_locked_row_of_one_lane_delays_no_other_lane(world: World) -> None:
    """Longer than a lease, with one worker; when the lock ends, the lane of that row goes on too."""
    locked, *others = made = [await world.destination() for _ in range(4)]
    world.work(times=QUICK)
    posted = 0

    async def post(expected: list[str]) -> None:
        nonlocal posted
        posted += 1
        for dst in made:
            await world.post(dst, event(posted))
        for dst in expected:
            await world.until(dst, delivered=posted, seconds=3)

    await post(made)
    clock = asyncio.get_running_loop().time
    async with world.resources.pool.acquire() as c, c.transaction():
        await c.execute(
            "SELECT FROM lanes l JOIN destinations d ON d.lane = l.id WHERE d.id = $1 FOR UPDATE OF l", locked
        )
        until = clock() + 1.5 * QUICK.lease
        while clock() < until:
            await post(others)
    for dst in made:
        await world.until(dst, delivered=posted)
    assert set(world.amazon.times.values()) == {1}


async def test_an_erasure_whose_scan_is_frozen_is_finished_by_another_worker(
    world: World, database_url: str
) -> None:
    """The lock of the scan is no longer held by one who never lets go."""
    dst = await world.destination()
    await world.post(dst, event(1))
    id_ = "era_" + "1" * 20
    async with world.pool.acquire() as c, c.transaction():
        sealed = world.resources.vault.seal(b'["x"]', place=erasure_place(id_))
        await erasures.ask(c, id_, by="test", kinds=["email"], sealed=sealed)
    holder = await world.delivering.connect()  # a worker ends sessions of its own role only
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", erasures.ERASER_LOCK)
        world.work(times=QUICK)
        await eventually(
            lambda: world.fetch("SELECT 1 FROM erasures WHERE finished_at IS NOT NULL"),
            seconds=QUICK.lease + 8,
        )
        await eventually(lambda: _value(holder.is_closed()))
    finally:
        holder.terminate()


@pytest.mark.parametrize("speaks", [True, False])
async def test_only_a_session_that_is_silent_is_ended(world: World, speaks: bool) -> None:
    """One that holds the lock and says something is left alone."""
    holder = await world.resources.connect()
    try:
        await holder.execute("SELECT pg_advisory_lock(0, 99)")
        await eventually(
            lambda: world.fetch(
                "SELECT 1 FROM pg_stat_activity "
                "WHERE pid = $1 AND state_change < clock_timestamp() - interval '0.25 s'",
                holder.get_server_pid(),
            )
        )
        if speaks:
            await holder.execute("SELECT 1")
        async with world.resources.pool.acquire() as c:
            ended = await silent_sessions.end_silent(c, 0, 99, silent_after=timedelta(seconds=0.25))
        assert len(ended) == (0 if speaks else 1)
    finally:
        holder.terminate()


async def _value(value: object) -> object:
    return value
