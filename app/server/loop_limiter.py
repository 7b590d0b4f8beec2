"""Limits CPU-heavy request processing per event-loop iteration.

Parsing and evaluating a post of 500 events takes a tenth of a second. A hundred of them at once would block
the loop for ten seconds: no commits, no responses, no admission control. So each iteration processes posts
up to a fixed cost; the others wait in order, where admission control counts them.
"""

import asyncio
from collections import deque
from typing import Final

# The cost per iteration, in units of `app.domain.admission.cost_of`: one post of a hundred events, or a dozen
# of one event.
_COST_PER_ITERATION: Final = 32 * 1024


class LoopLimiter:
    """A first-in-first-out limiter. A post does not wait while the current iteration has capacity."""

    def __init__(self) -> None:
        self._spent = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, cost: int) -> None:
        """Wait for capacity. A post that costs more than an iteration has gets an iteration to itself."""
        if self._spent >= _COST_PER_ITERATION or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((cost, turn))
            await turn
        else:
            self._spend(cost)

    def _spend(self, cost: int) -> None:
        if self._spent == 0:
            asyncio.get_running_loop().call_soon(self._start_iteration)
        self._spent += cost

    def _start_iteration(self) -> None:
        self._spent = 0
        while self._waiting and self._spent < _COST_PER_ITERATION:
            cost, turn = self._waiting.popleft()
            if not turn.done():  # done: its task was cancelled
                self._spend(cost)
                turn.set_result(None)
