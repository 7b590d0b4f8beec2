"""Migrations beside other sessions: a lock that is not free is waited for in short attempts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest

from app.domain.ids import BatchId
from app.store import ledger
from app.store.database import balance, migrate, partitions, privileges, schema_revision
from tests.databases import ROLES, WAITING_LOCKS, connected
from tests.pipeline.world import eventually

VERSION_TABLE = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"
LOCK = "BEGIN; LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session on a database without tables."""
    async with connected(empty_database_url) as connection:
        yield connection


@pytest.fixture
async def other(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another session on it."""
    async with connected(empty_database_url) as connection:
        yield connection


class TestALockThatAnotherSessionHolds:
    async def test_delays_the_migration_and_nothing_else_for_long(
        self, database_url: str, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
        async with connected(database_url) as reader, owner.transaction():
            await owner.execute("LOCK TABLE destinations IN ACCESS SHARE MODE")
            # A migration that needs the table alone, as ALTER TABLE does: going back drops it.
            down = asyncio.create_task(asyncio.to_thread(migrate.downgrade, database_url))
            await eventually(lambda: reader.fetchval(WAITING_LOCKS))
            # A query that queues behind it waits for the lock timeout at most.
            async with asyncio.timeout(3):
                await reader.fetchval("SELECT count(*) FROM destinations")
            with pytest.raises(Exception, match="lock timeout"):
                await down

    async def test_is_tried_again_until_it_is_free(
        self, empty_database_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
        await empty.execute(VERSION_TABLE)
        await empty.execute(LOCK)
        up = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
        attempts: set[datetime] = set()

        async def tried_twice() -> bool:
            waiting = await empty.fetch(
                "SELECT query_start FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            attempts.update(row["query_start"] for row in waiting)
            await empty.execute("SELECT pg_stat_clear_snapshot()")
            return len(attempts) > 1

        await eventually(tried_twice)
        assert not up.done()
        await empty.execute("ROLLBACK")
        await up
        assert await empty.fetchval("SELECT version_num FROM alembic_version") == schema_revision.required()

    async def test_is_reported_when_it_never_becomes_free(
        self, empty_database_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
        await empty.execute(VERSION_TABLE)
        await empty.execute(LOCK)
        with pytest.raises(migrate.MigrationBlocked):
            await asyncio.to_thread(migrate.upgrade, empty_database_url)
        await empty.execute("ROLLBACK")
        assert await empty.fetchval("SELECT count(*) FROM alembic_version") == 0


async def test_a_lane_that_organisations_shared_is_divided(
    empty_database_url: str, empty: asyncpg.Connection
) -> None:
    """Each gets one with the same fence, the requests in flight with it; lanes without destinations go."""
    await asyncio.to_thread(migrate.upgrade, empty_database_url, "0004")
    await empty.execute(
        """
        INSERT INTO organisations (id, name) VALUES ('acme', 'Acme'), ('beta', 'Beta');
        INSERT INTO lanes (id, region, advertiser_id, fence, erasures, owner) OVERRIDING SYSTEM VALUE
          VALUES (1, 'NA', '1', 7, 3, 'w'), (2, 'NA', '2', 4, 0, 'w'), (3, 'EU', '1', 0, 0, NULL);
        SELECT setval(pg_get_serial_sequence('lanes', 'id'), 3);
        INSERT INTO destinations (organisation_id, id, lane, name, advertiser_id, region, currency)
          SELECT owner, 'dst_' || lpad(n::text, 20, '0'), lane, 'D', lane::text, 'NA', 'USD'
          FROM (VALUES (1, 'acme', 1), (2, 'beta', 1), (3, 'beta', 1), (4, 'beta', 2)) AS d (n, owner, lane);
        SELECT create_day_partitions(current_date);
        INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation)
          SELECT n, current_date, lane, destination, 7, 'w', ARRAY[n], 1, 1
          FROM (VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 4)) AS a (n, lane, destination);
        UPDATE attempts SET settled_at = now(), outcome = 'answered' WHERE id = 3;
        """
    )
    before = [("acme", "1", 7, 3, [1]), ("beta", "1", 7, 3, [2, 3]), ("beta", "2", 4, 0, [4])]
    for migrated in ("up", "down and up"):
        await asyncio.to_thread(migrate.upgrade, empty_database_url)
        lanes = await empty.fetch(
            """
            SELECT l.organisation_id, l.advertiser_id, l.fence, l.erasures,
              array_agg(d.number ORDER BY d.number) FROM lanes l LEFT JOIN destinations d ON d.lane = l.id
            GROUP BY l.id ORDER BY 1, 2
            """
        )
        # Each way is a new owner of the divided lane. After a downgrade it is past the erasures of both.
        new, erased = (1, 0) if migrated == "up" else (3, 1)
        assert [tuple(lane) for lane in lanes] == [
            (owner, advertiser, fence + new, erasures + erased, numbers) if advertiser == "1" else lane
            for lane in before
            for owner, advertiser, fence, erasures, numbers in [lane]
        ]
        moved = await empty.fetch(
            "SELECT a.destination FROM attempts a JOIN destinations d ON d.lane = a.lane "
            "AND d.number = a.destination WHERE a.settled_at IS NULL ORDER BY 1"
        )
        assert [attempt["destination"] for attempt in moved] == [1, 2, 4]
        await asyncio.to_thread(migrate.downgrade, empty_database_url, "0004")
        lanes = await empty.fetch("SELECT advertiser_id, region FROM lanes ORDER BY 1")
        assert [tuple(lane) for lane in lanes] == [("1", "NA"), ("2", "NA")]


@pytest.mark.parametrize("tables", [("destinations", "lanes"), ("lanes", "destinations")])
async def test_a_process_of_the_previous_release_is_no_victim_of_a_deadlock(
    empty_database_url: str,
    empty: asyncpg.Connection,
    other: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tables: tuple[str, str],
) -> None:
    """A transaction has read one table of a migration and wants another. The migration gives way."""
    monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
    await asyncio.to_thread(migrate.upgrade, empty_database_url, "0004")
    # The migration begins to wait first here. In production the session can, so it looks sooner than usual.
    await empty.execute("SET deadlock_timeout = '700ms'")
    await empty.execute(f"BEGIN; SELECT FROM {tables[0]}")
    up = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
    await eventually(lambda: other.fetchval(WAITING_LOCKS))
    await empty.execute(f"SELECT FROM {tables[1]}; COMMIT")
    await up


async def test_a_second_run_waits_for_no_transaction(database_url: str, owner: asyncpg.Connection) -> None:
    """Granting the privileges again locks no table: all later queries of the table would wait behind it."""
    await asyncio.to_thread(migrate.upgrade, database_url, roles=ROLES)
    async with owner.transaction():
        for table in privileges.TABLES:
            await owner.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        await asyncio.to_thread(migrate.upgrade, database_url, roles=ROLES)


async def test_privileges_are_granted_in_short_attempts(
    database_url: str, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that is missing needs a lock, for which the command waits as briefly as for a migration's."""
    monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
    await asyncio.to_thread(migrate.upgrade, database_url, roles=ROLES)
    await owner.execute("DROP POLICY worker ON batches")
    async with owner.transaction():
        await owner.execute("LOCK TABLE batches IN ACCESS SHARE MODE")
        with pytest.raises(migrate.MigrationBlocked):
            await asyncio.to_thread(migrate.upgrade, database_url, roles=ROLES)
    await asyncio.to_thread(migrate.upgrade, database_url, roles=ROLES)


async def test_triggers_of_a_migration_need_no_privilege_that_is_granted_after_it(
    database_url: str, owner: asyncpg.Connection
) -> None:
    """Until all migrations have run, the roles have no privilege on tables that a trigger writes."""
    found = await owner.fetch(
        "SELECT DISTINCT p.proname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE NOT t.tgisinternal AND NOT p.prosecdef AND p.prosrc ~ 'INSERT|UPDATE|DELETE' "
        "AND p.pronamespace = current_schema()::regnamespace"
    )
    assert [row["proname"] for row in found] == []


async def test_the_ledger_of_the_previous_release_is_still_searched(
    empty_database_url: str, empty: asyncpg.Connection
) -> None:
    """Complete digests in the generations that exist, short ones later; no process writes the other form."""
    url = empty_database_url
    await asyncio.to_thread(migrate.upgrade, url, "0017")
    await partitions.create_ahead(empty)
    old, new = (
        ledger.LedgerEntry(bytes(range(16)), bytes(range(first, first + 16)), BatchId(first), 0)
        for first in (1, 2)
    )
    insert = "INSERT INTO ledger VALUES ((SELECT max(generation) FROM ledger_generations), $1, $2, 1, 0)"
    await empty.execute(insert, old.key, old.content)
    await asyncio.to_thread(migrate.upgrade, url)
    forms = []
    for generation in (1, 2, 3, 4):
        assert not await ledger.claim(empty, generation, [new])
        found = await ledger.find(empty, generation, [old.key])
        assert found == {old.key: ledger.LedgerRow(old.content, BatchId(1), 0)}
        assert await balance.ledger_places(empty, [old.key]) == {old.key: (1, 0)}
        other = ledger.LedgerEntry(bytes([generation] * 16), b"c" * 16, BatchId(9), 0)
        assert await ledger.claim(empty, generation, [other])
        [row] = (await ledger.find(empty, generation, [other.key])).values()
        forms.append(len(row.content))
        if generation == 3:
            # A process of the previous release would not find the event again.
            with pytest.raises(asyncpg.CheckViolationError):
                await empty.execute(insert, b"k" * 16, b"c" * 16)
            await empty.execute("UPDATE ledger SET generation = 2 WHERE key = $1", old.key)
        if generation < 4:
            await empty.execute("UPDATE ledger_generations SET began_at = began_at - interval '12 days'")
            await partitions.rotate_ledger(empty)
    assert forms == [16, 16, 7, 7]
    with pytest.raises(Exception, match="would not find"):
        await asyncio.to_thread(migrate.downgrade, url, "0017")


async def test_an_index_is_built_while_events_are_written(
    empty_database_url: str, empty: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    """Also when an attempt before it left an index that is not complete."""
    url = empty_database_url
    await asyncio.to_thread(migrate.upgrade, url, "0018")
    await partitions.create_ahead(empty)
    insert = (
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "data_key) VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1, 1, 1, now(), now(), 'k')"
    )
    await empty.execute(
        "CREATE INDEX exceptions_expiring ON exceptions (batch);"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'exceptions_expiring'::regclass"
    )
    await empty.execute("BEGIN")
    await empty.execute(insert, 1)
    up = asyncio.create_task(asyncio.to_thread(migrate.upgrade, url))
    await eventually(lambda: other.fetchval(WAITING_LOCKS))
    async with asyncio.timeout(3):
        await other.execute(insert, 2)
    await empty.execute("COMMIT")
    await up
    indexes = await other.fetch(
        "SELECT pg_get_indexdef(indexrelid) ~ 'disposition IS NULL|2000' AS is_new, indisvalid AS is_valid "
        "FROM pg_index WHERE pg_get_indexdef(indexrelid) ~ 'btree .(last_event|event_at).'"
    )
    assert len(indexes) >= 3
    assert {tuple(index) for index in indexes} == {(True, True)}
