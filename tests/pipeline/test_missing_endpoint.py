"""A 404 for a whole request: tried again, then the destination waits, and goes on when Amazon answers."""

import httpx

from app.domain.outcomes.settle import ENDPOINT_POLICY, EndpointPolicy
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event, locked

GONE = httpx.Response(404, json={"code": "NOT_FOUND", "message": "No such account"})


async def state(world: World, dst: str) -> tuple[str, str | None]:
    (row,) = await world.fetch("SELECT state, sign_in_reason FROM destinations WHERE id = $1", dst)
    return row["state"], row["sign_in_reason"]


async def fail_until_parked(world: World, dst: str) -> None:
    """Let its retries be due until the destination waits for its endpoint."""
    for _ in range(ENDPOINT_POLICY.times + 1):
        await world.make_due()
        await world.advance(ENDPOINT_POLICY.over / 2)
    assert await state(world, dst) == ("needs_reconnect", "endpoint_not_found")


async def sent_when_probed(world: World) -> int:
    """Let the next probe be due; return how many requests are sent in the next minute."""
    before = len(world.amazon.requests)
    await world.fetch("UPDATE destinations SET endpoint_probe_at = now()")
    await world.advance(60)
    return len(world.amazon.requests) - before


async def test_a_404_parks_a_destination_and_a_probe_resumes_it(world: World) -> None:
    """Nothing dies; probes are single requests, some time apart; every event is delivered once."""
    dst, sister = await world.destination(advertiser="5"), await world.destination(advertiser="6")
    is_gone = True
    world.amazon.script = lambda request: GONE if is_gone and request.advertiser_id == "5" else None
    await world.post(dst, event(1), event(2))
    world.stop_clock()
    world.work()
    await fail_until_parked(world, dst)
    counts = await world.counts(dst)
    assert (counts["parked"], counts["dead"]) == (2, 0)
    assert len(world.amazon.requests) >= ENDPOINT_POLICY.times
    await world.post(dst, event(3))
    await world.post(sister, event(1))
    await world.advance(60)
    assert (await world.counts(sister))["delivered"] == 1
    for _ in range(2):
        assert await sent_when_probed(world) == 1
        (row,) = await world.fetch(
            "SELECT endpoint_probe_at - now() > interval '1 s' * $2 AS is_later "
            "FROM destinations WHERE id = $1",
            dst,
            ENDPOINT_POLICY.probe_every * 0.9,
        )
        assert row["is_later"]
    assert await state(world, dst) == ("needs_reconnect", "endpoint_not_found")
    is_gone = False
    await sent_when_probed(world)
    await world.make_due()
    await world.advance(60)
    counts = await world.counts(dst)
    assert (counts["delivered"], counts["dead"]) == (3, 0)
    assert await state(world, dst) == ("active", None)
    assert set(world.amazon.times.values()) == {1}
    assert all(len(hashes) == 1 for hashes in world.amazon.accepted.values())


async def test_a_locked_destination_lets_no_accepted_probe_leave_again(world: World) -> None:
    """The probe is stored, although the destination resumes only after the next one."""
    dst = await world.destination(event(1))
    blocking = await world.resources.connect()
    is_gone = True

    async def lock(_: Request) -> httpx.Response | None:
        if is_gone:
            return GONE
        await blocking.execute("BEGIN; SELECT FROM destinations FOR UPDATE")
        return None

    world.amazon.script = lock
    world.stop_clock()
    world.work()
    await fail_until_parked(world, dst)
    is_gone = False
    await sent_when_probed(world)
    assert (await world.counts(dst))["delivered"] == 1
    assert await state(world, dst) == ("needs_reconnect", "endpoint_not_found")
    await blocking.close()
    world.amazon.script = None
    await world.post(dst, event(2))
    assert await sent_when_probed(world) == 1
    assert await state(world, dst) == ("active", None)
    assert set(world.amazon.times.values()) == {1}


async def test_a_404_is_stored_while_another_session_locks_the_destination(world: World) -> None:
    """The destination waits for its endpoint when the lock ends."""
    dst = await world.destination(event(1))
    world.amazon.script = lambda _: GONE
    clock = world.stop_clock()
    world.work(endpoint=EndpointPolicy(times=2, over=10))
    await world.advance(1)
    replies = len(world.amazon.requests)
    # A request may begin, but the destination cannot be changed.
    async with locked(world, "SELECT FROM destinations FOR SHARE"):
        clock.step(20)
        await world.make_due()
        await world.advance(0.5)
        assert await state(world, dst) == ("active", None)
        assert await world.fetch("SELECT FROM attempts WHERE settled_at IS NULL") == []
        await world.advance(2)
        assert len(world.amazon.requests) == replies + 1
    await world.advance(2)
    assert await state(world, dst) == ("needs_reconnect", "endpoint_not_found")
    counts = await world.counts(dst)
    assert (counts["accepted"], counts["parked"]) == (1, 1)


async def test_a_pause_ends_the_probes(world: World, dst: str) -> None:
    """A paused destination is left alone, whatever it waited for."""
    world.amazon.script = lambda request: GONE
    await world.post(dst, event(1))
    world.stop_clock()
    world.work()
    await fail_until_parked(world, dst)
    assert await sent_when_probed(world) == 1
    await world.fetch("UPDATE destinations SET paused = true, version = version + 1")
    await world.holding().quiesce(await world.number(dst))
    assert await sent_when_probed(world) == 0
    assert (await world.counts(dst))["held"] == 1
