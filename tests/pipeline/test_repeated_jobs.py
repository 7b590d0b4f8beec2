"""A worker's repeated jobs: how long one rests after a run, and partitions that run out."""

import asyncio
import logging
from dataclasses import replace
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import DEFAULT, AsyncMock

import asyncpg
import pytest

from app.delivery.dispatcher import LONGEST_REST_S, rest_after
from app.delivery.maintenance import Maintenance
from app.processes.monitoring_port import DatabaseGauges
from app.store import transactions, waiting_events
from app.store.database import partitions
from app.telemetry import Telemetry
from tests.clock import Clock
from tests.pipeline.test_ready_lanes import bare_dispatcher
from tests.pipeline.world import World, event, eventually
from tests.store.test_pipeline_tables import add_days
from tests.tables import cases


@pytest.mark.parametrize(
    ("took", "previous", "rest"),
    [
        (0.1, 0.1, 1.9),
        (0.25, 0.0, 0.0),  # the first run after a restart of Postgres
        (12.0, 0.01, 0.19),  # a run that hung
        (0.01, 12.0, 0.19),
        (2.0, 2.0, LONGEST_REST_S),
    ],
)
def test_a_job_rests_in_proportion_to_the_shorter_of_two_runs(
    took: float, previous: float, rest: float
) -> None:
    assert rest_after(took, previous, share=1 / 20) == pytest.approx(rest)


async def test_a_job_that_waited_for_a_silent_connection_runs_again_at_once() -> None:
    """Otherwise the only worker whose lease connection is half-open leaves its lanes for ten more seconds."""
    now, runs = 0.0, 0
    has_run_again = asyncio.Event()
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async def reads_from_a_silent_connection() -> None:
        nonlocal now, runs
        runs += 1
        now += 2.0
        if runs == 2:
            has_run_again.set()
        raise asyncpg.InterfaceError("connection is closed")

    telemetry = Telemetry()
    worker: Any = SimpleNamespace(
        monotonic=lambda: now, sleep=rest, timeout=asyncio.timeout, telemetry=telemetry
    )
    dispatcher = bare_dispatcher(worker, lambda: now)
    job = asyncio.create_task(dispatcher._repeat(reads_from_a_silent_connection, 0.01, share=1 / 20))
    try:
        await asyncio.wait_for(has_run_again.wait(), 20)
        assert rests == []
    finally:
        job.cancel()


async def drop_partitions(world: World, *tables: str) -> None:
    rows = await world.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = ANY($1::text[]::regclass[])",
        list(tables),
    )
    for row in rows:
        await world.fetch(f"DROP TABLE {row['name']}")


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_maintenance_creates_missing_partitions(world: World, is_damaged: bool, dst: str) -> None:
    """Its last maintenance was a moment ago, as after a suspend; posts are refused until it comes round.

    Expiring reads all that is open; a damaged page that it trips over must not end intake some days later.
    """
    maintenance = world.work().maintenance
    await world.stop_workers()
    await maintenance.run()
    await drop_partitions(world, "batches", "attempts", "batch_states")
    assert (await world.try_post(dst, event(1))) is None
    if is_damaged:
        await world.fetch("ALTER TABLE exceptions RENAME TO exceptions_lost")
    await maintenance.run()
    assert [one.status for one in await world.post(dst, event(1))] == ["accepted"]


async def test_a_worker_that_finds_none_for_its_attempt_has_them_made(world: World, dst: str) -> None:
    """Without waiting for the next sweep."""
    dispatcher = world.work()
    dispatcher.maintenance.every_s = 600  # type: ignore[misc]
    await world.post(dst, event(1))
    await world.until(dst, delivered=1)
    await drop_partitions(world, "attempts")
    await world.post(dst, event(2))
    await world.until(dst, delivered=2)


async def stopped_maintenance(world: World) -> tuple[Maintenance, Clock]:
    """Return the maintenance of a worker that has stopped, all jobs due, and its clock."""
    dispatcher, clock = world.work(), Clock()
    await world.stop_workers()
    worker = replace(dispatcher.worker, monotonic=clock)
    return Maintenance(worker=worker, retention=dispatcher.maintenance.retention), clock


# No session has such a time. Reading it raises OverflowError, which is no error of a database.
_FAR: Final = "12000-01-01"


async def test_a_job_that_meets_an_unreadable_time_stops_no_other_job(world: World) -> None:
    """A flipped bit made the day of a batch one that the driver cannot represent."""
    dst = await world.destination(event(1))
    await world.post(dst, {"event_id": "old"}, {"event_id": "new"})
    await world.intake.recorder.write()
    maintenance, clock = await stopped_maintenance(world)
    await maintenance.run()
    world.is_damaged = True
    await world.fetch(
        f"CREATE TABLE far_p99991231 PARTITION OF batch_states FOR VALUES FROM ('{_FAR}') TO ('12000-01-11')"
    )
    await world.fetch(f"UPDATE batch_states SET day = '{_FAR}'")
    await world.fetch(
        "UPDATE rejection_records SET received_at = now() - interval '8 days' WHERE event_id = 'old'"
    )
    clock.now += 100  # the next run reads the batches whose ids it indexes
    await maintenance.run()
    rows = await world.fetch("SELECT event_id FROM rejection_records")
    assert [row["event_id"] for row in rows] == ["new"]


OLD: Final = "now() - interval '22 days'"


@cases(
    "status, change",
    {
        "too old": ("expired", f"UPDATE batch_states SET first_event = {OLD}, last_event = {OLD}"),
        "its destination was deleted": ("dead", f"UPDATE destinations SET archived_at = {OLD}"),
    },
)
async def test_an_event_that_maintenance_settles_is_counted_after_the_commit(
    world: World, status: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event whose expiry or discard is rolled back is settled in a later run, and is counted once.

    Not while a request that carries it may have a result.
    """
    monkeypatch.setattr(waiting_events, "DISCARD_LIMIT", 1)
    maintenance, clock = await stopped_maintenance(world)
    dst = await world.destination(event(1))
    await world.post(dst, event(2))
    await world.fetch(change)
    settled = world.resources.telemetry.settled[status]._value
    before = settled.get()
    async with world.refused_commits():
        await maintenance.run()
    assert settled.get() == before
    await world.add_attempt(dst, began=3_600, settled=None)  # with the first batch
    clock.now += 60
    await maintenance.run()
    assert await world.fetch("SELECT FROM batch_states WHERE batch = 1 AND settled_at IS NULL")
    await world.fetch("UPDATE attempts SET settled_at = now(), outcome = 'interrupted'")
    clock.now += 3_600
    await maintenance.run()
    assert settled.get() == before + 2
    assert (await world.counts(dst))[status] == 2
    assert len(await world.fetch("SELECT DISTINCT settled_at FROM batch_states")) == 2


async def test_content_that_another_process_may_be_dropping_is_not_logged_as_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The other process holds the lock of the partitions; the next run drops the content."""
    caplog.set_level(logging.INFO, "app")
    maintenance, clock = await stopped_maintenance(world)
    await world.destination(event(1))
    async with world.resources.pool.acquire() as c:
        await add_days(c, await c.fetchval("SELECT min(day) - 2 FROM batches"))
    await world.fetch("UPDATE batches SET day = day - 2")
    await world.fetch(
        "UPDATE batch_states SET day = day - 2, disposition = 'sent', settled_at = now(), data_key = NULL"
    )
    async with world.resources.pool.acquire() as other, other.transaction():
        await transactions.lock(other, partitions.MAINTENANCE_LOCK)
        await maintenance.run()
    assert "partitions.content_dropped" not in caplog.messages
    clock.now += 3_600
    await maintenance.run()
    assert "partitions.content_dropped" in caplog.messages


async def test_gauges_are_read_again_after_an_unreadable_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Their task goes on, so they are right again once the value is."""
    await world.fetch("ALTER DOMAIN instant DROP CONSTRAINT instant_check")
    await world.fetch(f"INSERT INTO last_base_backup VALUES (1, '{_FAR}')")
    gauges = DatabaseGauges(world.resources.pool, world.resources.telemetry)
    task = asyncio.create_task(gauges.run())
    await eventually(lambda: "gauges.read_failed" in caplog.messages or task.done())
    assert not task.done()
    task.cancel()


async def test_a_worker_listens_again_after_any_error(world: World) -> None:
    """Of the first connections, none can be opened, for a reason that is no error of the database."""
    worker = world.work().worker
    answers = chain([ValueError("not now")] * 3, repeat(DEFAULT))
    worker.connect = AsyncMock(wraps=worker.connect, side_effect=answers)

    async def listens() -> bool:
        sessions = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        return bool(await world.fetch(f"{sessions} AND query LIKE 'LISTEN%'"))

    await eventually(listens)
