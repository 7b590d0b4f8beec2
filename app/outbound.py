"""How requests leave the network of the operator: through its proxy, and with its certificate authority."""

import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

# Headers that are not true of a complete response, and cookies: a cookie of one advertiser must not be sent
# with another advertiser's request. No client follows a redirect, but httpx's client refuses the complete
# response if it cannot read the address.
REMOVED_HEADERS: Final = frozenset(
    {b"set-cookie", b"location", b"content-encoding", b"transfer-encoding", b"content-length"}
)


@dataclass(frozen=True, slots=True)
class Outbound:
    """The proxy for requests (`http://USER:PASSWORD@HOST:PORT`) and the hosts that are reached without it.

    A direct host that begins with a dot stands for all its subdomains. `ca_file` has certificate authorities
    that are trusted beside the public ones. The proxy forwards TLS connections and does not end them.
    """

    proxy: str | None = field(default=None, repr=False)
    direct_hosts: tuple[str, ...] = ()
    ca_file: Path | None = None

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context. All clients share it: it uses up to 2 MB for certificates."""
        return _tls(self.ca_file)

    def proxy_of(self, url: str) -> httpcore.Proxy | None:
        """Return the proxy for a URL, or None if its host is reached directly."""
        host = urlsplit(url).hostname or ""
        direct_hosts = (*self.direct_hosts, "localhost", ".localhost", "127.0.0.1", "::1")
        domains = tuple(direct for direct in direct_hosts if direct.startswith("."))
        if self.proxy is None or host in direct_hosts or host.endswith(domains):
            return None
        parts = urlsplit(self.proxy)
        account = (unquote(parts.username or "").encode(), unquote(parts.password or "").encode())
        return httpcore.Proxy(
            f"http://{parts.hostname}:{parts.port or 80}", auth=account if parts.username else None
        )

    def transport(self, connections: int = 100) -> httpx.AsyncBaseTransport:
        """Open a transport that uses the proxy for each request that needs it."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        direct = httpx.AsyncHTTPTransport(verify=self.tls(), trust_env=False, limits=limits)
        if self.proxy is None:
            return direct
        proxy = httpx.Proxy(self.proxy)
        proxied = httpx.AsyncHTTPTransport(verify=self.tls(), trust_env=False, limits=limits, proxy=proxy)
        return _Routes(self, direct, proxied)


@dataclass(frozen=True, slots=True)
class _Routes(httpx.AsyncBaseTransport):
    outbound: Outbound
    direct: httpx.AsyncBaseTransport
    proxied: httpx.AsyncBaseTransport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_direct = self.outbound.proxy_of(str(request.url)) is None
        return await (self.direct if is_direct else self.proxied).handle_async_request(request)

    async def aclose(self) -> None:
        await self.direct.aclose()
        await self.proxied.aclose()


DIRECT: Final = Outbound()
"""No proxy, and only the public certificate authorities."""


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    # The default minimum is that of the system's OpenSSL (docs/network.md).
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(ca_file)
        # Python 3.13 also requires extensions that the authorities of many companies lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
