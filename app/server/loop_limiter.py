"""Limits CPU-heavy request processing per event-loop iteration.

Parsing and evaluating a post of 500 events takes a tenth of a second. A hundred of them would block the loop
for ten seconds: no commits, no responses, no admission control. So each iteration processes posts up to a
fixed cost. The others wait and are counted by admission control: posts of one organisation in order, several
organisations in turn.
"""

import asyncio
from typing import Final

from app.domain.pacing.owner_queue import OwnerQueue

# The cost per iteration, in units of `app.domain.admission.cost_of`: one post of a hundred events, or a dozen
# of one event.
_COST_PER_ITERATION: Final = 32 * 1024


class LoopLimiter:
    """A limiter, fair to organisations. A post does not wait while the current iteration has capacity."""

    def __init__(self) -> None:
        self._spent = 0
        self._waiting: OwnerQueue[tuple[int, asyncio.Future[None]]] = OwnerQueue()

    async def acquire(self, cost: int, organisation: str | None) -> None:
        """Wait for capacity. A post above the capacity of an iteration gets an iteration alone."""
        if self._spent >= _COST_PER_ITERATION or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.add(organisation, cost, (cost, turn))
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
            cost, turn = self._waiting.pop()
            if not turn.done():  # done: its task was cancelled
                self._spend(cost)
                turn.set_result(None)
