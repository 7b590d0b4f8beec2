"""httpx connection pools for Amazon, with limited response sizes and without compression or cookies."""

import ssl
from functools import cache

import h11
import httpcore
import httpx

from app.amazon.network import AsyncioBackend
from app.domain.destination import Region

MAX_REPLY_BYTES = 1_048_576
CONNECTIONS = 12  # per region, for account and token calls; a worker sets its own limit for events


class BodyTooLong(httpx.ReadError):
    """The response is longer than the limit, so the rest was not read."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """A transport that returns complete responses of at most `limit` bytes.

    It asks for no compression and never decompresses a body, because a megabyte of gzip can expand to a
    gigabyte. It removes Set-Cookie, because a cookie of one advertiser must not be sent with another
    advertiser's request.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, limit: int = MAX_REPLY_BYTES) -> None:
        self._inner = inner
        self._limit = limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the complete response. Raises BodyTooLong, and the errors of the inner transport."""
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        try:
            body = await self._read(response, max(self._limit, _max_echo(request)))
            _forbid_reuse_after_extra_bytes(response)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _REMOVED]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=body,
            extensions=response.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    @staticmethod
    async def _read(response: httpx.Response, limit: int) -> bytes:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = bytearray()
        async for chunk in response.stream:
            body += chunk
            if len(body) > limit:
                raise BodyTooLong(f"a response longer than {limit} bytes")
        return bytes(body)


_REMOVED = frozenset({b"set-cookie", b"content-encoding", b"transfer-encoding", b"content-length"})


def _max_echo(request: httpx.Request) -> int:
    """Return the greatest length of a response that repeats every event of the request (contract §4.1).

    A lower limit would make every response to a large request fail, and the request would be repeated
    endlessly.
    """
    return 2 * int(request.headers.get("Content-Length", "0"))


def _forbid_reuse_after_extra_bytes(response: httpx.Response) -> None:
    """Make the pool close the connection if bytes arrived after the end of the response.

    httpcore would read these bytes as the response to the next request, perhaps of another advertiser.
    httpcore has no public option against this, so the function uses private attributes of httpx and httpcore.
    The versions of both packages are pinned.
    """
    pooled = getattr(response.stream, "_httpcore_stream", None)
    connection = getattr(getattr(pooled, "_stream", None), "_connection", None)
    if isinstance(connection, httpcore.AsyncHTTP11Connection):
        state: h11.Connection = connection._h11_state
        extra, _ = state.trailing_data
        if extra:
            state.send_failed()


def open_pools(
    transport: httpx.AsyncBaseTransport | None, connections: int = CONNECTIONS
) -> dict[Region, httpx.AsyncBaseTransport]:
    """Open a separate pool for each region. A region that does not respond cannot use up another region's
    connections.

    If `transport` is given, every region uses `transport` instead.
    """
    if transport is not None:
        return dict.fromkeys(Region, transport)
    return {region: open_pool(_tls(), connections=connections) for region in Region}


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context that all pools share. Each context would use up to 2 MB for certificates."""
    return httpx.create_ssl_context(trust_env=False)


def open_pool(
    tls: ssl.SSLContext, *, connections: int, keep_alive_s: float = 20.0
) -> httpx.AsyncHTTPTransport:
    """Open a pool of at most `connections` connections, without retries.

    Idle connections stay open for `keep_alive_s` seconds.
    """
    transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)
    # httpx has no parameter for the backend of its pool.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=keep_alive_s,
        retries=0,
        network_backend=AsyncioBackend(),
    )
    return transport
