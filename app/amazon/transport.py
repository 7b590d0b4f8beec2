"""Bounded responses without state: a size limit, no compression, no cookies."""

import ssl

import httpx

from app.amazon.http_connection import MAX_BODY, BodyTooLong

MAX_REPLY_BYTES = 1_048_576
CONNECTIONS = 12  # per region, for account and token calls; a worker sets its own


class BoundedTransport(httpx.AsyncBaseTransport):
    """Returns complete responses of at most `limit` bytes.

    Bodies are not decompressed: a megabyte of gzip expands to a gigabyte. The request asks for no
    compression, and a compressed body fails as unreadable. Set-Cookie is removed: a cookie of one advertiser
    must never be sent with a request of another.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, limit: int = MAX_REPLY_BYTES) -> None:
        self._inner = inner
        self._limit = limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the complete response; raises `BodyTooLong` above the limit, and what `inner` raises."""
        request.headers["Accept-Encoding"] = "identity"
        limit = request.extensions[MAX_BODY] = max(self._limit, _max_echo(request))
        response = await self._inner.handle_async_request(request)
        try:
            body = await self._read(response, limit)
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
    """Return the length of a response that echoes every event of the request (contract §4.1).

    With a lower limit every response to a full request would fail, and the request would be retried forever.
    """
    return 2 * int(request.headers.get("Content-Length", "0"))


def open_transport(tls: ssl.SSLContext, *, connections: int = CONNECTIONS) -> httpx.AsyncBaseTransport:
    """Open httpx's connection pool with TLS verification and without retries; all connections stay alive."""
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=20.0
    )
    return httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False, retries=0)
