"""The journey engine as a receiver of notices: one address from the settings, nothing that a caller named."""

import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import httpx

from app.domain import callback
from app.domain.callback import Acknowledged, NotAcknowledged

TIMEOUT_S: Final = 15.0
CONNECTIONS: Final = 2
AGENT: Final = "amazon-conversions-destination"


class CallbackClient:
    """Posts signed notices to one address. Follows no redirect, uses no proxy, reads no answer's body."""

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

    async def deliver(self, id: str, body: bytes) -> Acknowledged | NotAcknowledged:  # noqa: A002
        """Send one notice, signed anew for this moment; any 2xx takes it."""
        signed = callback.headers(self._secrets, id=id, at=self._now(), body=body)
        told = {"content-type": "application/json", "user-agent": AGENT, **signed}
        try:
            # Only the head of the answer is read: its body says nothing to us and may have no end.
            async with self._client.stream("POST", self._url, content=body, headers=told) as answer:
                if answer.is_success:
                    return Acknowledged()
                return NotAcknowledged(f"status_{answer.status_code}", _retry_after(answer))
        except httpx.TimeoutException:
            return NotAcknowledged("timeout")
        except httpx.HTTPError:
            return NotAcknowledged("unreachable")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 10 else None
