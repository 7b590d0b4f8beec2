"""The clock and the random numbers of delivery, which tests replace."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final


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
