"""A 404 for a whole request: tried again, then the destination waits, and goes on when Amazon answers."""

import asyncio
from itertools import pairwise

import httpx
import pytest

from app.domain.outcomes.missing_endpoint import EndpointPolicy
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event, eventually

QUICK = EndpointPolicy(times=3, over=0.3, probe_every=0.6)
GONE = httpx.Response(404, json={"code": "NOT_FOUND", "message": "No such account"})


async def state(world: World, dst: str) -> tuple[str, str | None]:
    (row,) = await world.fetch("SELECT state, sign_in_reason FROM destinations WHERE id = $1", dst)
    return row["state"], row["sign_in_reason"]


async def test_a_404_parks_a_destination_and_a_probe_resumes_it(world: World) -> None:
    """Nothing dies; probes are single requests, some time apart; every event is delivered once."""
    dst, sister = await world.destination(advertiser="5"), await world.destination(advertiser="6")
    gone = True
    at: list[float] = []

    def script(request: Request) -> httpx.Response | None:
        if not gone or request.advertiser_id != "5":
            return None
        at.append(asyncio.get_running_loop().time())
        return GONE

    world.amazon.script = script
    await world.post(dst, event(1), event(2))
    world.work(endpoint=QUICK)
    await eventually(lambda: _is(world, dst, ("needs_reconnect", "endpoint_not_found")))
    counts = await world.counts(dst)
    assert (counts["parked"], counts["dead"]) == (2, 0)
    assert len(at) >= QUICK.times
    parked = len(at)
    await world.post(dst, event(3))
    await world.post(sister, event(1))
    await world.until(sister, delivered=1)
    await eventually(lambda: _value(len(at) >= parked + 2))
    assert await state(world, dst) == ("needs_reconnect", "endpoint_not_found")
    assert all(after - before >= QUICK.probe_every * 0.9 for before, after in pairwise(at[parked:]))
    gone = False
    counts = await world.until(dst, delivered=3)
    assert counts["dead"] == 0
    assert await state(world, dst) == ("active", None)
    assert set(world.amazon.times.values()) == {1}
    assert all(len(hashes) == 1 for hashes in world.amazon.accepted.values())


async def test_a_404_that_passes_parks_nothing(world: World) -> None:
    """Two of them, and the same bytes are sent again."""
    dst = await world.destination()
    left = [GONE, GONE]
    world.amazon.script = lambda request: left.pop() if left else None
    await world.post(dst, event(1))
    world.work(endpoint=QUICK)
    counts = await world.until(dst, delivered=1)
    assert counts["dead"] == 0
    assert await state(world, dst) == ("active", None)
    assert len({request.body for request in world.amazon.requests}) == 1


@pytest.mark.long
async def test_a_pause_ends_the_probes(world: World) -> None:
    """A paused destination is left alone, whatever it waited for."""
    dst = await world.destination()
    world.amazon.script = lambda request: GONE
    await world.post(dst, event(1))
    world.work(endpoint=QUICK)
    await eventually(lambda: _is(world, dst, ("needs_reconnect", "endpoint_not_found")))
    await world.fetch("UPDATE destinations SET paused = true, version = version + 1")
    await world.holding().quiesce(await world.number(dst))
    requests = len(world.amazon.requests)
    await asyncio.sleep(QUICK.probe_every + 1.2)
    assert len(world.amazon.requests) == requests
    assert (await world.counts(dst))["held"] == 1


async def _is(world: World, dst: str, wanted: tuple[str, str | None]) -> bool:
    return await state(world, dst) == wanted


async def _value(value: object) -> object:
    return value
