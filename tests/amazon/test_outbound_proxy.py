"""Requests leave through the proxy of the settings, with the certificate authority of the settings."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.destination import Region
from app.domain.outcomes.outcome import TransportError
from app.domain.sign_in import OidcFailure
from app.oidc_client import OidcClient
from app.outbound import Outbound
from app.webhook_client import WebhookClient
from dev.postgres.postmaster import free_port
from tests.commands.tls import Certificates
from tests.listening import Heard, Listener, listening

pytestmark = pytest.mark.process  # tinyproxy

ACCOUNT = "proxy-user:p%40ss"
_FINE = json.dumps({"success": [], "error": []}).encode()


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


async def answer(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 207 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_FINE), _FINE))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """The certificate of the server is for the address 192.0.2.1, which no host has."""
    return Certificates.create(tmp_path / "ca", address="192.0.2.1")


@asynccontextmanager
async def remote(certificates: Certificates) -> AsyncIterator[Listener]:
    """A server behind TLS, which only the proxy reaches, as 192.0.2.1."""
    async with listening(answer, certificates.server) as listener:
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
    async with listening(answer) as server, proxying() as proxy:
        webhooks = WebhookClient(now=lambda: datetime.now(UTC), outbound=Outbound(proxy.url))
        assert await webhooks.post(server.url, [], "id", b"{}") == Acknowledged()
        await webhooks.aclose()
        assert proxy.targets == []


def test_connections_use_tls_1_2_or_newer() -> None:
    """Whatever the system's OpenSSL permits."""
    assert Outbound().tls().minimum_version is ssl.TLSVersion.TLSv1_2
