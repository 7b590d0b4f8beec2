"""Let the other tasks of this event loop run, without waiting for time."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def turns(number: int = 50) -> None:
    """Return after that many iterations of the event loop: a task that can run has run."""
    for _ in range(number):
        await asyncio.sleep(0)


def pauses(work: Coroutine[Any, Any, None]) -> int:
    """Run work that waits for nothing; return how often it let other tasks run meanwhile."""
    number = 0
    while True:
        try:
            work.send(None)
        except StopIteration:
            return number
        number += 1
