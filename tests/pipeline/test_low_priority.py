"""What `priority=low` promises: the same pipeline and the same ledger, behind everything live."""

from app.ingest.intake import EventResult
from tests.pipeline.world import World, event


async def post_low(world: World, dst: str, *numbers: int) -> list[EventResult]:
    return await world.post(dst, *(event(n) for n in numbers), low_priority=True)


async def test_what_is_live_leaves_first_however_much_was_filled_in_before(world: World) -> None:
    """Three low requests wait; the live one that came last is not the last to leave."""
    dst = await world.destination(rate=20, burst=1)
    for start in (0, 500, 1000):
        await post_low(world, dst, *range(start, start + 500))
    await world.post(dst, *(event(n) for n in range(5000, 5010)))
    world.work()
    await world.until(dst, delivered=1510)
    sizes = [len(request.events) for request in world.amazon.requests]
    assert sizes.index(10) <= 1
    assert sorted(sizes) == [10, 500, 500, 500]


async def test_low_and_live_share_one_commit_and_no_batch(world: World) -> None:
    """A batch waits in one queue; what came with `low` stands in the one for replays."""
    dst = await world.destination()
    await post_low(world, dst, 1, 2)
    await world.post(dst, event(3))
    rows = await world.fetch("SELECT queue, events FROM batch_states ORDER BY queue")
    assert [(row["queue"], row["events"]) for row in rows] == [(0, 1), (2, 2)]


async def test_an_id_is_accepted_once_whatever_its_priority(world: World) -> None:
    """Filling in what came live already, or twice, is harmless."""
    dst = await world.destination()
    await world.post(dst, event(1))
    assert [one.status for one in await post_low(world, dst, 1, 2)] == ["duplicate", "accepted"]
    assert [one.status for one in await post_low(world, dst, 1, 2)] == ["duplicate", "duplicate"]
    assert (await world.counts(dst))["accepted"] == 2


async def test_what_fails_keeps_its_place_behind_what_is_live(world: World) -> None:
    """A low event that Amazon wants again is retried among replays, not among live retries."""
    dst = await world.destination()
    world.amazon.script = lambda request: (
        None if request.number else world.amazon.take(request, but=range(len(request.events)))
    )
    await post_low(world, dst, 1)
    world.work()
    await world.until(dst, delivered=1)
    rows = await world.fetch("SELECT queue, status FROM exceptions")
    assert [(row["queue"], row["status"]) for row in rows] == [(2, "delivered")]
