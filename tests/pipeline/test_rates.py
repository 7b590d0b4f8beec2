"""The rates of incoming and outgoing events of a destination."""

from datetime import timedelta

from app.store.destinations import figures
from tests.pipeline.world import World, event

SPAN = timedelta(minutes=5)


async def _rates(world: World, destination: str, newest: int = 1_000) -> figures.Rates:
    number = await world.number(destination)
    async with world.resources.pool.acquire() as connection:
        return await figures.rates(connection, number, SPAN, newest=newest)


async def test_rates_are_of_the_last_span(world: World) -> None:
    """Nothing before anything; then what came and what Amazon took; what is older no longer counts."""
    dst = await world.destination()
    assert await _rates(world, dst) == figures.Rates(0, 0, 0, 0)
    await world.post(dst, *[event(n) for n in range(60)])
    world.work()
    await world.until(dst, delivered=60)
    rates = await _rates(world, dst)
    assert (rates.accepted_per_second, rates.delivered_per_second) == (0.2, 0.2)
    assert rates.requests_per_second > 0 == rates.failed_requests_per_second
    await world.stop_workers()
    await world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '6 minutes'")
    assert (await _rates(world, dst)).accepted_per_second == 0


async def test_of_very_many_batches_the_newest_tell(world: World) -> None:
    """Where those that are read are all of the span, the rate is by the time they cover, not by the span."""
    dst = await world.destination()
    for n in range(6):
        await world.post(dst, event(n))
    assert (await _rates(world, dst, newest=3)).accepted_per_second > 6 / SPAN.total_seconds()
