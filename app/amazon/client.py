"""The connections to Amazon's API: one client a region, a total deadline a call, every ending a value."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import httpx

from app.amazon import wire
from app.amazon.credentials import usable_token
from app.amazon.http_connection import BodyTooLong, PooledTransport
from app.amazon.transport import CONNECTIONS, BoundedTransport
from app.domain.destination import Region
from app.domain.outcomes.outcome import SentRequest, TransportError, Unauthorized

DEADLINE_S = 25.0  # of a whole call, connecting and reading to the last byte included
_CONNECT_S = 5.0
_USER_AGENT = f"python-httpx/{httpx.__version__}"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer of Amazon's. Its body may echo personal data and stays out of `repr`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class EventsClient:
    """Sends conversions, and asks the few other things that the contract names (§5.1).

    `base_url` names a stand-in for Amazon; `transport` takes the network's place in tests. A call is one
    request to httpx's transport: redirects are not followed, cookies not kept, the environment's proxies and
    .netrc not read, certificates always verified.
    """

    def __init__(
        self,
        client_id: str,
        base_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self.connections: float = connections if transport is None else math.inf  # a region
        self._client_id = client_id
        self._base_url = base_url
        self._transports = {
            region: BoundedTransport(inner)
            for region, inner in zip(Region, _transports(transport, connections), strict=True)
        }

    async def send(
        self,
        region: Region,
        *,
        access_token: str,
        advertiser_id: str,
        conversions: Sequence[bytes],
        deadline_s: float = DEADLINE_S,
    ) -> SentRequest:
        """Send these conversions in one request and return what came of it, within `deadline_s` seconds.

        Raises only for what a caller must not do (none or more than 500 conversions), and when cancelled.
        """
        body = wire.request_body(conversions)
        started = time.monotonic()
        if not usable_token(access_token):
            # It could not travel in a header; a fresh one can.
            return SentRequest(Unauthorized(), None, None, 0)
        headers = wire.event_headers(access_token, self._client_id, advertiser_id)
        answer = await self.ask(
            region, "POST", wire.EVENTS_PATH, headers=headers, content=body, deadline_s=deadline_s
        )
        duration_ms = round((time.monotonic() - started) * 1000)
        match answer:
            case TransportError():
                return SentRequest(answer, None, None, duration_ms)
            case HttpAnswer(status, reply_headers, reply_body):
                reply = wire.read_reply(
                    status,
                    reply_headers,
                    reply_body,
                    sent=len(conversions),
                    conversions=conversions,
                    now=datetime.now(UTC),
                )
                return SentRequest(reply, status, wire.request_id(reply_headers), duration_ms)

    async def ask(
        self,
        region: Region,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> HttpAnswer | TransportError:
        """Make one call of the API and return its whole answer, or how it was lost; never retries."""
        request = httpx.Request(
            method,
            _address(wire.endpoints(region, self._base_url).api, path),
            params=params,
            headers={"User-Agent": _USER_AGENT, **headers},
            content=content,
            # No timeout of its own for the answer: the one below is for the whole call.
            extensions={"timeout": {"connect": min(_CONNECT_S, deadline_s), "pool": deadline_s}},
        )
        try:
            # Straight to the transport: what httpx's client adds is all switched off here, and costs as much.
            async with asyncio.timeout(deadline_s):
                response = await self._transports[region].handle_async_request(request)
        except BodyTooLong:
            return TransportError("too_long")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return TransportError(
                "connect"
            )  # refused, unknown host, bad certificate, no free connection: nothing was sent
        except (TimeoutError, httpx.TimeoutException):
            return TransportError("timeout")
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return TransportError("cut")  # reset, or ended before its announced length
        return HttpAnswer(response.status_code, response.headers, response.content)

    def headers(self, access_token: str, *, name: str = "Amazon-Ads-ClientId") -> dict[str, str]:
        """Return the headers of every call but the events call; older calls name the client otherwise."""
        return {
            "Authorization": f"Bearer {access_token}",
            name: self._client_id,
            "Accept": "application/json",
        }

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()

    async def __aenter__(self) -> "EventsClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()


@lru_cache(maxsize=64)
def _address(api: str, path: str) -> httpx.URL:
    """Return an address, taken apart once: there are three hosts and a handful of paths."""
    return httpx.URL(api + path)


def _transports(given: httpx.AsyncBaseTransport | None, connections: int) -> list[httpx.AsyncBaseTransport]:
    """Return a transport for each region: the one given, or a pool each, sharing the trusted roots."""
    if given is not None:
        return [given for _ in Region]
    tls = httpx.create_ssl_context(trust_env=False)
    return [PooledTransport(tls, connections=connections) for _ in Region]
