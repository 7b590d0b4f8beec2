"""Posts come to where they cost time a few at a time, so that everything else gets its turn between them.

Reading and judging a post of five hundred events holds the event loop for a tenth of a second. A hundred of
them that arrive together would hold it for ten: no commit goes on, nobody is answered, and nobody is turned
away, since those who wait are not even seen. So in each round of the loop only some pass; the rest wait
here, where they are counted.
"""

import asyncio
from collections import deque
from typing import Final

# What passes in one round, as `app.domain.admission.cost_of` tells it: one post of a hundred events, or a
# dozen of one.
A_ROUND: Final = 32 * 1024


class LoopLimiter:
    """First come, first served; nobody waits while the round has room."""

    def __init__(self) -> None:
        self._spent = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, cost: int) -> None:
        """Return when it is the caller's turn; one that is larger than a round has a round of its own."""
        if self._spent >= A_ROUND or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((cost, turn))
            await turn  # one that is cancelled meanwhile is passed over
        else:
            self._spend(cost)

    def _spend(self, cost: int) -> None:
        if self._spent == 0:
            asyncio.get_running_loop().call_soon(self._next_round)
        self._spent += cost

    def _next_round(self) -> None:
        self._spent = 0
        while self._waiting and self._spent < A_ROUND:
            cost, turn = self._waiting.popleft()
            if not turn.done():
                self._spend(cost)
                turn.set_result(None)
