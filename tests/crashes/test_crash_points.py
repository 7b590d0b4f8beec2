"""Every call to the database or to Amazon may fail: each is tried, and nothing is lost at any.

The process dies at the call, or the call answers with an error and the process lives on. A small workload
meets the answers that change most: a part refused for now, a 429, a lost answer, a poisoned event. It runs
once to count its calls, and once for each of them. Callers repeat posts without a response; the judge checks
everything.
"""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence

import asyncpg
import pytest

from tests.crashes.amazon import Reply, StandIn, refuse, say_nothing_of, take, take_and_hang_up
from tests.crashes.evidence import Evidence, Request
from tests.crashes.fuse import Answer, Break, Fuse
from tests.crashes.judge import judge
from tests.crashes.rehearsal import Rehearsal, rehearse
from tests.databases import WAITING_LOCKS
from tests.tables import cases

POISON = "e-7"
# The first flush learns the ledger's generation, the second goes in one round trip, the third would have.
POSTS = (("e-1", "e-2", "e-3"), ("e-9", "e-10"), ("e-3", "e-4"), ("e-5", "e-6", POISON, "e-8"))
# `./run test` tries one point in twelve, the same ones each time; with CHAOS=full all are tried.
STRIDE = 1 if os.environ.get("CHAOS") == "full" else 12


def moody(request: Request) -> Reply:
    """The first answers are each of another kind; then all are honest, but for the poisoned event."""
    if POISON in request.ids:
        return refuse(400)(request)
    match request.number:
        case 1:
            return refuse(429, retry_after=1)(request)
        case 3:
            return take(request, but={0})
        case 4:
            return take_and_hang_up(request)
        case 5:
            return say_nothing_of(request)
        case _:
            return take(request)


async def perform(stage: Rehearsal, dst: str, fuse: Fuse) -> None:
    """One life under the fuse, and one after it in which callers repeat and everything must end."""
    answered: set[tuple[str, ...]] = set()
    async with stage.life(fuse) as life:
        for post in POSTS:
            if await life.post(dst, *post):
                answered.add(post)
            await life.deliver(steps=2)
        await life.deliver()
    await stage.time_passes(leases=True)
    async with stage.life() as life:
        for post in POSTS:
            if post not in answered:
                assert await life.post(dst, *post)
        await life.deliver()
        assert await life.post(dst, "fresh")
        await life.deliver()


async def begin_anew(stage: Rehearsal) -> str:
    """Forget the record of the last performance, whose destination stays behind; return a new one."""
    stage.evidence = Evidence(guilty={POISON})
    stage.amazon.received = 0
    for record in (stage.amazon.requests, stage.destinations):
        record.clear()
    return await stage.destination()


@pytest.mark.parametrize("how", list(Break), ids=lambda how: how.name.lower())
async def test_nothing_is_lost_whichever_call_is_the_last(database_url: str, how: Break) -> None:
    """For each n: acknowledged is stored, delivered was accepted, one wording each, all counts are true."""
    async with rehearse(database_url, StandIn(moody)) as stage:
        uncut = Fuse()
        await perform(stage, await begin_anew(stage), uncut)
        assert judge(await stage.evaluated()) == []
        calls = len(uncut.calls)
        assert calls > 60
        failed, unmet = [], []
        points = range(1 + list(Break).index(how) % STRIDE, calls + 1, STRIDE)
        for n in points:
            fuse = Fuse(at=n, how=how)
            await perform(stage, await begin_anew(stage), fuse)
            if not fuse.blown:  # what is asked in the background differs from run to run
                unmet.append(n)
                continue
            where = f"{how.value}, call {n} ({fuse.calls[n - 1]})"
            failed += [f"{where}: {objection}" for objection in judge(await stage.evaluated())]
        assert failed == []
        # Only the last calls of a longer run may be missing.
        assert all(n > 0.9 * calls for n in unmet), unmet


# `./run test` tries each answer at one call, the same one each time; CHAOS=full tries each at all calls, and
# CHAOS_ANSWERS=XX001,57P01 only these.
IS_FULL = os.environ.get("CHAOS") == "full"
CHOSEN = [one for one in os.environ.get("CHAOS_ANSWERS", "").split(",") if one]
MOST_STEPS = 30  # a usual run needs about twelve


async def go_on(stage: Rehearsal, dst: str, fuse: Fuse) -> int:
    """One life that meets the error and goes on; returns how many steps its worker needed."""
    async with stage.life(fuse) as life:
        for post in (*POSTS, ("fresh",)):
            for _ in range(3):
                if await life.post(dst, *post):
                    break
            else:
                raise AssertionError(f"{post} was not accepted at the third time")
            await life.deliver(steps=2)
        await life.deliver()
    return life.steps


def points(calls: Sequence[int]) -> Iterator[tuple[Answer, int]]:
    """Yield what is tried: an answer, and the number of the call that gives it."""
    luck = random.Random(1)
    for answer in Answer:
        if CHOSEN and answer.value not in CHOSEN:
            continue
        for n in calls if IS_FULL else [luck.choice(calls)]:
            yield answer, n


async def test_nothing_is_lost_whichever_call_answers_with_an_error(database_url: str) -> None:
    """For each n: nothing lost or doubled, no event dead without a cause, and progress in a few steps."""
    async with rehearse(database_url, StandIn(moody)) as stage:
        uncut = Fuse()
        await go_on(stage, await begin_anew(stage), uncut)
        assert judge(await stage.evaluated()) == []
        calls = [n for n, call in enumerate(uncut.calls, start=1) if not call.startswith("POST /")]
        assert len(calls) > 60
        failed, met = [], 0
        for answer, n in points(calls):
            fuse = Fuse(at=n, how=answer)
            where = f"{answer.value} at call {n}"
            try:
                steps = await go_on(stage, await begin_anew(stage), fuse)
            except (AssertionError, MemoryError) as error:
                failed.append(f"{where} ({fuse.calls[n - 1]}): {type(error).__name__} {error}")
                continue
            met += fuse.blown  # what is asked in the background differs from run to run
            where = f"{where} ({fuse.calls[min(n, len(fuse.calls)) - 1]})"
            failed += [f"{where}: {objection}" for objection in judge(await stage.evaluated())]
            if steps > MOST_STEPS:
                failed.append(f"{where}: {steps} steps until everything was delivered")
        assert failed == []
        assert met > 0


async def verdict(stage: Rehearsal) -> list[str]:
    return [str(objection) for objection in judge(await stage.evaluated())]


@cases(
    ("call", "names"),
    {
        "at the COMMIT of several calls": ("COMMIT", ["e-2"]),
        "at the one call, the second of a life": ("SELECT pg_temp.store_flush", ["e-3", "e-4"]),
    },
)
async def test_a_flush_that_dies_was_not_acknowledged(database_url: str, call: str, names: list[str]) -> None:
    """A life dies before the last `call` of its posts; one before it, which posts as many, shows where."""
    # After a duplicate, the flushes of a destination have several calls and a COMMIT of their own.
    repeated = ["e-0"] if call == "COMMIT" else []
    async with rehearse(database_url) as stage:
        dst, uncut = await stage.destination(), Fuse()
        async with stage.life() as life:
            assert await life.post(dst, "e-0")
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
        assert await verdict(stage) == []
        assert [name for name in names if name in stage.evidence.stored] == names[:-1]


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
            await other.ownership.adopt()
            assert other.ownership.owned
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
