"""The proxy cuts a connection at the message that a test chose, and no other."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.pipeline.tcp_proxy import COMMIT_ANSWER, COMMIT_ASKED, Cut, Proxy


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(2**20):
        writer.write(part)
        await writer.drain()
    writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that says what it hears."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0, limit=2**20)
    made = Proxy(server.sockets[0].getsockname()[1])
    await made.start()
    yield made
    await made.close()
    server.close()


async def test_it_cuts_at_the_nth_passing_of_a_message(proxy: Proxy) -> None:
    """Also of one that comes in two pieces; what came before was passed on."""
    proxy.cuts.append(Cut(b"COMMIT", towards_client=False, occurrence=2))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"COMMIT\n")
    assert await reader.readline() == b"COMMIT\n"
    writer.write(b"COM")
    assert await reader.readexactly(3) == b"COM"
    writer.write(b"MIT\n")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(reader.read(), 20)
    assert proxy.cuts_made == 1


@pytest.mark.parametrize(
    ("message", "towards_client", "kept"),
    [(COMMIT_ANSWER, True, True), (COMMIT_ASKED, False, False)],
    ids=["a COMMIT whose answer is lost is done", "a COMMIT that is lost is not done"],
)
async def test_it_knows_the_words_of_postgres(
    database_url: str, message: bytes, towards_client: bool, kept: bool
) -> None:
    """The messages that campaigns cut at are those that the driver and the server really use."""
    address = database_url.replace("+asyncpg", "")
    host, _, database = address.rpartition("/")
    login, _, port = host.rpartition(":")
    proxy = Proxy(int(port))
    await proxy.start()
    through = await asyncpg.connect(f"{login}:{proxy.port}/{database}")
    direct = await asyncpg.connect(address)
    try:
        await direct.execute("CREATE TABLE words (word text)")
        proxy.cuts.append(Cut(message, towards_client))
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError, asyncpg.InterfaceError)):
            async with through.transaction():
                await through.execute("INSERT INTO words VALUES ($1)", "x")
        assert proxy.cuts_made == 1
        assert await direct.fetchval("SELECT count(*) FROM words") == int(kept)
    finally:
        through.terminate()
        await direct.close()
        await proxy.close()
