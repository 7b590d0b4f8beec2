"""Limits CPU-heavy processing of posts: per event-loop iteration, and while others send small posts.

Parsing and evaluating a post of 500 events takes a tenth of a second. A hundred of them would block the loop
for ten seconds: no commits, no responses, no admission control. So each iteration processes posts up to a
fixed cost. The others wait and are counted by admission control: posts of one organisation in order, several
organisations in turn. ADR 0045 explains the pauses.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from app.domain.admission import SMALL_COST
from app.domain.pacing.duty_cycle import DutyCycle
from app.domain.pacing.owner_queue import OwnerQueue

# The cost per iteration, in units of `app.domain.admission.cost_of`: one post of a hundred events, or a dozen
# of one event.
_COST_PER_ITERATION: Final = 32 * 1024
# While another organisation sends small posts, larger ones wait if the loop used this part of a core.
BUSY_PART: Final = 0.3
# Another organisation counts as sending small posts for this long after one.
SMALL_POST_SECONDS: Final = 2.0
# A waiting post proceeds after this time, whatever uses the CPU.
LONGEST_PAUSE_S: Final = 0.05
_MOST_SAVED_S: Final = 0.005


class LoopLimiter:
    """A limiter, fair to organisations. A post does not wait while the current iteration has capacity.

    `monotonic` and `cpu` are in seconds; `cpu` is the CPU time of the event loop's thread.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._monotonic, self._cpu = monotonic, cpu
        self._duty = DutyCycle(BUSY_PART, _MOST_SAVED_S, LONGEST_PAUSE_S * BUSY_PART, monotonic(), cpu())
        self._spent = 0
        self._waiting: OwnerQueue[tuple[int, str | None, asyncio.Future[None]]] = OwnerQueue()
        self._served: set[str | None] = set()  # organisations whose posts this iteration processes
        self._pause: asyncio.TimerHandle | None = None
        # The two organisations that sent small posts last, each with the time of the last one.
        self._small_posts: dict[str | None, float] = {}

    def enter(self, cost: int, organisation: str | None) -> "asyncio.Future[None] | None":
        """Use capacity for a post; if there is none, return the future of its turn.

        A post that costs more than an iteration has gets an iteration to itself. A small one is processed
        beyond the cost of the iteration, if its organisation has no other post in it and none waiting: a few
        events need not wait for the many of another organisation.
        """
        small = cost <= SMALL_COST
        if small:
            self._record_small_post(organisation)
        if (
            self._spent < _COST_PER_ITERATION
            and not self._waiting
            and (small or not self._pause_s(organisation))
        ) or (small and organisation not in self._served and not self._waiting.cost_of(organisation)):
            self._spend(cost, organisation)
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(organisation, cost, (cost, organisation, turn))
        if self._spent == 0:
            self._start_iteration()
        return turn

    def _spend(self, cost: int, organisation: str | None) -> None:
        if self._spent == 0:
            asyncio.get_running_loop().call_soon(self._start_iteration)
        self._spent += cost
        self._served.add(organisation)

    def _start_iteration(self) -> None:
        self._spent = 0
        self._served.clear()
        paused: set[str | None] = set()
        while self._spent < _COST_PER_ITERATION and (first := self._waiting.first(paused)) is not None:
            cost, organisation, _ = first
            if cost > SMALL_COST and (pause_s := self._pause_s(organisation)):
                paused.add(organisation)
                if self._pause is None:
                    self._pause = asyncio.get_running_loop().call_later(pause_s, self._end_pause)
            else:
                self._let_in(paused)

    def _end_pause(self) -> None:
        self._pause = None
        # One proceeds, even if the CPU was used meanwhile.
        while self._waiting and not self._let_in(()):
            pass

    def _let_in(self, excluded: Collection[str | None]) -> bool:
        """Let the next post proceed; return False if its task was cancelled."""
        cost, organisation, turn = self._waiting.pop(excluded)
        if turn.done():
            return False
        self._spend(cost, organisation)
        turn.set_result(None)
        return True

    def _pause_s(self, organisation: str | None) -> float:
        """Return how long a large post of an organisation must wait for small ones of others."""
        now = self._monotonic()
        recent = now - SMALL_POST_SECONDS
        if all(at < recent or sender == organisation for sender, at in self._small_posts.items()):
            return 0.0
        return self._duty.pause_s(now, self._cpu())

    def _record_small_post(self, organisation: str | None) -> None:
        self._small_posts.pop(organisation, None)
        self._small_posts[organisation] = self._monotonic()
        if len(self._small_posts) > 2:
            del self._small_posts[next(iter(self._small_posts))]
