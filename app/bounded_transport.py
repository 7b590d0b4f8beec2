"""A transport of httpx that limits the size of responses, without compression or cookies."""

from typing import Final

import httpx

# Headers that are not true of a bounded response, and cookies: a cookie of one advertiser must not be sent
# with another advertiser's request.
REMOVED_HEADERS: Final = frozenset(
    {b"set-cookie", b"content-encoding", b"transfer-encoding", b"content-length"}
)


class BodyTooLong(httpx.ReadError):
    """The response is longer than the limit, so the rest was not read."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """A transport that returns complete responses of at most `limit` bytes.

    If `echo` is given, the limit is at least `echo` times the length of the request. The transport asks for
    no compression and never decompresses a body, because a megabyte of gzip can expand to a gigabyte.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, limit: int, echo: int = 0) -> None:
        self._inner = inner
        self._limit = limit
        self._echo = echo

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the complete response. Raises BodyTooLong, and the errors of the inner transport."""
        request.headers["Accept-Encoding"] = "identity"
        limit = max(self._limit, self._echo * int(request.headers.get("Content-Length", "0")))
        response = await self._inner.handle_async_request(request)
        body = bytearray()
        try:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for chunk in response.stream:
                body += chunk
                if len(body) > limit:
                    raise BodyTooLong(f"a response longer than {limit} bytes")
        finally:
            await response.aclose()
        headers = [
            (name, value) for name, value in response.headers.raw if name.lower() not in REMOVED_HEADERS
        ]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=bytes(body),
            extensions=response.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
