"""Lanes under trouble: what they learn is kept, a broken one probes, and a hostile one harms nobody."""

import asyncio

import httpx

from tests.road.amazon import Request
from tests.road.world import World, event, eventually


async def test_a_learned_rate_is_kept_and_held_by_the_next_owner(world: World) -> None:
    """A 429 lowers it, the row shows it, and a new worker begins there."""
    dst = await world.destination(rate=50, burst=1)
    left = [httpx.Response(429, headers={"Retry-After": "0"})]
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
    (lane,) = dispatcher._ownership.owned.values()
    assert lane.pace.learned.rate is not None
    assert lane.pace.learned.rate < 50


async def test_a_broken_lane_opens_its_breaker_probes_rarely_and_heals(world: World) -> None:
    """Few requests while Amazon fails; the row says open; everything is delivered afterwards."""
    dst = await world.destination()
    world.amazon.script = lambda request: httpx.Response(503)
    for number in range(20):
        await world.post(dst, event(number))
    world.work()
    await eventually(
        lambda: world.fetch("SELECT 1 FROM lanes WHERE breaker <> 'closed' AND error_rate > 0.5")
    )
    before = len(world.amazon.requests)
    await asyncio.sleep(2)
    assert len(world.amazon.requests) - before <= 4
    world.amazon.script = None
    await world.fetch("UPDATE parcel_states SET due_at = now()")
    await world.until(dst, delivered=20, seconds=60)
    await eventually(lambda: world.fetch("SELECT 1 FROM lanes WHERE breaker = 'closed'"))


async def test_hostile_lanes_take_no_send_slots_from_the_others(world: World) -> None:
    """One with a million waiting, one that answers after 10 s, one that only fails: 20 others are unharmed.

    Counted in sends: between an event's storing and its send no more than a few requests of any hostile
    lane leave.
    """
    crowded = await world.destination(rate=1000, burst=50)
    slow, failing = await world.destination(), await world.destination()
    for dst in (crowded, slow, failing):
        await world.post(dst, event(0))
    advertisers = dict(await world.fetch("SELECT id, advertiser_id FROM destinations"))
    # Copies that cannot be opened would die at once; these differ in their due time alone and wait.
    await world.fetch(
        """
        INSERT INTO parcel_states (parcel, day, destination, events, bytes, first_event, last_event, data_key,
          due_at)
        SELECT 1000000 + n, s.day, s.destination, 1, s.bytes, s.first_event, s.last_event, s.data_key,
          now() + interval '1 hour'
        FROM parcel_states s, generate_series(1, 1000000) AS n WHERE s.destination = $1
        """,
        await world.number(crowded),
    )

    async def behave(request: Request) -> httpx.Response | None:
        if request.advertiser_id == advertisers[slow]:
            await asyncio.sleep(10)
        return httpx.Response(500) if request.advertiser_id == advertisers[failing] else None

    world.amazon.script = behave
    others = [await world.destination() for _ in range(20)]
    world.work()
    for part in range(1, 11):
        for dst in (*others, slow, failing, crowded):
            await world.post(dst, event(part))
    for dst in others:
        await world.until(dst, delivered=10, seconds=30)
    hostile = {advertisers[slow], advertisers[failing]}
    assert sum(request.advertiser_id in hostile for request in world.amazon.requests) <= 12
