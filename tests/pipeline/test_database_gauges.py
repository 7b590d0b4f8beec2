"""The gauges of destinations: pace, breaker and token; with a label a destination where asked for."""

import math
import time

from prometheus_client import CollectorRegistry

from app.delivery.database_gauges import DatabaseGauges
from app.store.database import backups, balance
from app.telemetry import Telemetry
from tests.pipeline.world import World, event


def gauges(world: World, *, per_destination: bool) -> tuple[DatabaseGauges, CollectorRegistry]:
    """Return gauges on a registry of their own."""
    telemetry = Telemetry()
    return (
        DatabaseGauges(world.resources.pool, telemetry, per_destination=per_destination),
        telemetry.registry,
    )


async def test_the_lowest_rate_open_breakers_and_the_first_expiry(world: World) -> None:
    """All destinations together; a token counts only where events wait for it."""
    first, second = await world.destination(), await world.destination()
    await world.post(first, event(1))
    reader, registry = gauges(world, per_destination=False)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"amazon_conversions_{name}")

    assert value("lane_rate_limit") is None
    await world.fetch("UPDATE lanes SET learned_rate = 0.5, breaker = 'open'")
    await world.fetch(
        "UPDATE sign_ins SET access_until = now() + interval '1 minute' WHERE destination = $1", second
    )
    await world.fetch(
        "UPDATE sign_ins SET access_until = now() + interval '10 minutes' WHERE destination = $1", first
    )
    await reader.read()
    assert value("lane_rate_limit") == 0.5
    assert value("breaker_open") == 2
    assert math.isclose(value("token_expiry_seconds") or 0, 600, abs_tol=30)


async def test_every_process_shows_the_last_balance_check(world: World) -> None:
    """An API process, which checks nothing, included; NaN until the first check."""
    reader, registry = gauges(world, per_destination=False)

    def value() -> float:
        return registry.get_sample_value("amazon_conversions_event_count_imbalance") or 0.0

    await reader.read()
    assert math.isnan(value())
    async with world.resources.pool.acquire() as connection:
        await balance.finish(connection, imbalance=3, batches=10, mismatches=[])
    await reader.read()
    assert value() == 3
    async with world.resources.pool.acquire() as connection:
        await balance.finish(connection, imbalance=0, batches=10, mismatches=[])
    await reader.read()
    assert value() == 0


async def test_the_last_base_backup_and_the_wal_that_it_waits_for(world: World) -> None:
    """No sample without a base backup and without a slot: nothing would tell 0 from "never"."""
    reader, registry = gauges(world, per_destination=False)

    async def value(name: str) -> float | None:
        await reader.read()
        return registry.get_sample_value(f"amazon_conversions_{name}")

    assert await value("last_base_backup_timestamp_seconds") is None
    assert await value("replication_slot_retained_bytes") is None
    for _ in range(2):
        async with world.resources.pool.acquire() as connection:
            await backups.note_base(connection)
    noted = await value("last_base_backup_timestamp_seconds")
    assert noted is not None
    assert abs(noted - time.time()) < 60
    # A slot is of the whole cluster, and another test may look for it.
    await world.fetch("SELECT pg_create_physical_replication_slot($1, true)", backups.SLOT)
    try:
        before = await value("replication_slot_retained_bytes")
        await world.fetch("SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))")
        after = await value("replication_slot_retained_bytes")
    finally:
        await world.fetch("SELECT pg_drop_replication_slot($1)", backups.SLOT)
    assert before is not None
    assert after is not None
    assert after - before >= 1_000_000


async def test_each_destination_has_its_series_where_asked_for(world: World) -> None:
    """METRICS_PER_DESTINATION: the same names, one label more."""
    first = await world.destination()
    await world.post(first, event(1), event(2))
    reader, registry = gauges(world, per_destination=True)
    await reader.read()
    labels = {"destination": first}
    assert registry.get_sample_value("amazon_conversions_waiting_events", {**labels, "status": "queued"}) == 2
    assert registry.get_sample_value("amazon_conversions_breaker_open", labels) == 0
