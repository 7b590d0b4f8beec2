"""A connection goes to the primary, wherever it stands in the URL and however the other servers fail.

Errors of an unavailable database differ from errors of a wrong statement.
"""

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, permutations, repeat
from unittest.mock import DEFAULT, AsyncMock
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.ids import DEFAULT_ORGANISATION
from app.processes.resources import connect_timeout, pool_settings
from app.store.database.servers import LATE, ServerAddress, Servers, connect, servers_of
from app.store.errors import DRIVER_ERRORS, is_unavailable
from app.store.organisations.scope import scoped_pool
from tests.pipeline.tcp_proxy import Proxy


@contextmanager
def accepting() -> Iterator[int]:
    """A frozen server: the kernel accepts, and no process answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def dropping() -> Iterator[int]:
    """A server that is cut off: its queue is full, so that the kernel drops every further packet."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        queued = [socket.socket() for _ in range(4)]
        for each in queued:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        yield port
        for each in queued:
            each.close()


@contextmanager
def refusing() -> Iterator[int]:
    """A killed server: nothing listens on its port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


FAULTS = {"accepts and never answers": accepting, "drops packets": dropping, "refuses": refusing}
LIMIT = connect_timeout("api")


def url_of(database_url: str, *ports: int | None) -> str:
    """Return the URL with these servers; None stands for the primary."""
    parts = urlsplit(database_url)
    account, _, primary = parts.netloc.rpartition("@")
    hosts = ",".join(primary if port is None else f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://{account}@{hosts}{parts.path}?target_session_attrs=read-write"


async def reach(servers: Servers, url: str) -> float:
    """Connect as the pool of an API process does; return how long it took."""
    began = time.monotonic()
    connection = await servers.connect(url, server_settings=pool_settings("api"), timeout=LIMIT)
    took = time.monotonic() - began
    assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")
    await connection.close()
    return took


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("first", sorted(FAULTS))
@pytest.mark.parametrize("second", sorted(FAULTS))
async def test_the_primary_is_reached_past_two_dead_servers(
    database_url: str, first: str, second: str, place: int
) -> None:
    """First, second or third in the URL; the first wait is short, and the next connection does not wait."""
    with FAULTS[first]() as one, FAULTS[second]() as other:
        ports: list[int | None] = [one, other]
        ports.insert(place, None)
        url, servers = url_of(database_url, *ports), Servers()
        await reach(servers, url)
        attempts: list[ServerAddress] = []

        async def count(*arguments: object, **options: object) -> asyncpg.Connection:
            attempts.append(ServerAddress(str(options["host"]), int(str(options["port"]))))
            return await connect(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.store.database.servers.connect", count)
            await reach(servers, url)
        assert attempts[0] == servers_of(url)[place]  # the last good server comes first


async def test_a_server_that_freezes_is_left_after_a_quarter_of_a_second(database_url: str) -> None:
    """The last good server is frozen; the next one is tried long before the time limit."""
    servers = Servers()
    with accepting() as frozen:
        url = url_of(database_url, frozen, None)
        servers._last = servers_of(url)[0]
        took = await reach(servers, url)
    assert 0.2 <= took < LIMIT


def attempts_going_on() -> list[asyncio.Task[object]]:
    tasks = [task for task in asyncio.all_tasks() if "connect" in repr(task.get_coro())]
    return [task for task in tasks if not task.cancelling()]


async def test_without_a_usable_server_the_limit_ends_the_wait() -> None:
    """Whatever the order. Few attempts go on afterwards, and none after the end of the process."""
    with accepting() as frozen, dropping() as cut_off, refusing() as killed:
        for ports in permutations((frozen, cut_off, killed)):
            url = url_of("postgresql://a:b@ignored/d", *ports)
            servers, began = Servers(), time.monotonic()
            for _ in range(4):
                with pytest.raises((TimeoutError, OSError)):
                    await servers.connect(url, timeout=0.2)
            assert time.monotonic() - began < 5
            await asyncio.sleep(0)
            assert len(attempts_going_on()) == LATE
            servers.close()
            assert attempts_going_on() == []


async def test_a_slow_handshake_goes_on_beside_the_next_attempts(database_url: str) -> None:
    """It takes longer than the caller waits. A later caller gets its connection."""
    proxy, servers = Proxy(urlsplit(database_url).port or 5432), Servers()
    await proxy.start()
    proxy.latency = 0.4
    for url in (url_of(database_url, proxy.port), url_of(database_url, proxy.port, proxy.port)):
        errors, connection = 0, None
        while connection is None:
            try:
                connection = await servers.connect(url, timeout=0.3)
            except TimeoutError:
                errors += 1
                assert errors < 30
        assert errors >= 2
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    servers.close()
    await proxy.close()


async def test_a_former_password_is_not_remembered(database_url: str) -> None:
    """A token of a managed Postgres is a password for some minutes."""
    servers = Servers()
    for number in range(3):
        password = urlsplit(database_url).password
        url = url_of(database_url, None).replace(f":{password}@", f":wrong{number}@", 1)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await servers.connect(url, timeout=5)
    gc.collect()
    assert not servers._late


async def test_what_a_server_says_is_reported_before_the_silence_of_another(database_url: str) -> None:
    """A wrong password is a reason to stop, and is not hidden behind a timeout."""
    with accepting() as frozen:
        url = url_of(database_url, frozen, None)
        parts = urlsplit(url)
        wrong = url.replace(f":{parts.password}@", ":wrong@", 1)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await Servers().connect(wrong, timeout=1)


def message(kind: bytes, content: bytes) -> bytes:
    """Return a message as a Postgres server frames it."""
    return kind + (4 + len(content)).to_bytes(4, "big") + content


async def greet_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Complete the handshake and end the session, as a server does that shuts down meanwhile."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    await reader.readexactly(length - 4)
    version = message(b"S", b"server_version\x0018.0\x00")
    writer.write(message(b"R", bytes(4)) + version + message(b"K", bytes(8)) + message(b"Z", b"I"))
    writer.close()
    await writer.wait_closed()


async def test_a_session_that_ends_at_its_first_moment_is_a_lost_connection() -> None:
    """Every caller treats that as a reason to try again. Nothing else was wrong with the server."""
    server = await asyncio.start_server(greet_and_leave, "127.0.0.1", 0)
    url = f"postgresql://a:b@127.0.0.1:{server.sockets[0].getsockname()[1]}/d?sslmode=disable"
    with pytest.raises(OSError, match="ended the new session"):
        await Servers().connect(url, timeout=LIMIT)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("postgresql://u:p@one/d", [("one", 5432)]),
        ("postgresql://u:p@one:1,two:2/d?target_session_attrs=read-write", [("one", 1), ("two", 2)]),
        ("postgresql://u:p@[::1]:7,%2Frun%2Fpg/d", [("::1", 7), ("/run/pg", 5432)]),
        ("postgresql://u@/d?host=/tmp,/run", [("/tmp", 5432), ("/run", 5432)]),
        ("postgresql://u@/d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///d", []),
    ],
)
def test_the_servers_of_a_url_are_read_as_the_driver_reads_them(
    url: str, servers: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    assert servers_of(url) == servers


@pytest.mark.parametrize("is_promoted", [True, False])
async def test_connections_to_a_silent_server_end_when_another_one_is_the_primary(
    database_url: str, is_promoted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen primary would otherwise hold a flush for 35 s. Without another primary, nothing is ended."""
    monkeypatch.setattr("app.store.database.servers.SILENT_AFTER_S", 0.2)
    proxy, servers = Proxy(urlsplit(database_url).port or 5432), Servers()
    await proxy.start()
    with accepting() as never:
        url = url_of(database_url, proxy.port, None if is_promoted else never)
        busy, idle = [await servers.connect(url, timeout=LIMIT) for _ in range(2)]
        # What the first search meets is no error of the driver. The next one begins.
        answers = chain([ZeroDivisionError], repeat(DEFAULT))
        monkeypatch.setattr(servers, "_connect", AsyncMock(wraps=servers._connect, side_effect=answers))
        follower = asyncio.create_task(servers.follow(url))
        proxy.stall()
        statement = asyncio.create_task(busy.fetchval("SELECT 1"))
        await asyncio.wait({statement}, timeout=2.5)
        assert statement.done() == idle.is_closed() == is_promoted
        servers.end_all()
        follower.cancel()
        await asyncio.gather(statement, follower, return_exceptions=True)
    await proxy.close()


async def test_a_slow_statement_is_not_ended(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server still answers others."""
    monkeypatch.setattr("app.store.database.servers.SILENT_AFTER_S", 0.2)
    servers = Servers()
    with accepting() as frozen:
        url = url_of(database_url, None, frozen)
        owner, busy = [await servers.connect(url, timeout=LIMIT) for _ in range(2)]
        follower = asyncio.create_task(servers.follow(url))
        await owner.execute("SELECT pg_advisory_lock(1)")
        statement = asyncio.create_task(busy.execute("SELECT pg_advisory_lock(1)"))
        await asyncio.wait({statement}, timeout=1.5)
        assert not statement.done()
        await owner.execute("SELECT pg_advisory_unlock(1)")
        await statement
        follower.cancel()
        await owner.close()
        await busy.close()


AWAY = [
    pytest.param(ConnectionRefusedError(), id="connection refused"),
    pytest.param(asyncpg.AdminShutdownError(), id="the server is stopping"),
    pytest.param(asyncpg.TooManyConnectionsError(), id="no connection is left"),
    pytest.param(asyncpg.LockNotAvailableError(), id="another session holds a lock"),
    pytest.param(asyncpg.InternalClientError(), id="the session ended between two statements"),
    pytest.param(asyncpg.InterfaceError("connection is closed"), id="the session ended before a statement"),
]


@pytest.mark.parametrize("error", AWAY)
def test_what_passes_is_called_unavailable(error: Exception) -> None:
    """Bare or wrapped by SQLAlchemy; and the driver's own loops know it, too."""
    assert is_unavailable(error)
    assert is_unavailable(DBAPIError("SELECT 1", None, error))
    assert isinstance(error, DRIVER_ERRORS)


@pytest.mark.parametrize("error", [ValueError(), asyncpg.DivisionByZeroError(), asyncpg.InterfaceError("x")])
def test_what_is_wrong_is_not(error: Exception) -> None:
    """Trying the same again would not help."""
    assert not is_unavailable(error)


async def test_a_session_that_ends_while_it_is_lent_costs_its_statements_only(database_url: str) -> None:
    """Its statements say that the database is unavailable, and returning the connection raises nothing."""
    async with asyncpg.create_pool(database_url.replace("+asyncpg", ""), min_size=2, max_size=2) as pool:
        async with scoped_pool(pool, DEFAULT_ORGANISATION).acquire() as connection:
            async with pool.acquire() as other:
                assert await other.fetchval(
                    "SELECT pg_terminate_backend($1, 1000)", connection.get_server_pid()
                )
            with pytest.raises(DRIVER_ERRORS) as first:
                await connection.fetchval("SELECT 1")
            with pytest.raises(asyncpg.InterfaceError) as later:
                await connection.fetchval("SELECT 1")
        assert is_unavailable(first.value)
        assert is_unavailable(later.value)
        async with scoped_pool(pool, DEFAULT_ORGANISATION).acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1
