"""A connection pool for Amazon, as a transport of httpx: h11 parses HTTP on asyncio's sockets (ADR 0049).

It retries nothing. A connection that is not clean after a response is closed: further bytes would be read as
the response to the next request, perhaps of another advertiser.
"""

import asyncio
import socket
import ssl
import time
from collections import defaultdict
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Final

import h11
import httpcore
import httpx

from app.amazon.wire import endpoints
from app.domain.destination import Region
from app.outbound import REMOVED_HEADERS, Outbound

MAX_REPLY_BYTES = 1_048_576
# A response may repeat every event of the request (contract §4.1). If such a response was refused, the
# request would be repeated endlessly.
ECHO = 2
CONNECTIONS = 12  # per region, for account and token calls; a worker sets its own limit for events
_MAX_HEAD: Final = 100 * 1024  # bytes of the headers of a response, and of its trailers


class BodyTooLong(httpx.ReadError):
    """The response is longer than the limit, so the rest was not read."""


def open_pools(
    transport: httpx.AsyncBaseTransport | None,
    base_url: str | None,
    outbound: Outbound,
    connections: int = CONNECTIONS,
    *,
    limit: int = MAX_REPLY_BYTES,
) -> dict[Region, httpx.AsyncBaseTransport]:
    """Open a separate pool for each region. A region that does not respond cannot use up another region's
    connections.

    If `transport` is given, as in tests, every region uses it instead.
    """
    if transport is not None:
        return dict.fromkeys(Region, transport)
    return {
        region: ConnectionPool(
            outbound.tls(),
            connections=connections,
            limit=limit,
            proxy=outbound.proxy_of(endpoints(region, base_url).api),
        )
        for region in Region
    }


@dataclass(eq=False, repr=False)
class ConnectionPool(httpx.AsyncBaseTransport):
    """At most `connections` connections. Returns complete responses, without compression or cookies.

    A body has at most `limit` bytes, or `ECHO` times the length of the request if this is more. Idle
    connections stay open for `keep_alive_s` seconds. Of a request's timeouts, `connect` and `pool` apply; the
    caller limits the complete call.
    """

    tls: ssl.SSLContext
    _: KW_ONLY
    connections: InitVar[int]
    limit: int
    keep_alive_s: float = 20.0
    proxy: httpcore.Proxy | None = None

    def __post_init__(self, connections: int) -> None:
        self._free = asyncio.Semaphore(connections)
        # By scheme, host and port. The last one was used last.
        self._idle: defaultdict[tuple[str, str, int], list[_Connection]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the complete response. Raises BodyTooLong, and httpx's errors."""
        timeouts = request.extensions.get("timeout", {})
        url, body = request.url, await request.aread()
        origin = url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
        request.headers["Accept-Encoding"] = "identity"
        target, headers = url.raw_path, request.headers.raw
        if self.proxy is not None and url.scheme == "http":
            target, headers = str(url).encode(), [*headers, *self.proxy.headers]
        try:
            async with asyncio.timeout(timeouts.get("pool")):
                await self._free.acquire()
        except TimeoutError as error:
            raise httpx.PoolTimeout("no free connection") from error
        try:
            connection = self._take(origin) or await self._open(origin, timeouts.get("connect"))
            try:
                head, content = await connection.ask(
                    request.method, target, headers, body, limit=max(self.limit, ECHO * len(body))
                )
            except BaseException:
                connection.close()
                raise
            if connection.is_reusable:
                connection.idle_since = time.monotonic()
                self._idle[origin].append(connection)
        finally:
            self._free.release()
        kept = [(name, value) for name, value in head.headers if name not in REMOVED_HEADERS]
        return httpx.Response(head.status_code, headers=kept, content=content, request=request)

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take(self, origin: tuple[str, str, int]) -> "_Connection | None":
        """Return the connection that was used last; close those that were idle for too long."""
        connections, oldest = self._idle[origin], time.monotonic() - self.keep_alive_s
        while connections and (connections[0].idle_since <= oldest or not connections[0].is_reusable):
            connections.pop(0).close()
        while connections:
            if (connection := connections.pop()).is_reusable:
                return connection
        return None

    async def _open(self, origin: tuple[str, str, int], timeout: float | None) -> "_Connection":  # noqa: ASYNC109
        """Connect, through the proxy if there is one, and encrypt the connection."""
        scheme, host, port = origin
        tls = self.tls if scheme == "https" else None
        try:
            async with asyncio.timeout(timeout):
                if self.proxy is None:
                    return await _connect(host, port, tls, timeout)
                proxy = self.proxy.url
                connection = await _connect(proxy.host.decode(), proxy.port or 80, None, timeout)
                if tls is not None:
                    try:
                        await connection.open_tunnel(f"{host}:{port}".encode(), self.proxy.headers)
                        await connection.start_tls(tls, host)
                    except BaseException:
                        connection.close()
                        raise
                return connection
        except TimeoutError as error:
            raise httpx.ConnectTimeout("not in time") from error
        except OSError as error:  # includes a wrong certificate
            raise httpx.ConnectError(type(error).__name__) from error


async def _connect(host: str, port: int, tls: ssl.SSLContext | None, timeout: float | None) -> "_Connection":  # noqa: ASYNC109
    """Connect to the first address of a host that accepts. Each gets an equal share of the timeout."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError = OSError("the host has no address")
    for family, _, _, _, address in addresses:
        try:
            async with asyncio.timeout(None if timeout is None else timeout / len(addresses)):
                _, connection = await loop.create_connection(
                    _Connection,
                    str(address[0]),
                    port,
                    family=family,
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
            return connection
        except OSError as error:  # includes TimeoutError
            failed = error
    raise failed


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._reply: asyncio.Future[tuple[h11.Response, bytes]] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._limit = 0

    @property
    def is_reusable(self) -> bool:
        """Whether the connection is open and ready for a request."""
        return self._transport is not None and self._http.our_state is h11.IDLE

    async def ask(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes, *, limit: int
    ) -> tuple[h11.Response, bytes]:
        """Send a request and return its response. If it is cancelled, the connection must be closed."""
        try:
            parts = [
                self._http.send(h11.Request(method=method, target=target, headers=headers)),
                self._http.send(h11.Data(data=body)) if body else None,
                self._http.send(h11.EndOfMessage()),
            ]
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        if self._transport is None:
            raise httpx.WriteError("the connection is closed")
        self._head, self._limit = None, limit
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.writelines([part for part in parts if part])
        return await self._reply

    async def open_tunnel(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Ask a proxy for a connection to `target`."""
        head, _ = await self.ask("CONNECT", target, [(b"Host", target), *headers], b"", limit=_MAX_HEAD)
        if not 200 <= head.status_code <= 299:
            raise httpx.ProxyError(f"the proxy answered {head.status_code}")
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    async def start_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Encrypt the connection."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            raise httpx.ConnectError("the tunnel was closed")
        self._transport = await loop.start_tls(self._transport, self, tls, server_hostname=host)

    def close(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Store the transport (asyncio)."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse a part of a response; b"" is the end of the stream (asyncio)."""
        if self._reply is None or self._reply.done():
            self.close()  # the end of an idle connection, or bytes that nothing asked for
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._fail(httpx.RemoteProtocolError(str(error)))

    def eof_received(self) -> None:
        """Read the end of the stream, which is the end of some responses (asyncio)."""
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight (asyncio)."""
        self._fail(httpx.ReadError(type(exc).__name__ if exc else "closed"))

    def _read(self) -> None:
        assert self._reply is not None
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._limit:
                    self._fail(BodyTooLong(f"a response longer than {self._limit} bytes"))
                    return
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                # PAUSED: the tunnel of a proxy is open, and what follows is not HTTP.
                assert self._head is not None
                self._reply.set_result((self._head, bytes(self._body)))
                self._body = bytearray()
                extra, is_ended = self._http.trailing_data
                if extra or is_ended or h11.MUST_CLOSE in (self._http.our_state, self._http.their_state):
                    self.close()
                elif event is not h11.PAUSED:
                    self._http.start_next_cycle()
                return

    def _fail(self, error: httpx.TransportError) -> None:
        self.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
