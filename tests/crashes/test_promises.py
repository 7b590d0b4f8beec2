"""The engine's promises, each in its smallest form."""

import asyncio

import asyncpg

from tests.crashes.amazon import Reply, StandIn, take
from tests.crashes.evidence import Request
from tests.crashes.fuse import Break, Fuse
from tests.crashes.judge import judge
from tests.crashes.rehearsal import Rehearsal, rehearse
from tests.databases import WAITING_LOCKS


async def verdict(stage: Rehearsal) -> list[str]:
    return [str(objection) for objection in judge(await stage.evaluated())]


async def dying_at(stage: Rehearsal, call: str, *names: str) -> None:
    """Post these, one after another, in a life that dies before its last `call`; a later life delivers.

    A life before it, which posts as many, shows where the call is made.
    """
    dst, uncut = await stage.destination(), Fuse()
    async with stage.life() as life:
        assert await life.post(dst, "e-0")
    # After a duplicate, the flushes of a destination have several calls and a COMMIT of their own.
    repeated = ["e-0"] if call == "COMMIT" else []
    async with stage.life(uncut) as life:
        for name in (*repeated, *(f"before-{name}" for name in names)):
            assert await life.post(dst, name)
    at = 1 + max(n for n, made in enumerate(uncut.calls) if made.startswith(call))
    async with stage.life(Fuse(at=at, how=Break.DIE_BEFORE)) as life:
        for name in (*repeated, *names):
            await life.post(dst, name)
    await stage.time_passes(leases=True)
    async with stage.life() as life:
        await life.deliver()


async def test_what_was_acknowledged_before_the_commit_failed_is_stored(database_url: str) -> None:
    """The process dies at the COMMIT that holds a caller's events: the caller got no response."""
    async with rehearse(database_url) as stage:
        await dying_at(stage, "COMMIT", "e-2")
        assert await verdict(stage) == []
        assert "e-2" not in stage.evidence.stored


async def test_what_was_acknowledged_before_the_one_call_failed_is_stored(database_url: str) -> None:
    """The same where everything is as usual, and a flush is one call: from the second of a life on."""
    async with rehearse(database_url) as stage:
        await dying_at(stage, "SELECT pg_temp.store_flush", "e-3", "e-4")
        assert await verdict(stage) == []
        assert "e-3" in stage.evidence.stored
        assert "e-4" not in stage.evidence.stored


async def test_a_worker_that_wakes_after_its_lease_changes_nothing(database_url: str) -> None:
    """It was stopped in the middle of a request; another one owns the lane now. No row differs afterwards."""
    stopped, woken = asyncio.Event(), asyncio.Event()

    async def hang(request: Request) -> Reply:
        if request.number == 1:
            stopped.set()
            await woken.wait()
        return take(request)

    async with rehearse(database_url, StandIn(hang)) as stage:
        dst = await stage.destination()
        async with stage.life() as sleeper, stage.life(writer=2) as other:
            assert await sleeper.post(dst, "e-1", "e-2")
            working = asyncio.create_task(sleeper.deliver(steps=1))
            await stopped.wait()
            await stage.office.execute("UPDATE lanes SET leased_until = now() - interval '1 s'")
            assert await other.ownership.adopt()
            before = await everything(stage.office)
            woken.set()
            await working
            assert await everything(stage.office) == before
            assert not sleeper.ownership.owned
            await other.deliver()
        assert await verdict(stage) == []


async def everything(office: asyncpg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return every row that a worker may write."""
    tables = ("attempts", "batch_states", "exceptions", "counts", "lanes", "destinations", "sign_ins")
    return {
        table: [tuple(row) for row in await office.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]
        for table in tables
    }


async def test_a_batch_that_commits_late_is_not_passed_by(database_url: str) -> None:
    """Its number is lower than that of one that was sent while its own transaction was still open."""
    async with rehearse(database_url) as stage:
        dst = await stage.destination()
        async with stage.life(writer=1) as slow, stage.life(writer=2) as quick:
            assert await slow.post(dst, "e-0")
            # The slow one's flush will wait here, after its batch was written and before its commit.
            holding = stage.office.transaction()
            await holding.start()
            await stage.office.execute("SELECT FROM counts WHERE writer = 1 FOR UPDATE")
            late = asyncio.create_task(slow.post(dst, "e-late"))
            elsewhere = await asyncpg.connect(stage.resources.dsn)
            while not await elsewhere.fetchval(WAITING_LOCKS):
                await asyncio.sleep(0.01)
            await elsewhere.close()
            assert await quick.post(dst, "e-early")
            await quick.ownership.adopt()
            for lane in list(quick.ownership.owned.values()):
                await quick.serve(lane)
            assert {event for request in stage.amazon.requests for event in request.ids} == {"e-0", "e-early"}
            await holding.rollback()
            assert await late
            await quick.deliver()
        assert await verdict(stage) == []
