"""What may come in from the network: whole, bounded answers that carry no state."""

import ssl

import httpx

from app.amazon.http_connection import LONGEST, BodyTooLong

MAX_REPLY_BYTES = 1_048_576
CONNECTIONS = 12  # a region, where no worker's capacity says otherwise: for account calls and tokens


class BoundedTransport(httpx.AsyncBaseTransport):
    """Hands on answers read whole and at most `limit` bytes long.

    Undecoded: a megabyte of gzip unpacks to a gigabyte, so none is asked for and one that comes all the
    same fails as unreadable. Without Set-Cookie: one advertiser's cookie must never travel with another's
    request.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, limit: int = MAX_REPLY_BYTES) -> None:
        self._inner = inner
        self._limit = limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer; raises `BodyTooLong` past the bound, and what `inner` raises."""
        request.headers["Accept-Encoding"] = "identity"
        limit = request.extensions[LONGEST] = max(self._limit, _echo_of(request))
        answer = await self._inner.handle_async_request(request)
        try:
            body = await self._read(answer, limit)
        finally:
            await answer.aclose()
        kept = [(name, value) for name, value in answer.headers.raw if name.lower() not in _LEFT_OUT]
        return httpx.Response(
            answer.status_code, headers=kept, content=body, extensions=answer.extensions, request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    @staticmethod
    async def _read(answer: httpx.Response, limit: int) -> bytes:
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        body = bytearray()
        async for chunk in answer.stream:
            body += chunk
            if len(body) > limit:
                raise BodyTooLong(f"an answer longer than {limit} bytes")
        return bytes(body)


_LEFT_OUT = frozenset({b"set-cookie", b"content-encoding", b"transfer-encoding", b"content-length"})


def _echo_of(request: httpx.Request) -> int:
    """Return how long an honest answer can be: Amazon echoes every event that it took (contract §4.1).

    A bound below the echo of a full request would cut off each of its answers, and it would be sent for ever.
    """
    return 2 * int(request.headers.get("Content-Length", "0"))


def open_transport(tls: ssl.SSLContext, *, connections: int = CONNECTIONS) -> httpx.AsyncBaseTransport:
    """Open httpx's own pool of verified connections, as many kept alive as opened, that never retries."""
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=20.0
    )
    return httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False, retries=0)
