"""Lanes under stress: estimates are stored; a lane that fails or hangs delays no other lane."""

import asyncio
from contextlib import nullcontext

import httpx
import pytest

from app.delivery.lane import POLL_EVERY_S
from app.domain.pacing.lane_limits import Times
from app.domain.pacing.order import CAPACITY, Capacity
from app.processes import clients, worker
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event, eventually, settings_of


async def test_an_estimated_rate_is_stored_and_used_by_the_next_owner(world: World) -> None:
    """Twenty 429s lower the rate; it is in the lane's row, and a new worker starts with it."""
    dst = await world.destination(rate=50, burst=1)
    left = [httpx.Response(429, headers={"Retry-After": "0"}) for _ in range(20)]
    world.amazon.script = lambda request: left.pop() if left else None
    world.work()
    await world.post(dst, event(1))
    await world.until(dst, delivered=1)
    (row,) = await eventually(
        lambda: world.fetch("SELECT learned_rate FROM lanes WHERE learned_rate IS NOT NULL")
    )
    assert row["learned_rate"] < 50
    await world.stop_workers()
    dispatcher = world.work()
    await world.post(dst, event(2))
    await world.until(dst, delivered=2)
    (lane,) = dispatcher.leases.owned.values()
    assert lane.pace.estimate.rate is not None
    assert lane.pace.estimate.rate < 50


async def test_a_broken_lane_opens_its_breaker_probes_rarely_and_heals(world: World, dst: str) -> None:
    """Few requests while Amazon fails; the row says open; everything is delivered afterwards."""
    world.amazon.script = lambda request: httpx.Response(503)
    await world.post_apart(dst, 20)
    world.stop_clock()
    world.work()

    async def retry_for(seconds: int) -> int:
        """Let every retry be due at any time; return how many requests were sent."""
        before = len(world.amazon.requests)
        for _ in range(2 * seconds):
            await world.make_due()
            await world.advance(0.5)
        return len(world.amazon.requests) - before

    await retry_for(2)
    assert await world.fetch("SELECT 1 FROM lanes WHERE breaker <> 'closed' AND error_rate > 0.5")
    assert 1 <= await retry_for(40) <= 5
    world.amazon.script = None
    await retry_for(40)
    assert (await world.counts(dst))["delivered"] == 20
    assert await world.fetch("SELECT 1 FROM lanes WHERE breaker = 'closed'")


# Nothing below takes as long as a request that hangs, however busy the machine is.
PATIENT = Times(lease=360, request=120)


@pytest.mark.parametrize("hanging", [1, 2])
async def test_lanes_that_hang_leave_places_for_the_others(world: World, hanging: int) -> None:
    """Each has proved well before, so that it may have as many requests under way as any lane."""
    made = [await world.destination(advertiser=str(500 + n), rate=500) for n in range(6)]
    names = {str(500 + n) for n in range(hanging)}
    release, under_way = asyncio.Event(), 0
    hangs = False

    async def hang() -> None:
        nonlocal under_way
        under_way += 1
        await release.wait()

    def script(request: Request) -> object:
        return hang() if hangs and request.advertiser_id in names else None

    world.amazon.script = script  # type: ignore[assignment]
    world.stop_clock()
    world.work(times=PATIENT)
    number = 0
    # A lane's limit grows with each answer.
    for _ in range(CAPACITY.lane + 1):
        number += 1
        for dst in made[:hanging]:
            await world.post(dst, event(number))
        await world.advance(2 * POLL_EVERY_S)
    hangs = True
    try:
        before = -1
        while before < under_way:
            before = under_way
            number += 1
            for dst in made[:hanging]:
                await world.post(dst, event(number))
            await world.advance(2 * POLL_EVERY_S)
        assert under_way >= CAPACITY.lane
        for turn in range(3):
            for dst in made[hanging:]:
                await world.post(dst, event(turn))
            await world.advance(2 * POLL_EVERY_S)
            counts = [await world.counts(dst) for dst in made[hanging:]]
            assert {each["delivered"] for each in counts} == {turn + 1}
    finally:
        release.set()
    await world.advance(10)
    assert [(await world.counts(dst))["delivered"] for dst in made[:hanging]] == [number] * hanging


async def test_token_servers_that_hang_take_no_places(world: World) -> None:
    """More destinations wait for a token than requests may be under way; one that has a token is served."""
    waiting = [await world.destination() for _ in range(CAPACITY.total + 2)]
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    served = await world.destination()
    world.amazon.token_server = asyncio.Event()
    for dst in waiting:
        await world.post(dst, event(1))
    world.work(times=PATIENT)
    all_ask = "SELECT FROM sign_ins WHERE refresh_until > clock_timestamp() HAVING count(*) = $1"
    try:
        await eventually(lambda: world.fetch(all_ask, len(waiting)))
        await world.post(served, event(1))
        await world.until(served, delivered=1)
    finally:
        world.amazon.token_server.set()
    for dst in waiting:
        await world.until(dst, delivered=1)
    assert set(world.amazon.times.values()) == {1}


async def test_a_worker_has_a_connection_for_each_request_of_a_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that waits for a connection has its time running already."""
    opened: list[int] = []

    def stop(*_: object, connections: int, **__: object) -> None:
        opened.append(connections)
        raise asyncio.CancelledError

    monkeypatch.setattr(clients, "EventsClient", stop)
    monkeypatch.setattr(worker, "open_resources", lambda *_, **__: nullcontext())
    settings = settings_of("postgresql://x/y").model_copy(update={"max_requests_in_flight": 48})
    with pytest.raises(asyncio.CancelledError):
        await worker._run(settings)
    assert opened == [Capacity(48).region]
