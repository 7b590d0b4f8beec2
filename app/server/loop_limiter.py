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
# A post up to this cost is processed beyond that, if its organisation has no other post in the iteration and
# none waiting: a few events need not wait for the many of another organisation.
_SMALL_COST: Final = 8 * 1024


class LoopLimiter:
    """A limiter, fair to organisations. A post does not wait while the current iteration has capacity."""

    def __init__(self) -> None:
        self._spent = 0
        self._waiting: OwnerQueue[tuple[int, str | None, asyncio.Future[None]]] = OwnerQueue()
        self._served: set[str | None] = set()  # organisations whose posts this iteration processes

    def enter(self, cost: int, organisation: str | None) -> "asyncio.Future[None] | None":
        """Use capacity for a post; if there is none, return the future of its turn.

        A post that costs more than an iteration has gets an iteration to itself.
        """
        if (self._spent < _COST_PER_ITERATION and not self._waiting) or (
            cost <= _SMALL_COST
            and organisation not in self._served
            and not self._waiting.cost_of(organisation)
        ):
            self._spend(cost, organisation)
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(organisation, cost, (cost, organisation, turn))
        return turn

    def _spend(self, cost: int, organisation: str | None) -> None:
        if self._spent == 0:
            asyncio.get_running_loop().call_soon(self._start_iteration)
        self._spent += cost
        self._served.add(organisation)

    def _start_iteration(self) -> None:
        self._spent = 0
        self._served.clear()
        while self._waiting and self._spent < _COST_PER_ITERATION:
            cost, organisation, turn = self._waiting.pop()
            if not turn.done():  # done: its task was cancelled
                self._spend(cost, organisation)
                turn.set_result(None)
