"""A person's events are found wherever they are stored, by the hashes of an erasure, and counted only."""

import asyncio

from app.admin.privacy import subject_search
from app.admin.privacy.erasure import values_of
from app.admin.privacy.subject_search import SubjectSearch
from app.domain.ids import DEFAULT_ORGANISATION
from app.store.organisations.scope import scoped_pool
from tests.pipeline.world import World, event


async def search(world: World, *, after: int = 0, monotonic: object = None, **fields: str) -> SubjectSearch:
    clock = asyncio.get_running_loop().time
    return await subject_search.search(
        scoped_pool((world.receiving or world.resources).pool, DEFAULT_ORGANISATION),
        world.resources.vault,
        values_of(fields),
        after=after,
        monotonic=monotonic or clock,  # type: ignore[arg-type]
    )


async def test_a_person_is_found_by_destination_and_status(world: World) -> None:
    """Delivered and waiting events of two destinations; other people are not counted."""
    first, second = await world.destination(), await world.destination()
    await world.post(first, event(3), event(4))
    world.work()
    await world.until(first, delivered=2)
    await world.stop_workers()
    await world.post(second, event(5))
    await world.post(second, {**event(3), "event_id": "again"}, event(6))
    found = await search(world, email=" Person3@Example.com ")
    assert found.events == {(first, "delivered"): 1, (second, "waiting"): 1}
    assert (found.batches, found.unreadable, found.cursor) == (3, 0, None)
    by_hash = await search(world, hash=(await hashed(world)))
    assert by_hash.events == found.events
    assert (await search(world, email="nobody@example.com")).events.total() == 0
    assert "person3" not in repr(found)


async def hashed(world: World) -> str:
    """Return the match key of the person, as Amazon received it."""
    bodies = [body for request in world.amazon.requests for body in request.events]
    keys = [value for body in bodies for key in body["matchKeys"] for value in key["values"]]
    return str(keys[0])


async def test_a_search_out_of_time_goes_on_where_it_stopped(world: World) -> None:
    """Each request searches for some seconds; the sum of the parts is the whole."""
    dst = await world.destination()
    for number in range(25):
        await world.post(dst, {**event(3), "event_id": f"e{number}"})
    ticks = iter(range(0, 10_000, 100))
    part = await search(world, email="person3@example.com", monotonic=lambda: next(ticks))
    assert part.cursor is not None
    rest = await search(world, email="person3@example.com", after=part.cursor)
    assert rest.cursor is None
    assert part.events.total() + rest.events.total() == 25
