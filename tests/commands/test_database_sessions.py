"""The settings of a database session do not depend on the database's defaults."""

import asyncio
import socket
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from app.domain.ids import OrganisationId
from app.processes.resources import open_resources
from app.store.database import keepalive
from app.store.database.servers import Servers
from app.store.organisations.scope import EVERY, scoped_pool
from tests.databases import execute
from tests.event_loop import turns
from tests.pipeline.tcp_proxy import Proxy
from tests.pipeline.world import eventually, settings_of

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
    alter = f'ALTER DATABASE "{database}" SET'
    await execute(database_url, *(f"{alter} {name} = '{value}'" for name, value in HOSTILE.items()))
    async with open_resources(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine_of(EVERY).connect() as engine:
            for name, wanted in WANTED.items():
                found = [await one.fetchval(f"SHOW {name}") for one in (own, pooled)]
                assert [*found, await engine.scalar(text(f"SHOW {name}"))] == [wanted] * 3, name
        await own.close()


async def test_a_silent_connection_ends_the_others_and_all_come_back(database_url: str) -> None:
    """Pooled, own and of the engine, also those that are idle; new connections pass."""
    address = urlsplit(database_url)
    proxy = Proxy(address.port or 5432)
    await proxy.start()
    through = database_url.replace(f":{address.port}/", f":{proxy.port}/")
    async with open_resources(settings_of(through), role="api", pool_size=2) as resources:
        own, idle = await resources.connect(), await resources.connect()
        async with resources.engine_of(EVERY).connect() as engine:
            raw = (await engine.get_raw_connection()).driver_connection
            assert isinstance(raw, asyncpg.Connection)
            pooled = await resources.pool.acquire()
            within = pooled._con  # the pool takes the lent one back when it is closed
            assert proxy.stall_one(await own.fetchval("SELECT inet_client_port()"))
            with pytest.raises(TimeoutError):
                await own.fetchval("SELECT 1", timeout=0.2)
            assert [one.is_closed() for one in (own, idle, within, raw)] == [True] * 4
            await resources.pool.release(pooled)
        async with asyncio.timeout(10):
            assert await resources.pool.fetchval("SELECT 1") == 1
            assert await (await resources.connect()).fetchval("SELECT 1") == 1
            async with resources.engine_of(EVERY).connect() as engine:
                assert await engine.scalar(text("SELECT 1")) == 1
        resources.servers.end_all()
    await proxy.close()


async def test_a_silent_server_does_not_delay_the_end_of_a_process(database_url: str) -> None:
    """The driver waits until the server ends the session, which a frozen one never does."""
    address = urlsplit(database_url)
    proxy = Proxy(address.port or 5432)
    await proxy.start()
    dsn = database_url.replace("+asyncpg", "").replace(f":{address.port}/", f":{proxy.port}/")
    idle, busy = [await Servers().connect(dsn, timeout=5) for _ in range(2)]
    ports = [await each.fetchval("SELECT inet_client_port()") for each in (idle, busy)]
    assert all(proxy.stall_one(port) for port in ports)
    statement = asyncio.create_task(busy.execute("SELECT 1"))
    await turns()
    statement.cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(idle.close(), busy.close())
    assert idle.is_closed()
    assert busy.is_closed()
    await proxy.close()


@pytest.mark.parametrize("number", ["1", "$1"])
@pytest.mark.parametrize("method", ["execute", "fetch", "fetchrow", "fetchval"])
async def test_every_way_to_run_a_statement_notices_silence(
    database_url: str, owner: asyncpg.Connection, method: str, number: str
) -> None:
    """With and without arguments, which the driver runs in different ways."""
    dsn = database_url.replace("+asyncpg", "")
    await owner.execute("SELECT pg_advisory_lock(1)")
    connection = await Servers().connect(dsn, timeout=5, command_timeout=0.2)
    with pytest.raises(TimeoutError):
        arguments = [1] if number == "$1" else []
        await getattr(connection, method)(f"SELECT pg_advisory_lock({number})", *arguments)
    assert connection.is_closed()


async def test_a_caller_that_is_cancelled_leaves_its_organisation_on_no_connection(
    database_url: str, owner: asyncpg.Connection
) -> None:
    """The server has set it, and its answer is on the way: the next user acts for every organisation."""
    address = urlsplit(database_url)
    proxy = Proxy(address.port or 5432)
    await proxy.start()
    through = database_url.replace(f":{address.port}/", f":{proxy.port}/")
    async with open_resources(settings_of(through), role="api", pool_size=1) as resources:

        async def act() -> None:
            async with scoped_pool(resources.pool, OrganisationId("acme")).acquire():
                pass

        await act()  # from now on, the driver has the statement prepared
        proxy.latency = 0.3
        acting = asyncio.create_task(act())
        set_it = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%set_config($1%'"
        await eventually(
            lambda: owner.fetchval(f"SELECT state = 'idle' {set_it} AND pid <> pg_backend_pid()")
        )
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        proxy.latency = 0.0
        assert await resources.pool.fetchval("SELECT acting_organisation()") == EVERY
    await proxy.close()


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
