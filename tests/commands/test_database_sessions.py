"""What a session with the database is told, whatever the database has as its defaults."""

import socket

import asyncpg
from sqlalchemy import text

from app.processes.resources import open_resources
from app.store import keepalive
from app.store.organisation_scope import EVERY
from tests.pipeline.world import settings_of

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
    async with open_resources(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine_of(EVERY).connect() as engine:
            for name, wanted in WANTED.items():
                found = [await one.fetchval(f"SHOW {name}") for one in (own, pooled)]
                assert [*found, await engine.scalar(text(f"SHOW {name}"))] == [wanted] * 3, name
        await own.close()


async def test_each_connection_notices_when_the_other_end_is_gone(database_url: str) -> None:
    """On both ends: the client's socket, and the server's settings, as the server reads them back."""
    async with open_resources(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine_of(EVERY).connect() as engine:
            raw = (await engine.get_raw_connection()).driver_connection
            for one in (own, pooled, raw):
                held = one._transport.get_extra_info("socket")
                options = [
                    held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                ]
                assert options == [1, 10, 5, 3, 20_000]
                for name, wanted in keepalive.SERVER_SETTINGS.items():
                    assert await one.fetchval(f"SHOW {name}") == wanted, name
                assert one._config.command_timeout == keepalive.COMMAND_TIMEOUT_S
        await own.close()
