"""A pool of HTTP/1.1 keep-alive connections as a transport for httpx; llhttp parses the responses.

httpx's own transport uses several times the CPU per call (ADR 0022): its layers of streams and locks are not
needed for one bounded request and one bounded response.
"""

import asyncio
import socket
import ssl
from typing import Final, TypeAlias, cast

import httptools
import httpx

MAX_BODY: Final = "max_body"  # request extension: the limit of the response body, in bytes
_DEFAULT_MAX_BODY: Final = 1_048_576
_MAX_HEAD: Final = 65_536
_WIRE_OVERHEAD: Final = 4  # limit of a chunked response on the wire, as a multiple of its body

Origin: TypeAlias = tuple[str, str, int]  # scheme, host, port


class BodyTooLong(httpx.ReadError):
    """The response is longer than its limit; the rest was not read."""


class PooledTransport(httpx.AsyncBaseTransport):
    """A pool of up to `connections` connections, each idle for at most `keep_alive_s` seconds; no retries.

    All idle connections lead to one host; a request to another host closes them. Applies the timeouts of a
    request for a free connection (`pool`), for connecting (`connect`) and for sending and the complete
    response (`read`), and its extension `max_body`. Raises httpx's exceptions.
    """

    def __init__(self, tls: ssl.SSLContext, *, connections: int, keep_alive_s: float = 20.0) -> None:
        tls.set_alpn_protocols(["http/1.1"])
        self._tls = tls
        self._keep_alive_s = keep_alive_s
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []  # the most recently used one is the last
        self._busy: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over an idle or a new connection; return the complete response."""
        timeouts = request.extensions.get("timeout", {})
        max_body = request.extensions.get(MAX_BODY, _DEFAULT_MAX_BODY)
        head = _head_of(request)
        await self._acquire_slot(timeouts.get("pool"))
        try:
            connection = await self._connected(_origin_of(request.url), timeouts.get("connect"))
            self._busy.add(connection)
            try:
                async with asyncio.timeout(timeouts.get("read")):
                    return await connection.send(head, request.content, max_body)
            except TimeoutError:
                raise httpx.ReadTimeout("no complete response in time") from None
            finally:
                self._busy.discard(connection)
                if connection.is_open:
                    connection.idle_since = asyncio.get_running_loop().time()
                    self._idle.append(connection)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    async def _acquire_slot(self, timeout_s: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no free connection in time") from None

    async def _connected(self, origin: Origin, timeout_s: float | None) -> "_Connection":
        oldest = asyncio.get_running_loop().time() - self._keep_alive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest and connection.origin == origin:
                return connection
            connection.close()
        try:
            async with asyncio.timeout(timeout_s):
                return await _connect(origin, self._tls, timeout_s)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection to {origin[1]} in time") from None
        except OSError as error:  # unknown host, connection refused, wrong certificate
            raise httpx.ConnectError(f"no connection to {origin[1]}: {type(error).__name__}") from None


async def _connect(origin: Origin, tls: ssl.SSLContext, timeout_s: float | None) -> "_Connection":
    """Connect to the first address of a host that accepts; each gets an equal share of the timeout."""
    scheme, host, port = origin
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    share = None if timeout_s is None else timeout_s / len(addresses)
    failed: OSError = OSError("the host has no address")
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
        except OSError as error:  # includes TimeoutError
            failed = error
    raise failed


class _Connection(asyncio.Protocol):
    """A connection for one request at a time. The methods below `send` are called by asyncio and the parser.

    An error in a response closes the connection: its later bytes would be read as the next response.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._response: asyncio.Future[httpx.Response] | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether another request can be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    async def send(self, head: bytes, body: bytes, max_body: int) -> httpx.Response:
        """Send a request and return its complete response."""
        assert self._transport is not None
        self._max_body = max_body
        self._received = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._has_head = self._has_length = self._keep_alive = False
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._response = asyncio.get_running_loop().create_future()
        is_complete = False
        try:
            # Two buffers in one system call.
            self._transport.writelines((head, body) if body else (head,))
            response = await self._response
            is_complete = True
        finally:
            # A response may come before its request is sent completely. The rest would precede the next one.
            is_reusable = is_complete and self._keep_alive and self._is_drained()
            self._response = self._parser = None  # an idle connection holds no data of a request
            self._body = bytearray()
            if not is_reusable:
                self.close()
        return response

    def _is_drained(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()  # no request is in flight
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("not an HTTP response"))
            return
        if not self._has_head and self._received > _MAX_HEAD:
            self._fail(httpx.RemoteProtocolError("the headers are too long"))
        elif len(self._body) > self._max_body or self._received > _MAX_HEAD + _WIRE_OVERHEAD * self._max_body:
            self._fail(BodyTooLong(f"a response longer than {self._max_body} bytes"))

    def eof_received(self) -> None:
        if self._has_head and not self._has_length:
            self._end()  # a response without a length ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(
            httpx.RemoteProtocolError("closed before the complete response")
            if exc is None
            else httpx.ReadError("reset")
        )

    def on_message_begin(self) -> None:
        if self._response is None or self._response.done():
            self.close()  # a second response to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # otherwise a trailer
            self._headers.append((name, value))
            self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._parser.get_status_code() < 200:
            self._headers.clear()  # an interim response; the final one follows
        else:
            self._has_head = True
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._has_head:
            self._end()

    def _end(self) -> None:
        if self._response is not None and not self._response.done():
            assert self._parser is not None
            self._response.set_result(
                httpx.Response(
                    self._parser.get_status_code(),
                    headers=self._headers,
                    stream=httpx.ByteStream(bytes(self._body)),
                )
            )

    def _fail(self, error: httpx.TransportError) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)


def _origin_of(url: httpx.URL) -> Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _head_of(request: httpx.Request) -> bytes:
    """Return the bytes of a request's head. Raises LocalProtocolError for a value with a line break."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [name + b": " + value for name, value in request.headers.raw]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break")
    return head
