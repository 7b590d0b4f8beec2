"""The dependencies of delivery: Amazon's events call, the clock and the random source."""

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
    """The events call."""

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
    """Clock and random source, as arguments: monotonic seconds, jitter in [0, 1).

    `timeout` and `sleep` are asyncio's, on the same clock. A loop of the dispatcher ends each turn with
    `timeout`: tests with a clock of their own learn from this call that the turn has ended.
    """

    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    timeout: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


ENVIRONMENT: Final = Environment()
