"""The connection pool over real sockets: which connections are reused, and what ends a response."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.amazon.transport import BodyTooLong, ConnectionPool
from app.amazon.wire import MAX_BYTES
from app.outbound import Outbound
from tests.commands.tls import Certificates
from tests.listening import Heard, Listen, content_of
from tests.tables import cases

BODY = b'{"success":[]}'


@asynccontextmanager
async def transport(*, connections: int = 8, keep_alive_s: float = 20.0) -> AsyncIterator[ConnectionPool]:
    made = ConnectionPool(
        ssl.create_default_context(), connections=connections, limit=1000, keep_alive_s=keep_alive_s
    )
    try:
        yield made
    finally:
        await made.aclose()


async def ask(
    over: ConnectionPool, url: str, body: bytes = b"x", **timeouts: float
) -> tuple[int, bytes, set[str]]:
    async with asyncio.timeout(30):
        request = httpx.Request("POST", url, content=body, extensions={"timeout": {"read": 2.0, **timeouts}})
        answer = await over.handle_async_request(request)
        return answer.status_code, await answer.aread(), set(answer.headers)


async def answer_well(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(content_of(BODY))


async def answer_in_chunks(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n")
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(b"9\r\n" + BODY[5:] + b"\r\n0\r\nX-Trailer: 1\r\n\r\n")


async def continue_first(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n" + content_of(BODY))


async def end_with_the_connection(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 207 X\r\n\r\n" + BODY)
    writer.close()


async def say_goodbye(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(content_of(BODY, "207 X", "Connection: close"))


async def answer_twice(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(content_of(BODY) + content_of(b"another's"))


async def answer_and_babble(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(content_of(BODY) + b"what is this\r\n")


async def speak_an_older_version(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 207 X\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)


@cases(
    ("script", "is_kept"),
    {
        "a whole answer": (answer_well, True),
        "an answer in chunks with a trailer": (answer_in_chunks, True),
        "an interim answer before the answer": (continue_first, True),
        "an answer that ends with its connection": (end_with_the_connection, False),
        "an answer that says it is the last": (say_goodbye, False),
        "HTTP/1.0": (speak_an_older_version, False),
        "two answers to one request": (answer_twice, False),
        "something after the answer": (answer_and_babble, False),
    },
)
async def test_a_connection_is_reused_only_after_a_complete_response(
    listen: Listen, script: object, is_kept: bool
) -> None:
    """What lies on a connection after an answer would be taken for the next request's."""
    server = await listen(script)
    async with transport() as over:
        for _ in range(2):
            status, body, headers = await ask(over, server.url)
            assert (status, body) == (207, BODY)
            assert headers <= {"content-length", "content-type", "transfer-encoding", "connection"}
    assert server.connections == (1 if is_kept else 2)


async def test_a_response_before_the_end_of_the_request_is_read(listen: Listen) -> None:
    """A front end refuses a body from its head and hangs up: not hearing, we would send it for ever."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(content_of(b"{}", "413 Content Too Large", "Connection: close"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with transport() as over:
        assert (await ask(over, url, b"x" * MAX_BYTES))[:2] == (413, b"{}")
    server.close()


async def test_a_connection_that_rested_too_long_is_not_used(listen: Listen) -> None:
    """The other side is about to close it, or has."""
    server = await listen(answer_well)
    async with transport(keep_alive_s=0.0) as over:
        await ask(over, server.url)
        await ask(over, server.url)
    assert server.connections == 2


async def test_a_connection_serves_only_its_own_host(listen: Listen) -> None:
    """A credential never goes to a host that it was not meant for."""
    servers = [await listen(answer_well), await listen(answer_well)]
    async with transport() as over:
        for server in (*servers, *servers):
            await ask(over, server.url)
    assert [(server.connections, len(server.heard)) for server in servers] == [(1, 2), (1, 2)]


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(listen: Listen) -> None:
    """A half-closed connection costs no request."""
    closed = asyncio.Event()

    async def close_later(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(content_of(BODY))
        await writer.drain()
        writer.write_eof()
        closed.set()

    server = await listen(close_later)
    async with transport() as over:
        for _ in range(3):
            closed.clear()
            assert (await ask(over, server.url))[0] == 207
            await closed.wait()
            await asyncio.sleep(0)
    assert (server.connections, len(server.heard)) == (3, 3)


async def test_a_request_is_not_sent_again_when_its_connection_is_lost(listen: Listen) -> None:
    """Amazon may have accepted it: only the settlement decides what is sent again."""

    async def answer_once(_: Heard, writer: asyncio.StreamWriter) -> None:
        if len(server.heard) == 1:
            writer.write(content_of(BODY))
        else:
            writer.close()

    server = await listen(answer_once)
    async with transport() as over:
        await ask(over, server.url)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await ask(over, server.url)
    assert (server.connections, len(server.heard)) == (1, 2)


async def test_a_request_without_a_free_connection_in_time_fails(listen: Listen) -> None:
    """Nothing was sent then, and it costs no try."""

    async def stay_silent(heard: Heard, _: asyncio.StreamWriter) -> None:
        await heard.reader.read()

    server = await listen(stay_silent)
    async with transport(connections=1) as over:
        first = asyncio.create_task(ask(over, server.url))
        await server.request_arrived.wait()
        with pytest.raises(httpx.PoolTimeout):
            await ask(over, server.url, pool=0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(server.heard) == 1


async def test_a_body_is_bounded(listen: Listen) -> None:
    """The rest of a response that is too long is not read, and its connection is closed."""

    async def answer_too_much(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(content_of(b"x" * 1001))

    server = await listen(answer_too_much)
    async with transport() as over:
        for _ in range(2):
            with pytest.raises(BodyTooLong):
                await ask(over, server.url)
    assert server.connections == 2


@cases(
    "start",
    {
        "headers": b"HTTP/1.1 207 X\r\n",
        "trailers": b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    },
)
async def test_what_is_no_body_is_bounded_too(listen: Listen, start: bytes) -> None:
    """The deadline alone would let a fast sender fill the memory."""

    async def send_fields_without_end(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(b"X-More: " + b"a" * 1_000 + b"\r\n")
            await writer.drain()

    server = await listen(send_fields_without_end)
    async with transport() as over:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(over, server.url)


async def test_cookies_and_the_address_of_a_redirect_are_not_passed_on(listen: Listen) -> None:
    """No caller uses them, and httpx's client refuses a response whose address it cannot read."""

    async def redirect(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(content_of(BODY, "302 Found", "Location: gopher:x\r\nSet-Cookie: a=b"))

    server = await listen(redirect)
    async with httpx.AsyncClient(
        transport=ConnectionPool(ssl.create_default_context(), connections=1, limit=1000)
    ) as client:
        answer = await client.post(server.url)
    assert (answer.status_code, answer.content) == (302, BODY)
    assert not {"location", "set-cookie"} & set(answer.headers)


async def test_a_line_break_in_a_header_is_never_sent(listen: Listen) -> None:
    """It would be a header of its own, or a request."""
    server = await listen(answer_well)
    async with transport() as over:
        for value in ("a\r\nX-Forged: 1", "a\nb", "a\rb", "a\0b"):
            with pytest.raises(httpx.LocalProtocolError):
                await over.handle_async_request(httpx.Request("GET", server.url, headers={"X-A": value}))
    assert server.heard == []


async def test_a_certificate_is_verified_and_its_connection_reused(listen: Listen, tmp_path: Path) -> None:
    certificates = Certificates.create(tmp_path)
    server = await listen(answer_well, certificates.server)
    client_tls = Outbound(ca_file=certificates.authority).tls()
    async with ConnectionPool(client_tls, connections=2, limit=1000) as over:
        for _ in range(2):
            assert (await ask(over, server.url))[0] == 207
    async with transport() as over:
        with pytest.raises(httpx.ConnectError):
            await ask(over, server.url)
    assert len(server.heard) == 2
