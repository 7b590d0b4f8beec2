"""Connections to Amazon over real sockets: which are reused, what ends a response, and the proxy."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.amazon.transport import BodyTooLong, ConnectionPool
from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.destination import Region
from app.domain.outcomes.outcome import TransportError
from app.domain.sign_in import OidcFailure
from app.oidc_client import OidcClient
from app.outbound import Outbound
from app.webhook_client import WebhookClient
from dev.postgres.postmaster import free_port
from tests.commands.tls import Certificates
from tests.listening import Heard, Listen, Listener, content_of, listening, says
from tests.tables import cases

BODY = b'{"success":[]}'
ANSWER = content_of(BODY)


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


answer_well = says(ANSWER)


async def answer_in_chunks(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n")
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(b"9\r\n" + BODY[5:] + b"\r\n0\r\nX-Trailer: 1\r\n\r\n")


@cases(
    ("script", "is_kept"),
    {
        "a whole answer": (answer_well, True),
        "an answer in chunks with a trailer": (answer_in_chunks, True),
        "an interim answer before the answer": (says(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER), True),
        "one that ends with its connection": (says(b"HTTP/1.1 207 X\r\n\r\n" + BODY, and_closes=True), False),
        "one that says it is the last": (says(content_of(BODY, "207 X", "Connection: close")), False),
        "HTTP/1.0": (says(b"HTTP/1.0 207 X\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY), False),
        "two answers to one request": (says(ANSWER + content_of(b"another's")), False),
        "something after the answer": (says(ANSWER + b"what is this\r\n"), False),
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
        assert (await ask(over, url, b"x" * 1_000_000))[:2] == (413, b"{}")
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
    server = await listen(says(content_of(b"x" * 1001)))
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
    server = await listen(says(content_of(BODY, "302 Found", "Location: gopher:x", "Set-Cookie: a=b")))
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


ACCOUNT = "proxy-user:p%40ss"


@dataclass
class Proxy:
    """A forward proxy that accepts only CONNECT and requires an account; `targets` are what it was asked for.

    It reaches every host of `places` at another address.
    """

    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        account = base64.b64encode(b"proxy-user:p@ss").decode()
        if method != "CONNECT" or f"proxy-authorization: basic {account}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        upstream = await asyncio.open_connection(*self.places.get(host, (host, int(port))))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://{ACCOUNT}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """The certificate of the server is for the address 192.0.2.1, which no host has."""
    return Certificates.create(tmp_path / "ca", address="192.0.2.1")


@asynccontextmanager
async def remote(certificates: Certificates) -> AsyncIterator[Listener]:
    """A server behind TLS, which only the proxy reaches, as 192.0.2.1."""
    async with listening(answer_well, certificates.server) as listener:
        yield listener


async def test_each_client_goes_through_the_proxy_and_verifies_the_server(certificates: Certificates) -> None:
    """Amazon's API and token servers, webhooks, the OpenID Connect provider: one connection each."""
    async with remote(certificates) as server, proxying() as proxy:
        proxy.places["192.0.2.1"] = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        outbound = Outbound(proxy.url, ca_file=certificates.authority)
        client = EventsClient("client", "https://192.0.2.1:8443", outbound=outbound)
        for _ in range(2):
            sent = await client.send(Region.NA, access_token="t", advertiser_id="1", conversions=[b"{}"])
            assert sent.status == 207
        await client.aclose()
        assert proxy.targets == ["192.0.2.1:8443"]  # the second request used the same tunnel
        sign_in = SignIn(
            "client", SecretStr("s"), "https://x/cb", "https://192.0.2.1:8443", outbound=outbound
        )
        await sign_in.refresh(Region.EU, "Atzr|r")
        await sign_in.aclose()
        webhooks = WebhookClient(now=lambda: datetime.now(UTC), outbound=outbound)
        assert await webhooks.post("https://192.0.2.1:8444/hook", [], "id", b"{}") == Acknowledged()
        await webhooks.aclose()
        people = OidcClient("https://192.0.2.1:8445", "c", None, "https://x/cb", outbound=outbound)
        found = await people.authorization_url(state="s", nonce="n", code_verifier="v" * 48)
        assert isinstance(found, OidcFailure)  # the server is no provider, but it was asked
        assert [target.rpartition(":")[2] for target in proxy.targets] == ["8443", "8443", "8444", "8445"]
        assert "proxy-authorization" not in "".join(each.head for each in server.heard).lower()


async def test_an_unknown_authority_is_refused_behind_a_proxy(certificates: Certificates) -> None:
    """A proxy that replaces certificates reads nothing unless the operator trusts its authority."""
    async with remote(certificates) as server, proxying() as proxy:
        proxy.places["192.0.2.1"] = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        client = EventsClient("client", "https://192.0.2.1:8443", outbound=Outbound(proxy.url))
        sent = await client.send(Region.NA, access_token="t", advertiser_id="1", conversions=[b"{}"])
        assert isinstance(sent.reply, TransportError)
        assert server.heard == []
        await client.aclose()
        webhooks = WebhookClient(now=lambda: datetime.now(UTC), outbound=Outbound(proxy.url))
        assert isinstance(await webhooks.post("https://192.0.2.1:1/", [], "id", b"{}"), NotAcknowledged)
        await webhooks.aclose()


async def test_a_proxy_that_refuses_is_a_failed_attempt(certificates: Certificates) -> None:
    """Wrong account, or nothing listens: the event is retried, and the error names no account."""
    async with proxying() as proxy:
        wrong = proxy.url.replace("p%40ss", "other")
        for url in (wrong, f"http://127.0.0.1:{free_port()}"):
            outbound = Outbound(url, ca_file=certificates.authority)
            client = EventsClient("client", "https://192.0.2.1:8443", outbound=outbound)
            sent = await client.send(Region.NA, access_token="t", advertiser_id="1", conversions=[b"{}"])
            assert isinstance(sent.reply, TransportError)
            assert "other" not in repr((sent, outbound))
            await client.aclose()


@pytest.mark.parametrize("after_reply", [b"", b"!"], ids=["an end", "a byte"])
async def test_a_tunnel_that_breaks_at_once_is_a_failed_attempt(after_reply: bytes) -> None:
    """The proxy says that it is connected, and then ends the connection or sends a byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n" + after_reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    outbound = Outbound(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    client = EventsClient("client", "https://192.0.2.1:8443", outbound=outbound)
    sent = await client.send(Region.NA, access_token="t", advertiser_id="1", conversions=[b"{}"])
    assert sent.reply == TransportError("connect")
    await client.aclose()
    server.close()


@pytest.mark.parametrize(
    ("url", "is_direct"),
    [
        ("https://advertising-api.amazon.com", False),
        ("https://journey.example.com/x", True),
        ("https://example.com", False),
        ("https://notexample.com", False),
        ("https://idp.internal", True),
        ("http://127.0.0.1:8001/na", True),
        ("http://sandbox.localhost:8001", True),
        ("http://[::1]:8001", True),
    ],
)
def test_a_direct_host_is_reached_without_the_proxy(url: str, is_direct: bool) -> None:
    """This machine, a host by name, and the subdomains of a domain."""
    outbound = Outbound("http://proxy:3128", (".example.com", "idp.internal"))
    assert (outbound.proxy_of(url) is None) is is_direct


async def test_a_webhook_on_a_direct_host_never_reaches_the_proxy() -> None:
    """The journey engine is often in the operator's own network."""
    async with listening(answer_well) as server, proxying() as proxy:
        webhooks = WebhookClient(now=lambda: datetime.now(UTC), outbound=Outbound(proxy.url))
        assert await webhooks.post(server.url, [], "id", b"{}") == Acknowledged()
        await webhooks.aclose()
        assert proxy.targets == []


def test_connections_use_tls_1_2_or_newer() -> None:
    """Whatever the system's OpenSSL permits."""
    assert Outbound().tls().minimum_version is ssl.TLSVersion.TLSv1_2
