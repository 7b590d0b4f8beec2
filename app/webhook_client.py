"""Post signed messages over HTTP: notifications to webhooks, status callbacks to the journey engine."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Final

import httpx

from app.domain import callback
from app.domain.callback import Acknowledged, NotAcknowledged
from app.outbound import DIRECT, Outbound

TIMEOUT_S: Final = 10.0
_USER_AGENT: Final = "amazon-conversions-destination"


@dataclass(eq=False, repr=False, kw_only=True)
class WebhookClient:
    """Posts messages. Uses httpx's transport directly: it follows no redirect and reads no body or cookie."""

    now: Callable[[], datetime]
    timeout_s: float = TIMEOUT_S
    connections: InitVar[int] = 100
    outbound: InitVar[Outbound] = DIRECT

    def __post_init__(self, connections: int, outbound: Outbound) -> None:
        self._transport = outbound.transport(connections)

    async def post(
        self, url: str, secrets: Sequence[bytes], id: str, body: bytes
    ) -> Acknowledged | NotAcknowledged:
        """Post one message. Any 2xx response acknowledges it. Network errors are returned, not raised.

        The message is signed with the current time and each secret; without secrets it is not signed.
        """
        signed = callback.headers(secrets, id=id, at=self.now(), body=body) if secrets else {}
        headers = {"accept": "*/*", "content-type": "application/json", "user-agent": _USER_AGENT, **signed}
        try:
            request = httpx.Request("POST", url, content=body, headers=headers)
            # The only limit: the transport has none of its own.
            async with asyncio.timeout(self.timeout_s):
                response = await self._transport.handle_async_request(request)
                await response.aclose()
                if response.is_success:
                    return Acknowledged()
                return NotAcknowledged(f"status_{response.status_code}", _retry_after(response))
        except (TimeoutError, httpx.TimeoutException):
            return NotAcknowledged("timeout")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            return NotAcknowledged("unreachable")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header; None if it is absent or a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 10 else None
