"""A lock that another session holds delays only what needs it, and that ends with an error within seconds.

An open transaction that has read a table, or that has locked one row of it, is what a report, a `psql` left
open and a frozen process have in common. Intake goes on, every maintenance job ends, and no call hangs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import httpx
import pytest

from app.delivery.dispatcher import Dispatcher
from app.store.database.privileges import TABLES
from tests.databases import SESSIONS_HERE, WAITING_LOCKS
from tests.pipeline.service import Service, serving
from tests.pipeline.test_repeated_jobs import stopped_maintenance
from tests.pipeline.world import World, event, eventually

BOUND_S = 5.0
EIGHTS = [sorted(TABLES)[start : start + 8] for start in range(0, len(TABLES), 8)]


@dataclass
class Locked:
    """A service with a worker, and a foreign session."""

    service: Service
    foreign: asyncpg.Connection
    key: str
    numbers: int = 0

    @property
    def world(self) -> World:
        return self.service.world

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return await self.service.client.request(method, path, json=body, params=query)

    async def post(self, dst: str) -> float:
        """Post an event until it is on disk, as the journey engine does; return how long that took."""
        self.numbers += 1
        body, headers = event(self.numbers), {"X-Api-Key": self.key}
        began = time.monotonic()
        while True:
            answer = await self.service.client.post(
                "/events", json=body, params={"destination_id": dst}, headers=headers
            )
            if answer.status_code == 202:
                return time.monotonic() - began
            assert answer.status_code == 503, answer.text
            assert "Retry-After" in answer.headers

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> None:
        """Call until the answer, which comes in time and is no defect."""
        began = time.monotonic()
        answer = await self.ask(method, path, body, **query)
        took = time.monotonic() - began
        assert answer.status_code in (200, 201, 202, 204, 409, 503), (method, path, answer.text)
        assert answer.status_code != 503 or "Retry-After" in answer.headers, (method, path)
        assert took < BOUND_S, (method, path, took)


@pytest.fixture
async def locked(database_url: str) -> AsyncIterator[Locked]:
    async with serving(database_url) as service:
        foreign = await asyncpg.connect(service.world.resources.dsn)
        key = await service.do("/keys", {"name": "Journey", "scopes": ["events:write"]})
        yield Locked(service, foreign, key["key"])
        foreign.terminate()


@asynccontextmanager
async def read_and_locked(foreign: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """Hold a transaction that has read a table and locked a row of it."""
    await foreign.execute(f"BEGIN; SELECT 1 FROM {table} LIMIT 1; SELECT 1 FROM {table} LIMIT 1 FOR UPDATE")
    try:
        yield
    finally:
        await foreign.execute("ROLLBACK")


async def make_partitions_due(world: World) -> None:
    """Let a partition be missing in the future, and one be due to be dropped."""
    newest = datetime.now(UTC).date() + timedelta(days=7)
    old = datetime.now(UTC).date() - timedelta(days=60)
    for table in ("batches", "attempts"):
        await world.fetch(f"DROP TABLE IF EXISTS {table}_p{newest:%Y%m%d}")
        await world.fetch(
            f"CREATE TABLE IF NOT EXISTS {table}_p{old:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{old}') TO ('{old + timedelta(days=1)}')"
        )


@pytest.mark.parametrize("tables", EIGHTS, ids=lambda tables: tables[0])
async def test_a_foreign_lock_stops_neither_intake_nor_another_call(
    locked: Locked, tables: Sequence[str]
) -> None:
    """The tables of a case are locked one after the other, each for new destinations."""
    dispatcher = locked.world.work()
    for table in tables:
        try:
            await call_while_locked(locked, dispatcher, table)
        except BaseException as error:
            error.add_note(f"while {table} was locked")
            raise


async def call_while_locked(locked: Locked, dispatcher: Dispatcher, table: str) -> None:
    """Post, call and maintain while a foreign transaction has read the table and locked a row of it."""
    world = locked.world
    first, second, leaving = [await world.destination() for _ in range(3)]
    for dst in (first, second):
        await locked.post(dst)
        await world.until(dst, delivered=1)
    await locked.service.do("/subjects/erase", {"email": "someone@example.com"})
    await make_partitions_due(world)
    maintenance = dispatcher.maintenance
    for job in maintenance._jobs:
        job.due_at = float("-inf")
    async with read_and_locked(locked.foreign, table), asyncio.timeout(30):
        posting = asyncio.gather(*[locked.post(dst) for _ in range(3) for dst in (first, second)])
        calls = asyncio.gather(
            locked.call("POST", "/subjects/erase", {"email": "person1@example.com"}),
            locked.call("POST", f"/destinations/{first}/pause"),
            locked.call("POST", f"/destinations/{leaving}/disconnect"),
            locked.call("POST", f"/destinations/{second}/replay", {"status": "dead", "dry_run": False}),
            locked.call("GET", f"/destinations/{first}/stats"),
            locked.call("GET", "/incidents"),
            locked.call("GET", "/health/ready"),
        )
        began = time.monotonic()
        await maintenance.run()
        assert time.monotonic() - began < 2 * BOUND_S
        assert max(await posting) < BOUND_S
        await calls
        await locked.call("DELETE", f"/destinations/{leaving}", discard="true")
        # While calls were refused as well as after them.
        assert max(await asyncio.gather(*[locked.post(first) for _ in range(3)])) < BOUND_S
    newest = datetime.now(UTC).date() + timedelta(days=7)
    assert (await world.fetch("SELECT to_regclass($1)", f"batches_p{newest:%Y%m%d}"))[0][0]


async def test_a_frozen_flush_delays_an_erasure_and_no_post(locked: Locked) -> None:
    """The erasure is refused within seconds; the posts behind it wait for a second at most."""
    dst = await locked.world.destination()
    await locked.post(dst)
    await locked.foreign.execute("BEGIN; SELECT pg_advisory_xact_lock_shared(7301)")
    erasing = asyncio.create_task(locked.ask("POST", "/subjects/erase", {"email": "a@example.com"}))
    for _ in range(5):
        assert await locked.post(dst) < BOUND_S
    answer = await erasing
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    await locked.foreign.execute("ROLLBACK")
    assert (await locked.ask("POST", "/subjects/erase", {"email": "a@example.com"})).status_code == 202


async def test_an_erasure_that_waits_for_a_lane_holds_no_flush(locked: Locked) -> None:
    dst = await locked.world.destination()
    await locked.post(dst)
    await locked.foreign.execute("BEGIN; SELECT 1 FROM lanes FOR UPDATE")
    erasing = asyncio.create_task(locked.ask("POST", "/subjects/erase", {"email": "a@example.com"}))
    await eventually(lambda: locked.world.fetch(WAITING_LOCKS))
    assert await locked.post(dst) < 0.9
    assert (await erasing).status_code == 503
    await locked.foreign.execute("ROLLBACK")


@pytest.mark.usefixtures("short_lock_timeout")
async def test_an_archiving_that_waits_for_its_destination_holds_no_flush(locked: Locked) -> None:
    """The posts would wait for as long as it waits: the flush lock comes last."""
    dst, other = await locked.world.destination(), await locked.world.destination()
    await locked.post(other)
    await locked.foreign.execute("BEGIN")
    await locked.foreign.fetch("SELECT 1 FROM destinations WHERE id = $1 FOR UPDATE", dst)
    calls = [
        asyncio.create_task(locked.ask("DELETE", f"/destinations/{dst}")),
        asyncio.create_task(locked.ask("POST", f"/destinations/{dst}/disconnect")),
    ]
    await eventually(lambda: locked.world.fetch(WAITING_LOCKS))
    assert not await locked.world.fetch(
        f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7301 AND {SESSIONS_HERE}"
    )
    assert [(await call).status_code for call in calls] == [503, 503]
    await locked.foreign.execute("ROLLBACK")
    assert (await locked.ask("DELETE", f"/destinations/{dst}")).status_code == 200


async def test_a_job_that_fails_pauses_longer_each_time_and_no_other_job_does(world: World) -> None:
    """Otherwise it would make others wait for its lock every five seconds."""
    maintenance, clock = await stopped_maintenance(world)
    await world.fetch("ALTER TABLE rejection_records RENAME TO rejection_records_lost")
    failing = maintenance._jobs[-1]
    runs = []
    for _ in range(70):
        before = failing.due_at
        await maintenance.run()
        if failing.due_at != before:
            runs.append(clock.now)
        clock.now += 30
    pauses = [later - earlier for earlier, later in pairwise(runs)]
    assert pauses[:5] == [30, 60, 120, 240, 480]
    assert max(pauses) <= 900
    assert all(job.due_at <= clock.now or job.every_s > 30 for job in maintenance._jobs[:-1])
    await world.fetch("ALTER TABLE rejection_records_lost RENAME TO rejection_records")
    clock.now += 900
    await maintenance.run()
    assert failing.due_at <= clock.now


async def test_an_erasure_of_one_organisation_locks_no_lane_of_another(locked: Locked) -> None:
    dst = await locked.world.destination(organisation="org_other")
    await locked.world.destination()
    lane = "(SELECT lane FROM destinations WHERE id = $1)"
    await locked.foreign.execute("BEGIN")
    await locked.foreign.fetch(f"SELECT 1 FROM lanes WHERE id = {lane} FOR UPDATE", dst)
    assert (await locked.ask("POST", "/subjects/erase", {"email": "a@example.com"})).status_code == 202
    await locked.foreign.execute("ROLLBACK")


@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_key_that_another_flush_holds_refuses_its_event_only(locked: Locked) -> None:
    """A frozen process has not committed the event; the other events of its flush are stored."""
    world = locked.world
    dst = await world.destination()
    await locked.post(dst)
    (row,) = await world.fetch("DELETE FROM ledger RETURNING *")
    await locked.foreign.execute("BEGIN")
    await locked.foreign.execute("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)", *row.values())
    blocked = asyncio.create_task(world.try_post(dst, event(1)))
    others = [asyncio.create_task(world.post(dst, event(100 + n))) for n in range(3)]
    results = await asyncio.gather(*others)
    assert [[one.status for one in found] for found in results] == [["accepted"]] * 3
    assert not isinstance(await blocked, list)
    await locked.foreign.execute("ROLLBACK")
    assert [one.status for one in await world.post(dst, event(1))] == ["accepted"]


async def test_every_session_has_a_lock_timeout(locked: Locked) -> None:
    assert await locked.world.resources.pool.fetchval("SHOW lock_timeout") == "2s"
    own = await locked.world.resources.connect()
    assert await own.fetchval("SHOW lock_timeout") == "2s"
    await own.close()
