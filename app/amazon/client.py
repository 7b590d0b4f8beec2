"""The client of Amazon's API.

Each region has its own connection pool. Each call has one deadline. A failure is returned, not raised.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial

import httpx

from app.amazon import wire
from app.amazon.transport import CONNECTIONS, BodyTooLong, open_pools
from app.computation_thread import ComputationThread
from app.domain.destination import Region
from app.domain.outcomes.outcome import ACCEPTED, PerItemReply, SentRequest, TransportError
from app.outbound import DIRECT, Outbound

DEADLINE_S = 25.0  # for a complete call, from connecting to the last byte of the response
_CONNECT_S = 5.0
_FEW = 20  # conversions whose values are removed from Amazon's messages within a few milliseconds
_USER_AGENT = f"python-httpx/{httpx.__version__}"


class EventsClient:
    """Sends conversions, and makes the other calls of Amazon's API (contract §5.1).

    `base_url` replaces Amazon's hosts. `transport` replaces the network in tests. The client uses httpx's
    transport directly. It follows no redirects, uses no cookies, proxies or .netrc, and always verifies
    certificates.
    """

    def __init__(
        self,
        client_id: str,
        base_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        connections: int = CONNECTIONS,
        outbound: Outbound = DIRECT,
    ) -> None:
        self._client_id = client_id
        self._hosts = {region: wire.endpoints(region, base_url).api for region in Region}
        self._thread = ComputationThread()
        self._transports = open_pools(transport, base_url, outbound, connections)

    async def send(
        self,
        region: Region,
        *,
        access_token: str,
        advertiser_id: str,
        conversions: Sequence[bytes],
        deadline_s: float = DEADLINE_S,
    ) -> SentRequest:
        """Send conversions in one request. Return Amazon's reply within `deadline_s` seconds.

        Raises ValueError for no conversions or for more than 500. Network errors are returned, not raised. A
        header must be able to carry the token (`wire.usable_token`).
        """
        body = wire.request_body(conversions)
        started = time.monotonic()
        response = await self.call(
            region,
            "POST",
            wire.EVENTS_PATH,
            access_token=access_token,
            headers={"Amazon-Ads-AccountId": advertiser_id, "Content-Type": "application/json"},
            content=body,
            deadline_s=deadline_s,
        )
        duration_ms = round((time.monotonic() - started) * 1000)
        if isinstance(response, TransportError):
            return SentRequest(response, None, None, duration_ms)
        status, reply_headers, reply_body = response.status_code, response.headers, response.content
        now = datetime.now(UTC)
        read = partial(wire.read_reply, status, reply_headers, reply_body, conversions, now=now)
        # The event loop goes on meanwhile: for 500 conversions this takes up to 0.2 s.
        if len(conversions) > _FEW and (status > 299 or b'"errors"' in reply_body):
            reply = await self._thread.run(advertiser_id, read)
        else:
            reply = read()
        request_id, details = wire.request_id(reply_headers), None
        if not isinstance(reply, PerItemReply) or reply.outcomes.count(ACCEPTED) < len(conversions):
            explain = partial(wire.response_details, reply, reply_headers, reply_body, conversions)
            details = await self._thread.run(advertiser_id, explain)
        return SentRequest(reply, status, request_id, duration_ms, details)

    async def call(
        self,
        region: Region,
        method: str,
        path: str,
        *,
        access_token: str,
        headers: Mapping[str, str],
        client_id_header: str = "Amazon-Ads-ClientId",
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> httpx.Response | TransportError:
        """Make one call without retries. Return the complete response, or the failure."""
        request = httpx.Request(
            method,
            _url(self._hosts[region], path),
            params=params,
            # The headers of every call (P1).
            headers={
                "User-Agent": _USER_AGENT,
                "Authorization": f"Bearer {access_token}",
                client_id_header: self._client_id,
                "Accept": "application/json",
                **headers,
            },
            content=content,
            # The timeout below covers the complete call, so reads need no separate timeout.
            extensions={"timeout": {"connect": min(_CONNECT_S, deadline_s), "pool": deadline_s}},
        )
        try:
            # httpx's own client would double the CPU cost, and this call needs none of its features.
            async with asyncio.timeout(deadline_s):
                return await self._transports[region].handle_async_request(request)
        except BodyTooLong:
            return TransportError("too_long")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
            # Nothing was sent: connection or tunnel refused, unknown host, invalid certificate, or no free
            # connection.
            return TransportError("connect")
        except (TimeoutError, httpx.TimeoutException):
            return TransportError("timeout")
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return TransportError("cut")  # the connection ended before the response was complete

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()


@lru_cache(maxsize=64)
def _url(api: str, path: str) -> httpx.URL:
    """Return a parsed URL from a cache. There are few hosts and paths, so the cache holds all URLs."""
    return httpx.URL(api + path)
