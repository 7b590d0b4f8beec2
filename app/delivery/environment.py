"""The external dependencies of delivery, which tests replace: Amazon's events call, clock, random numbers."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from app.domain.destination import Region
from app.domain.outcomes.outcome import SentRequest


class EventsApi(Protocol):
    """Amazon's events call (`app.amazon.client`)."""

    async def send(
        self,
        region: Region,
        *,
        access_token: str,
        advertiser_id: str,
        conversions: list[bytes],
        deadline_s: float = ...,
    ) -> SentRequest: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """The clock and the source of random numbers.

    Each loop of the dispatcher waits with `timeout`. A test with its own clock replaces `timeout` to see that
    a loop is idle.
    """

    monotonic: Callable[[], float] = time.monotonic  # seconds
    jitter: Callable[[], float] = random.random  # 0 or more, less than 1
    timeout: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


ENVIRONMENT: Final = Environment()
