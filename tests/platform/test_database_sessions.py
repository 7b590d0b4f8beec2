"""What a session with the database is told, whatever the database has as its defaults."""

import asyncpg
from sqlalchemy import text

from app.resources import opened
from tests.road.world import settings_of

HOSTILE = {
    "default_transaction_isolation": "repeatable read",
    "synchronous_commit": "off",
    "timezone": "Asia/Tokyo",
    "statement_timeout": "0",
}
WANTED = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "statement_timeout": "30s",
}


async def test_no_default_of_the_database_reaches_a_session(database_url: str) -> None:
    """A flush that looked before it held its lock would find keys free that are not."""
    database = database_url.rpartition("/")[2]
    owner = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    for name, value in HOSTILE.items():
        await owner.execute(f"ALTER DATABASE \"{database}\" SET {name} = '{value}'")
    await owner.close()
    async with opened(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine.connect() as engine:
            for name, wanted in WANTED.items():
                found = [await one.fetchval(f"SHOW {name}") for one in (own, pooled)]
                assert [*found, await engine.scalar(text(f"SHOW {name}"))] == [wanted] * 3, name
        await own.close()
