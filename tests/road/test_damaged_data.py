"""Damaged or missing data of one batch: exactly that batch is a named failure, everything else goes on."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.road.damaging import HARMLESS, UNREADABLE, Damage
from tests.road.world import World, event
from tests.web import world as web


@pytest_asyncio.fixture
async def api(world: World, engine: AsyncEngine) -> AsyncIterator[web.World]:
    """The API on the same database as the road."""
    made = web.make_world(engine)
    application = made.client._transport.app  # type: ignore[attr-defined]
    resources = world.resources
    application.state.wiring = replace(made.wiring, pool=resources.pool, vault=resources.vault)
    yield made
    await made.client.aclose()


async def newest_parcel(world: World, destination: str) -> int:
    rows = await world.fetch(
        "SELECT max(parcel) FROM parcel_states WHERE destination = $1", await world.number(destination)
    )
    return int(rows[0][0])


async def spoil(world: World, destination: str, damage: Damage) -> int:
    """Spoil the newest batch of a destination."""
    parcel = await newest_parcel(world, destination)
    async with world.resources.pool.acquire() as c:
        await damage(c, parcel)
    return parcel


def sample(world: World, name: str, **labels: str) -> float:
    return world.resources.telemetry.registry.get_sample_value(name, labels) or 0.0


# So many that their content is stored in chunks.
MANY = 80


@pytest.mark.parametrize("damage", [pytest.param(one, id=name) for name, one in UNREADABLE.items()])
async def test_a_damaged_batch_is_dead_and_its_neighbours_are_delivered(
    world: World, api: web.World, damage: Damage
) -> None:
    """Counts add up; the sister destination on the same lane has its turn; every view answers."""
    sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    await world.post(sick, *(event(n) for n in range(MANY)))
    parcel = await spoil(world, sick, damage)
    await world.post(sick, event(1001), event(1002))
    await world.post(sister, event(2001))
    (state,) = await world.fetch("SELECT events FROM parcel_states WHERE parcel = $1", parcel)
    extra = state["events"] - MANY
    if extra:  # so that the sums can add up to what the row claims
        await world.fetch("UPDATE counts SET accepted = accepted + 1 WHERE accepted > 70")
    world.work()
    await world.until(sister, seconds=5, delivered=1)
    await world.until(sick, seconds=5, dead=MANY + extra, delivered=2)
    rows = await world.fetch("SELECT reason, code, count(*) AS n FROM exceptions GROUP BY 1, 2")
    assert [tuple(row) for row in rows] == [("unreadable", "MISC_ERROR", MANY + extra)]
    named = world.resources.telemetry.unreadable_batches.collect()[0].samples
    assert sum(one.value for one in named if one.name.endswith("_total")) == 1
    await every_view_answers(api, sick)
    history = (await api.call("GET", f"/events/ord-5?destination_id={sick}")).json()
    assert (history["status"], history["reason"], history["event_id"]) == ("dead", "unreadable", "ord-5")


async def every_view_answers(api: web.World, destination: str) -> None:
    for path in (
        f"/destinations/{destination}/stats",
        f"/destinations/{destination}/events",
        f"/destinations/{destination}/events?status=dead",
        f"/destinations/{destination}/events?execution_id=x1",
        f"/destinations/{destination}/consent-records",
    ):
        answer = await api.call("GET", path)
        assert answer.status_code == 200, (path, answer.text)
        assert "unreadable_batches" in answer.json()


@pytest.mark.parametrize("damage", [pytest.param(one, id=name) for name, one in HARMLESS.items()])
async def test_what_delivery_does_without_is_delivered(world: World, api: web.World, damage: Damage) -> None:
    """Where its shapes are damaged, lists say so and the history still tells the status."""
    dst = await world.destination()
    await world.post(dst, event(1), event(2))
    parcel = await spoil(world, dst, damage)
    await world.post(dst, event(3))
    world.work()
    await world.until(dst, seconds=5, delivered=3)
    await every_view_answers(api, dst)
    (row,) = await world.fetch(
        "SELECT bytes > 1000000000 AS is_size FROM parcel_states WHERE parcel = $1", parcel
    )
    listed = (await api.call("GET", f"/destinations/{dst}/events")).json()
    history = (await api.call("GET", f"/events/ord-1?destination_id={dst}")).json()
    assert history["status"] == "delivered"
    if row["is_size"]:
        assert (len(listed["items"]), listed["unreadable_batches"]) == (3, 0)
        return
    assert (len(listed["items"]), listed["unreadable_batches"]) == (1, 1)
    assert (history["event_id"], history["event_time"], history["match_keys"]) == ("ord-1", None, [])
    assert "damaged" in history["explanation"]
