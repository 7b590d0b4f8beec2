"""Kept HTTP/1.1 connections as a transport for httpx: a request leaves in one piece, llhttp reads the answer.

httpx's own transport spends several times the CPU on a call (ADR 0022): it is made of layers of streams and
locks of which one bounded request and one bounded answer need none.
"""

import asyncio
import socket
import ssl
from typing import Final, TypeAlias, cast

import httptools
import httpx

LONGEST: Final = "longest"  # the extension of a request that bounds its answer's body, in bytes
_UNSAID: Final = 1_048_576
_MAX_HEAD: Final = 65_536
_WIRE_OVERHEAD: Final = 4  # chunked, an answer is longer on the wire than its body: so many times at most

Origin: TypeAlias = tuple[str, str, int]  # scheme, host, port


class BodyTooLong(httpx.ReadError):
    """The answer went on past its bound; the rest was not read."""


class PooledTransport(httpx.AsyncBaseTransport):
    """Up to `connections` connections, each kept for `keep_s` seconds of rest; nothing is sent twice.

    Those that rest lead to one host; a request to another closes them. Heeds the timeouts of a request for a
    free connection (`pool`), for connecting (`connect`) and for all of sending and answering (`read`), and
    its extension `longest`. Raises httpx's own exceptions.
    """

    def __init__(self, tls: ssl.SSLContext, *, connections: int, keep_s: float = 20.0) -> None:
        tls.set_alpn_protocols(["http/1.1"])
        self._tls = tls
        self._keep_s = keep_s
        self._slots = asyncio.Semaphore(connections)
        self._resting: list[_Connection] = []  # the one that came to rest last is the last
        self._busy: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over a connection that rests or is made now; return its whole answer."""
        timeouts = request.extensions.get("timeout", {})
        longest = request.extensions.get(LONGEST, _UNSAID)
        head = _head_of(request)
        await self._find_room(timeouts.get("pool"))
        try:
            connection = await self._connected(_origin_of(request.url), timeouts.get("connect"))
            self._busy.add(connection)
            try:
                async with asyncio.timeout(timeouts.get("read")):
                    return await connection.ask(head, request.content, longest)
            except TimeoutError:
                raise httpx.ReadTimeout("no whole answer in time") from None
            finally:
                self._busy.discard(connection)
                if connection.is_open:
                    connection.rests_since = asyncio.get_running_loop().time()
                    self._resting.append(connection)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in (*self._resting, *self._busy):
            connection.close()
        self._resting.clear()

    async def _find_room(self, within: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(within):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection came free in time") from None

    async def _connected(self, origin: Origin, within: float | None) -> "_Connection":
        oldest = asyncio.get_running_loop().time() - self._keep_s
        while self._resting:
            connection = self._resting.pop()
            if connection.is_open and connection.rests_since > oldest and connection.origin == origin:
                return connection
            connection.close()
        try:
            async with asyncio.timeout(within):
                return await _connect(origin, self._tls, within)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection to {origin[1]} in time") from None
        except OSError as error:  # an unknown host, a refusal, a certificate that is not the host's
            raise httpx.ConnectError(f"no connection to {origin[1]}: {type(error).__name__}") from None


async def _connect(origin: Origin, tls: ssl.SSLContext, within: float | None) -> "_Connection":
    """Connect to a host's first address that answers; each may take its share of the time."""
    scheme, host, port = origin
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    share = None if within is None else within / len(addresses)
    failed: OSError = OSError("a host without an address")
    for family, _, _, _, address in addresses:
        try:
            async with asyncio.timeout(share):
                _, connection = await loop.create_connection(
                    lambda: _Connection(origin),
                    str(address[0]),
                    port,
                    family=family,
                    ssl=tls if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
                return connection
        except OSError as error:  # TimeoutError is one
            failed = error
    raise failed


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time. Below `ask` the loop and the parser call it.

    What goes wrong with an answer ends the connection too: what came next on it would be read as another's.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.rests_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[httpx.Response] | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether another request may be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, head: bytes, body: bytes, longest: int) -> httpx.Response:
        """Send a request and return its answer, read to the end."""
        assert self._transport is not None
        self._longest = longest
        self._received = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._has_head = self._is_sized = self._is_kept = False
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        is_answered = False
        try:
            # Two buffers, sent by one call of the system.
            self._transport.writelines((head, body) if body else (head,))
            answer = await self._answer
            is_answered = True
        finally:
            # An answer may come before all of its request is out: then the rest would lead the next one.
            may_rest = is_answered and self._is_kept and self._is_drained()
            self._answer = self._parser = None  # nothing of it stays with a connection that rests
            self._body = bytearray()
            if not may_rest:
                self.close()
        return answer

    def _is_drained(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()  # nobody asked
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("not an HTTP answer"))
            return
        if not self._has_head and self._received > _MAX_HEAD:
            self._fail(httpx.RemoteProtocolError("headers without end"))
        elif len(self._body) > self._longest or self._received > _MAX_HEAD + _WIRE_OVERHEAD * self._longest:
            self._fail(BodyTooLong(f"an answer longer than {self._longest} bytes"))

    def eof_received(self) -> None:
        if self._has_head and not self._is_sized:
            self._end()  # the end of the connection is the end of such an answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(
            httpx.RemoteProtocolError("hung up before the whole answer")
            if exc is None
            else httpx.ReadError("reset")
        )

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer
            self._headers.append((name, value))
            self._is_sized |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._parser.get_status_code() < 200:
            self._headers.clear()  # an interim answer; the answer itself follows
        else:
            self._has_head = True
            self._is_kept = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._has_head:
            self._end()

    def _end(self) -> None:
        if self._answer is not None and not self._answer.done():
            assert self._parser is not None
            self._answer.set_result(
                httpx.Response(
                    self._parser.get_status_code(),
                    headers=self._headers,
                    stream=httpx.ByteStream(bytes(self._body)),
                )
            )

    def _fail(self, error: httpx.TransportError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _origin_of(url: httpx.URL) -> Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _head_of(request: httpx.Request) -> bytes:
    """Return a request's head as it goes out. Raises LocalProtocolError for a value that forges a line."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [name + b": " + value for name, value in request.headers.raw]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break")
    return head
