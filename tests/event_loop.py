"""Let the other tasks of this event loop run, without waiting for time."""

import asyncio


async def turns(number: int = 50) -> None:
    """Return after that many iterations of the event loop: a task that can run has run."""
    for _ in range(number):
        await asyncio.sleep(0)
