"""The balance check finds what does not add up, and is silent otherwise. Gauges of stored facts."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest

from app.commands import balance as command
from app.delivery.balance_check import BalanceCheck, BalanceJob
from app.processes.monitoring_port import DatabaseGauges
from app.store import waiting_events
from app.store.database import backups, balance
from app.telemetry import Telemetry
from tests.clock import Clock
from tests.pipeline.amazon import Request, items
from tests.pipeline.service import serving
from tests.pipeline.world import World, event, eventually

EVENTS = 40


async def check(pool: Any) -> list[dict[str, Any]]:
    """Return what the check found."""
    made = BalanceCheck(pool)
    async for _ in made.pages():
        pass
    report = made.report()
    assert made.imbalance == sum(one["events"] for one in report)
    assert "@" not in json.dumps(report)
    for one in report:
        assert one["kind"] in command.sentence(one)
    return report


def mixed(request: Request) -> httpx.Response:
    """Amazon accepts some, refuses some for good, and puts some off."""
    codes = {3: "FIELD_VALUE_IS_INVALID", 4: "INTERNAL_ERROR"}
    return items(*(codes.get(int(one["eventId"][-1])) for one in request.events))


async def lived(world: World) -> str:
    """Make a destination whose events were delivered, are dead, retrying or waiting; all that adds up."""
    dst = await world.destination()
    world.amazon.script = mixed
    for start in range(0, EVENTS, 10):
        await world.post(dst, *(event(number) for number in range(start, start + 10)))
    await world.work_until(dst, delivered=EVENTS * 8 // 10, dead=EVENTS // 10, retrying=EVENTS // 10)
    await world.stop_workers()
    await world.pass_midnight()
    await world.post(dst, *(event(number) for number in range(1_000, 1_010)))
    await world.post(dst, event(2_000))
    return dst


async def test_what_adds_up_is_not_reported(world: World) -> None:
    """Delivered, dead, retrying, waiting, discarded and expired events."""
    dst = await lived(world)
    assert await check(world.resources.pool) == []
    number = await world.number(dst)
    async with world.resources.pool.acquire() as connection, connection.transaction():
        assert await world.holding().discard(connection, number) == 15
    assert await check(world.resources.pool) == []


async def test_the_metric_of_discarded_events_follows_the_commit(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose commit fails is repeated, and the events are counted once, each transaction's alone."""
    monkeypatch.setattr(waiting_events, "DISCARD_LIMIT", 1)
    async with serving(database_url) as service:
        dead = service.world.resources.telemetry.settled["dead"]._value
        dst = await service.world.destination(event(1))
        await service.world.post(dst, event(2))
        before = dead.get()
        async with service.world.refused_commits():
            answer = await service.client.delete(f"/destinations/{dst}?discard=true")
            assert answer.status_code == 500
        assert dead.get() == before
        answer = await service.client.delete(f"/destinations/{dst}?discard=true")
        assert answer.json()["discarded"] == 2
        assert dead.get() == before + 2
        assert len(await service.world.fetch("SELECT DISTINCT settled_at FROM batch_states")) == 2


OPEN = "(SELECT min(batch) FROM batch_states WHERE settled_at IS NULL AND events = 10)"
SENT = "(SELECT min(batch) FROM batch_states WHERE disposition = 'sent')"

# Of the day with most events.
COUNTS = "(day, writer) = (SELECT day, writer FROM counts ORDER BY delivered DESC LIMIT 1)"

DAMAGES: list[tuple[str, str, dict[str, int]]] = [
    ("a state that waits", f"DELETE FROM batch_states WHERE batch = {OPEN}",
     {"state_missing": 10, "waiting_count": 10}),
    ("a state that was sent", f"DELETE FROM batch_states WHERE batch = {SENT}", {"state_missing": 10}),
    ("a batch that waits", f"DELETE FROM batches WHERE id = {OPEN}", {"batch_missing": 10}),
    ("a batch with its state",
     f"WITH gone AS (DELETE FROM batches WHERE id = {OPEN}) DELETE FROM batch_states WHERE batch = {OPEN}",
     {"accepted_count": 10, "waiting_count": 10}),
    ("a row of the ledger",
     f"DELETE FROM ledger WHERE batch = {SENT} AND place < 3", {"ledger_missing": 3}),
    ("a row of the ledger that names another place",
     f"UPDATE ledger SET place = place + 100 WHERE batch = {SENT} AND place < 2", {"ledger_elsewhere": 2}),
    ("an exception that is dead", "DELETE FROM exceptions WHERE status = 'dead'", {"dead_count": 4}),
    ("an exception that is retried", "DELETE FROM exceptions WHERE status = 'retrying'",
     {"waiting_count": 4, "retrying_count": 4}),
    ("a state of another size", f"UPDATE batch_states SET events = 8 WHERE batch = {OPEN}",
     {"batch_count": 2, "waiting_count": 2}),
    ("a count of accepted events", f"UPDATE counts SET accepted = accepted + 7 WHERE {COUNTS}",
     {"accepted_count": 7, "waiting_count": 7}),
    ("a count of delivered events", f"UPDATE counts SET delivered = delivered - 5 WHERE {COUNTS}",
     {"waiting_count": 5}),
    ("counts that make up for each other",
     f"UPDATE counts SET delivered = delivered - 2, dead = dead + 2 WHERE {COUNTS}", {"dead_count": 2}),
    ("a batch that was sent, with its state, but not its exceptions",
     f"WITH gone AS (DELETE FROM batches WHERE id = {SENT}) DELETE FROM batch_states WHERE batch = {SENT}",
     {"exception_without_batch": 2, "accepted_count": 10}),
    # The primary key sees them on one day only.
    ("two batches under one id, on two days",
     "INSERT INTO batch_states SELECT (jsonb_populate_record(s, jsonb_build_object('day', s.day + 3))).* "
     f"FROM batch_states s WHERE batch = {SENT}", {"twin": 10}),
]  # fmt: skip


class InOneTransaction:
    """A pool of one connection, whose transaction the test rolls back."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self._connection


async def test_what_does_not_add_up_is_found(world: World) -> None:
    """Each damage by its kinds and its number of events, and nothing else."""
    dst = await lived(world)
    async with world.resources.pool.acquire() as c:
        for name, statement, kinds in DAMAGES:
            transaction = c.transaction()
            await transaction.start()
            await c.execute(statement)
            report = await check(InOneTransaction(c))
            await transaction.rollback()
            assert {one["kind"]: one["events"] for one in report} == kinds, name
            assert {one["destination_id"] for one in report} == {dst}, name


async def test_a_batch_that_the_driver_cannot_read_is_counted(world: World) -> None:
    """A time after the year 9999, as a flipped bit makes it: the check goes on with the other batches."""
    await lived(world)
    async with world.resources.pool.acquire() as c:
        transaction = c.transaction()
        await transaction.start()
        await c.execute("ALTER DOMAIN instant DROP CONSTRAINT instant_check")
        await c.execute(f"UPDATE batch_states SET accepted_at = '20000-01-01' WHERE batch = {OPEN}")
        report = await check(InOneTransaction(c))
        await transaction.rollback()
    assert [(one["kind"], one["events"]) for one in report] == [("unreadable", 1)]


async def test_under_load_the_balance_holds_at_every_check(world: World) -> None:
    """Events come, go out, fail and are retried while it looks: nothing that only moves is reported."""
    destinations = [await world.destination() for _ in range(3)]
    world.amazon.script = mixed
    world.work()
    ended = asyncio.Event()
    number = 0

    async def post() -> None:
        nonlocal number
        while not ended.is_set():
            for dst in destinations:
                await world.post(dst, *(event(number + n) for n in range(7)))
                number += 7
            await asyncio.sleep(0)

    posting = asyncio.create_task(post())
    looks = 0
    # Both run: quick checks wait for the events, and quick events for the checks.
    while looks < 10 or number < 200:
        assert await check(world.resources.pool) == []
        looks += 1
    ended.set()
    await posting


async def test_the_gauges_of_what_waits_tell_statuses_and_ages(world: World) -> None:
    """Queued, retrying, held and parked, each with the age of its oldest event."""
    dst = await lived(world)
    other = await world.destination(event(1), event(2))
    admission = DatabaseGauges(world.resources.pool, world.resources.telemetry)

    async def listed() -> dict[str, float]:
        await admission.read()
        found = {}
        for status in ("queued", "retrying", "held", "parked"):
            if events := world.metric("waiting_events", status=status):
                found[status] = events
            else:
                assert world.metric("oldest_waiting_age_seconds", status=status) == 0
        return found

    await world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '1 hour'")
    assert await listed() == {"queued": 13, "retrying": 4}
    oldest = world.metric("oldest_waiting_age_seconds", status="queued")
    assert oldest == pytest.approx(3600, abs=60)
    await world.fetch("UPDATE destinations SET paused = true WHERE id = $1", dst)
    await world.fetch(
        "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked' WHERE id = $1", other
    )
    assert await listed() == {"held": 15, "parked": 2}


async def test_one_worker_checks_once_an_hour_and_all_show_the_result(world: World) -> None:
    """In moments between which others have their turn; the result is kept, and is the metric."""
    dst = await lived(world)
    await world.fetch("DELETE FROM balance_checks")
    await world.fetch(f"DELETE FROM batch_states WHERE batch = {OPEN}")
    telemetry = world.resources.telemetry
    clock = Clock()
    parts = {"pool": world.resources.pool, "monotonic": clock, "telemetry": telemetry}
    workers: list[Any] = [SimpleNamespace(**parts, name=f"w{n}") for n in range(2)]
    first, second = (BalanceJob(worker=each) for each in workers)
    await first.advance()
    assert world.metric("event_count_imbalance") == 20
    (row,) = await world.fetch("SELECT owner, imbalance, mismatches FROM balance_checks")
    assert (row["owner"], row["imbalance"]) == ("w0", 20)
    assert {one["destination_id"] for one in json.loads(row["mismatches"])} == {dst}
    # The other has nothing to do, but knows.
    telemetry.imbalance.set(-1)
    await second.advance()
    assert world.metric("event_count_imbalance") == 20
    assert (await world.fetch("SELECT owner FROM balance_checks"))[0]["owner"] == "w0"
    await world.fetch("UPDATE balance_checks SET started_at = now() - interval '61 minutes'")
    clock.now += 3_700
    await second.advance()
    assert (await world.fetch("SELECT owner FROM balance_checks"))[0]["owner"] == "w1"


async def test_a_worker_checks_by_itself(world: World) -> None:
    """The metric is no number before, and 0 once all was found to add up."""
    assert math.isnan(world.metric("event_count_imbalance") or 0.0)
    world.work()
    await eventually(lambda: world.metric("event_count_imbalance") == 0)


class Gauges:
    """Gauges with a registry and a clock of their own."""

    def __init__(self, world: World, *, per_destination: bool = False) -> None:
        self._world, self.clock, telemetry = world, Clock(), Telemetry()
        self._registry = telemetry.registry
        self._reader = DatabaseGauges(
            world.resources.pool, telemetry, per_destination=per_destination, monotonic=self.clock
        )

    async def read(self) -> None:
        await self._reader.read()

    async def fail_without(self, table: str) -> None:
        """Read while a table is missing."""
        await self._world.fetch(f"ALTER TABLE {table} RENAME TO {table}_lost")
        with pytest.raises(asyncpg.UndefinedTableError):
            await self.read()
        await self._world.fetch(f"ALTER TABLE {table}_lost RENAME TO {table}")

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"amazon_conversions_{name}", labels)


async def test_the_lowest_rate_open_breakers_and_the_first_expiry(world: World) -> None:
    """All destinations together; a token counts only where events wait for it."""
    first, second = await world.destination(), await world.destination()
    await world.post(first, event(1))
    gauges = Gauges(world)
    assert gauges.value("lane_rate_limit") is None
    await world.fetch("UPDATE lanes SET learned_rate = 0.5, breaker = 'open'")
    for dst, minutes in ((second, 1), (first, 10)):
        await world.fetch(
            "UPDATE sign_ins SET access_until = now() + make_interval(mins => $2) WHERE destination = $1",
            *(dst, minutes),
        )
    # The published mapping of a destination can be deleted. Its waiting events are sent nevertheless.
    await world.fetch("UPDATE destinations SET published_mappings = 0 WHERE id = $1", first)
    await gauges.read()
    assert gauges.value("lane_rate_limit") == 0.5
    assert gauges.value("breaker_open") == 2
    assert gauges.value("token_expiry_seconds") == pytest.approx(600, abs=30)


async def test_ages_grow_while_the_gauges_cannot_be_read(world: World, dst: str) -> None:
    """So that an alert fires: a queue may be too long to be read in time. If nothing waits, the age is 0."""
    await world.post(dst, event(1))
    gauges = Gauges(world)

    def queued() -> float:
        return gauges.value("oldest_waiting_age_seconds", status="queued") or 0.0

    await gauges.read()
    before = queued()
    gauges.clock.now += 1_000
    assert queued() == before
    await gauges.fail_without("last_base_backup")
    assert queued() == before + 1_000
    assert gauges.value("oldest_waiting_age_seconds", status="held") == 0
    assert gauges.value("oldest_erasure_age_seconds") == 0
    await gauges.read()
    assert queued() < 1_000


async def test_the_age_of_the_monitor_does_not_grow_with_the_waiting_events(world: World) -> None:
    """Otherwise a queue that is too long to be read would look like a monitor that has stopped."""
    gauges = Gauges(world)
    await world.fetch("INSERT INTO commit_probes (id, at) VALUES (1, now())")
    await gauges.read()
    gauges.clock.now += 1_000
    await gauges.fail_without("batch_states")
    assert 0 < (gauges.value("incident_monitor_age_seconds") or 0) < 60


async def test_an_age_whose_first_read_failed_has_no_sample(world: World) -> None:
    """It would be the time since the machine was started, and an alert would fire.

    Afterwards the age is that of the oldest erasure, of which nothing else tells.
    """
    gauges = Gauges(world)
    await world.fetch(
        "INSERT INTO erasures (id, requested_at, requested_by, kinds, sealed) "
        "SELECT 'era_' || lpad(n::text, 20, '0'), now() - make_interval(hours => n), 'k', '{email}', '' "
        "FROM generate_series(1, 2) AS n"
    )
    await gauges.fail_without("commit_probes")
    assert gauges.value("oldest_erasure_age_seconds") is None
    await gauges.read()
    assert gauges.value("oldest_erasure_age_seconds") == pytest.approx(7200, abs=60)


async def test_every_process_shows_the_last_balance_check(world: World) -> None:
    """An API process, which checks nothing, included; NaN until the first check."""
    gauges = Gauges(world)
    await gauges.read()
    assert math.isnan(gauges.value("event_count_imbalance") or 0.0)
    for imbalance in (3, 0):
        async with world.resources.pool.acquire() as connection:
            await balance.finish(connection, imbalance=imbalance, batches=10, mismatches=[])
        await gauges.read()
        assert gauges.value("event_count_imbalance") == imbalance


async def test_the_last_base_backup_and_the_wal_that_it_waits_for(world: World) -> None:
    """No sample without a base backup and without a slot: nothing would tell 0 from "never"."""
    gauges = Gauges(world)

    async def value(name: str) -> float | None:
        await gauges.read()
        return gauges.value(name)

    assert await value("last_base_backup_timestamp_seconds") is None
    assert await value("replication_slot_retained_bytes") is None
    for _ in range(2):
        async with world.resources.pool.acquire() as connection:
            await backups.note_base(connection)
    assert await value("last_base_backup_timestamp_seconds") == pytest.approx(time.time(), abs=60)
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
    first = await world.destination(event(1), event(2))
    gauges = Gauges(world, per_destination=True)
    await gauges.read()
    assert gauges.value("waiting_events", destination=first, status="queued") == 2
    assert gauges.value("breaker_open", destination=first) == 0
