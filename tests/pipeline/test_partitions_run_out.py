"""Partitions that run out are made when that is noticed, not when an hour has passed.

An hour of monotonic time can be days of the database's: after its clock was set, or a long suspend.
"""

from tests.pipeline.world import World, event


async def drop_partitions(world: World, *tables: str) -> None:
    rows = await world.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = ANY($1::text[]::regclass[])",
        list(tables),
    )
    for row in rows:
        await world.fetch(f"DROP TABLE {row['name']}")


async def test_maintenance_creates_missing_partitions(world: World) -> None:
    """Its last maintenance was a moment ago, as after a suspend; posts are refused until it comes round."""
    dst = await world.destination()
    maintenance = world.work().maintenance
    await world.stop_workers()
    await maintenance.run()
    await drop_partitions(world, "batches", "attempts", "batch_states")
    assert (await world.try_post(dst, event(1))) is None
    await maintenance.run()
    assert [one.status for one in await world.post(dst, event(1))] == ["accepted"]


async def test_maintenance_creates_partitions_despite_a_damaged_page(world: World) -> None:
    """Expiring reads all that is open; what it trips over must not end intake some days later."""
    dst = await world.destination()
    maintenance = world.work().maintenance
    await world.stop_workers()
    await maintenance.run()
    await drop_partitions(world, "batches", "attempts", "batch_states")
    await world.fetch("ALTER TABLE exceptions RENAME TO exceptions_lost")
    await maintenance.run()
    assert [one.status for one in await world.post(dst, event(1))] == ["accepted"]


async def test_a_worker_that_finds_none_for_its_attempt_has_them_made(world: World) -> None:
    """Without waiting for the next sweep."""
    dst = await world.destination()
    dispatcher = world.work()
    dispatcher.maintenance.every_s = 600  # type: ignore[misc]
    await world.post(dst, event(1))
    await world.until(dst, delivered=1)
    await drop_partitions(world, "attempts")
    await world.post(dst, event(2))
    await world.until(dst, delivered=2)
