"""The lanes of a stopped worker process move to other workers within the lease."""

import asyncio
import os
import signal
import threading
from datetime import timedelta
from typing import Self

import pytest

from app.domain.pacing.lane_limits import TIMES, Times
from app.store import lanes
from app.store.encryption import erasure_place
from app.store.privacy import erasures
from tests.databases import SESSIONS_HERE
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.test_many_erasures import scanner
from tests.pipeline.world import World, event, eventually, make_world

QUICK = Times(lease=4, request=1)
LANES = 6


class FreezableWorker:
    """A worker with a loop and connections of its own, in a thread.

    It can be frozen as SIGSTOP freezes one: its event loop stands still, its connections stay.
    """

    def __init__(self, url: str, amazon: FakeAmazon) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), daemon=True)
        self._url, self._amazon = url, amazon
        self._ready, self._awake = threading.Event(), threading.Event()
        self._frozen = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._ending: asyncio.Event
        self.world: World

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    async def _work(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        async with make_world(self._url, self._amazon, with_roles=True) as self.world:
            maintenance = self.world.work(times=QUICK).maintenance
            # Frozen while it creates partitions, it would hold the lock of every flush for as long as its
            # transaction may be idle.
            await eventually(lambda: all(job.due_at > 0 for job in maintenance._jobs))
            self._ready.set()
            await self._ending.wait()

    @property
    def lanes(self) -> int:
        """How many lanes it believes that it owns."""
        return len(self.world.workers[0][0].leases.owned)

    def freeze(self) -> None:
        """Let nothing of it run until it is thawed."""
        self._awake.clear()

        def stand_still() -> None:
            self._frozen.set()
            self._awake.wait(60)

        self._loop.call_soon_threadsafe(stand_still)
        assert self._frozen.wait(10)

    def thaw(self) -> None:
        self._awake.set()

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(30)


def test_the_quick_times_fit_together() -> None:
    """Or the tests below would try something that no worker does."""
    assert QUICK.lease - 2 * QUICK.renew_every > QUICK.request


async def test_the_lanes_of_a_frozen_worker_move_though_there_are_more_lanes_than_workers(
    world: World, database_url: str
) -> None:
    """Two workers share six lanes; one stands still. Every event is delivered within the lease, each once."""
    made = [await world.destination() for _ in range(LANES)]
    world.work(times=QUICK)
    posted = 0
    with FreezableWorker(database_url, world.amazon) as frozen:

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
        await eventually(lambda: frozen.lanes <= LANES // 2)
        for dst in made:
            await world.post(dst, event(posted + 3))
        for dst in made:
            await world.until(dst, delivered=posted + 3)
    assert set(world.amazon.times.values()) == {1}
    assert all(len(hashes) == 1 for hashes in world.amazon.accepted.values())


async def test_a_worker_that_could_not_register_does_so_later(world: World) -> None:
    """Another session held the lock of workers. No worker serves without being counted."""
    dst = await world.destination(event(1))
    blocking = await world.resources.connect()
    await blocking.execute("SELECT pg_advisory_lock(7312, 0)")
    world.work()
    waiting = f"SELECT 1 FROM pg_locks WHERE classid = 7312 AND NOT granted AND {SESSIONS_HERE}"
    await eventually(lambda: world.fetch(waiting))

    async def no_longer_waits() -> bool:
        return not await world.fetch(waiting)

    await eventually(no_longer_waits)  # the lock timeout ended the wait
    await blocking.close()
    await world.until(dst, delivered=1)
    assert await world.fetch(f"SELECT 1 FROM pg_locks WHERE classid = 7312 AND {SESSIONS_HERE}")


async def test_a_frozen_worker_without_lanes_is_not_counted(world: World, database_url: str) -> None:
    """It never held a lease that could lapse; the lanes that come up are not left for it."""
    with FreezableWorker(database_url, world.amazon) as frozen:
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


async def pending_erasure(world: World) -> bytes:
    """Store an event, and an erasure that has to look for it; return what is sealed in it."""
    await world.post(await world.destination(), event(1))
    id_ = "era_" + "1" * 20
    sealed = world.resources.vault.seal(b'["x"]', place=erasure_place(id_))
    async with world.pool.acquire() as c, c.transaction():
        await erasures.create(c, id_, by="test", kinds=["email"], sealed=sealed)
    return sealed


async def test_an_erasure_whose_scan_is_frozen_is_finished_by_another_worker(world: World) -> None:
    """When the lease of the scan has ended; before, the other worker leaves it alone."""
    await pending_erasure(world)
    await world.fetch(
        "INSERT INTO job_leases VALUES ('erasures', 'frozen', now() + $1 * interval '1 second')",
        TIMES.settled_within - 1,  # a lease that lasts longer than a new one is over: the clock went back
    )
    erasing = await scanner(world)
    await erasing.scan()
    finished = "SELECT 1 FROM erasures WHERE finished_at IS NOT NULL"
    assert not await world.fetch(finished)
    await world.fetch("UPDATE job_leases SET leased_until = now()")
    await erasing.scan()
    assert await world.fetch(finished)
    assert not await world.fetch("SELECT 1 FROM job_leases WHERE job = 'erasures'")


async def test_a_scan_that_lost_its_lease_writes_no_progress(world: World) -> None:
    """Another worker goes on with it; the erasure is finished once."""
    sealed = await pending_erasure(world)
    erasing = await scanner(world)
    await world.fetch("DELETE FROM job_leases")
    await world.execute(
        """
        CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN UPDATE job_leases SET owner = 'other'; RETURN NEW; END $$;
        CREATE TRIGGER lose AFTER INSERT ON job_leases FOR EACH ROW EXECUTE FUNCTION lose()
        """
    )
    await world.fetch("UPDATE erasures SET finished_at = NULL, scanned_to = 0, sealed = $1", sealed)
    await erasing.scan()
    rows = await world.fetch("SELECT scanned_to, finished_at FROM erasures")
    assert [tuple(row) for row in rows] == [(0, None)]


@pytest.mark.parametrize("speaks", [True, False])
async def test_only_a_worker_that_is_silent_is_ended(world: World, speaks: bool) -> None:
    """One that says something is left alone, and counts."""
    silent_after = timedelta(seconds=0.25)
    holder = await world.resources.connect()
    try:
        await lanes.register_worker(holder)
        await eventually(
            lambda: world.fetch(
                "SELECT 1 FROM pg_stat_activity "
                "WHERE pid = $1 AND state_change < clock_timestamp() - $2::interval",
                holder.get_server_pid(),
                silent_after,
            )
        )
        async with world.resources.pool.acquire() as c:
            await lanes.register_worker(c)
            if speaks:
                await holder.execute("SELECT 1")
            assert await lanes.living_workers(c, silent_after=silent_after) == (2 if speaks else 1)
            await lanes.unregister_worker(c)
        left = await world.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = $1", holder.get_server_pid())
        assert bool(left) == speaks
    finally:
        holder.terminate()


async def test_a_backend_that_cannot_be_ended_does_not_count(world: World) -> None:
    """The count waits for it only a second."""
    holder = await world.resources.connect()
    await lanes.register_worker(holder)
    os.kill(holder.get_server_pid(), signal.SIGSTOP)
    try:
        async with world.resources.pool.acquire() as c:
            assert await lanes.living_workers(c, silent_after=timedelta(0)) == 1
    finally:
        os.kill(holder.get_server_pid(), signal.SIGCONT)
        holder.terminate()
