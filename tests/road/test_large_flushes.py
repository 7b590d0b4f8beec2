"""Large flushes take their keys to be free, and are written once more where they are not (ADR 0072)."""

import asyncio
from typing import Any

import asyncpg

from app.intake.storing import BOLD_FROM, CAUTIOUS_FLUSHES
from app.store import partitions
from tests.chaos.amazon import StandIn, take
from tests.chaos.fuse import Fuse
from tests.chaos.rehearsal import rehearse
from tests.road.world import World, event, eventually, make_world


def many(first: int, events: int = BOLD_FROM) -> list[dict[str, Any]]:
    """So many events that their flush is bold."""
    return [event(number) for number in range(first, first + events)]


def statuses(results: Any) -> list[str]:
    return [result.status for result in results]


async def test_repeats_in_a_large_post_are_told_apart_from_what_is_new(world: World) -> None:
    """One that is new, one that is other than it was, and the rest the same as before."""
    dst = await world.destination()
    assert set(statuses(await world.post(dst, *many(0)))) == {"accepted"}
    other = event(1, user={"email": "somebody@example.com"})
    told = await world.post(dst, event(10_000), other, *many(2))
    assert statuses(told) == ["accepted", "rejected"] + ["duplicate"] * (BOLD_FROM - 2) + ["accepted"] * 2
    assert told[1].rejection is not None
    assert told[1].rejection.reason == "event_id_conflict"
    await world.until(dst, accepted=BOLD_FROM + 3, duplicates=BOLD_FROM - 2, rejected=1)


async def test_a_key_of_an_earlier_generation_is_met(world: World) -> None:
    """Two generations back, by a flush that inserts into the third."""
    dst = await world.destination()
    await world.post(dst, event(7))
    async with world.resources.pool.acquire() as c:
        for _ in range(2):
            await c.execute("UPDATE ledger_generations SET began_at = began_at - interval '11 days'")
            assert await partitions.rotate_ledger(c) is not None
            told = statuses(await world.post(dst, *many(0)))
            assert (told[7], told.count("duplicate")) == (
                "duplicate",
                1 if told[0] == "accepted" else BOLD_FROM,
            )


async def test_the_same_ids_in_opposite_order_do_not_deadlock(world: World, database_url: str) -> None:
    """Two processes insert them against each other; every id is accepted once."""
    dst = await world.destination()
    async with make_world(database_url) as other:
        for turn in range(4):
            named = many(turn * 1000)
            ours, theirs = await asyncio.gather(world.post(dst, *named), other.post(dst, *reversed(named)))
            won = [r.event_id for r in (*ours, *theirs) if r.status == "accepted"]
            assert sorted(won) == sorted(e["event_id"] for e in named)


async def test_a_key_under_way_elsewhere_is_waited_for(world: World) -> None:
    """It is free again when the other rolls back, and a repeat when the other commits."""
    dst = await world.destination()
    await world.post(dst, event(1))
    (row,) = await world.fetch("DELETE FROM ledger RETURNING *")
    for end, first in (("ROLLBACK", "accepted"), ("COMMIT", "duplicate")):
        await world.fetch("DELETE FROM ledger")
        other = await asyncpg.connect(world.resources.dsn)
        await other.execute("BEGIN")
        await other.execute("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)", *row.values())
        posting = asyncio.create_task(world.post(dst, *many(1)))

        async def waits() -> bool:
            return bool(
                await world.fetch("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            )

        await eventually(waits)
        assert not posting.done()
        await other.execute(end)
        assert statuses(await posting) == [first] + ["accepted"] * (BOLD_FROM - 1)
        await other.close()


async def test_after_a_repeat_flushes_are_cautious_for_a_while(database_url: str) -> None:
    """Where a caller repeats once it often does again; each bold flush that fails is written twice."""
    async with rehearse(database_url, StandIn(take)) as stage:
        dst, fuse = await stage.destination(), Fuse()
        async with stage.life(fuse) as life:

            async def is_bold(first: int) -> bool:
                fuse.calls.clear()
                assert await life.post(dst, *(f"e-{n}" for n in range(first, first + BOLD_FROM)))
                return "COPY ledger" in fuse.calls

            assert await is_bold(0)
            assert await is_bold(1)  # meets repeats
            for turn in range(1, 1 + CAUTIOUS_FLUSHES):
                assert not await is_bold(turn * 1000)
            assert await is_bold(100_000)
