"""Migrations beside other sessions: a lock that is not free is waited for in short attempts."""

import asyncio
from datetime import datetime

import asyncpg
import pytest

from app.store import migrate, schema_revision
from tests.databases import WAITING_LOCKS
from tests.pipeline.world import eventually


def plain(url: str) -> str:
    return url.replace("+asyncpg", "", 1)


class TestALockThatAnotherSessionHolds:
    async def test_delays_the_migration_and_nothing_else_for_long(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
        holder = await asyncpg.connect(plain(database_url))
        reader = await asyncpg.connect(plain(database_url))
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE destinations IN ACCESS SHARE MODE")
        try:
            # A migration that needs the table alone, as ALTER TABLE does: going back drops it.
            down = asyncio.create_task(asyncio.to_thread(migrate.downgrade, database_url))
            await eventually(lambda: reader.fetchval(WAITING_LOCKS))
            # A query that queues behind it waits for the lock timeout at most.
            async with asyncio.timeout(3):
                await reader.fetchval("SELECT count(*) FROM destinations")
            with pytest.raises(Exception, match="lock timeout"):
                await down
        finally:
            await held.rollback()
            await holder.close()
            await reader.close()

    async def test_is_tried_again_until_it_is_free(
        self, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
        holder = await asyncpg.connect(plain(empty_database_url))
        await holder.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        up = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
        attempts: set[datetime] = set()

        async def tried_twice() -> bool:
            waiting = await holder.fetch(
                "SELECT query_start FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            attempts.update(row["query_start"] for row in waiting)
            await holder.execute("SELECT pg_stat_clear_snapshot()")
            return len(attempts) > 1

        await eventually(tried_twice)
        assert not up.done()
        await held.rollback()
        await up
        assert await holder.fetchval("SELECT version_num FROM alembic_version") == schema_revision.required()
        await holder.close()

    async def test_is_reported_when_it_never_becomes_free(
        self, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
        holder = await asyncpg.connect(plain(empty_database_url))
        await holder.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(migrate.MigrationBlocked):
            await asyncio.to_thread(migrate.upgrade, empty_database_url)
        await held.rollback()
        assert await holder.fetchval("SELECT count(*) FROM alembic_version") == 0
        await holder.close()
