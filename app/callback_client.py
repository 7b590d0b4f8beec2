"""Sends status callbacks to the journey engine, at the one URL from the settings."""

import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import httpx

from app.domain import callback
from app.domain.callback import Acknowledged, NotAcknowledged

TIMEOUT_S: Final = 15.0
CONNECTIONS: Final = 2
USER_AGENT: Final = "amazon-conversions-destination"


class CallbackClient:
    """Posts signed callbacks to one URL. Follows no redirect, uses no proxy, reads no response body."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[bytes],
        *,
        now: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._secrets = tuple(secrets)
        self._now = now
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            transport=transport,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )

    async def deliver(self, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one callback, signed with the current time; any 2xx acknowledges it."""
        signed = callback.headers(self._secrets, id=id, at=self._now(), body=body)
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
        try:
            # Do not read the response body: it is not needed and may be endless.
            async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                if response.is_success:
                    return Acknowledged()
                return NotAcknowledged(f"status_{response.status_code}", _retry_after(response))
        except httpx.TimeoutException:
            return NotAcknowledged("timeout")
        except httpx.HTTPError:
            return NotAcknowledged("unreachable")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 10 else None
