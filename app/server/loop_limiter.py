"""Limits the CPU that posts of events use: per event-loop iteration, and while others send small posts.

Parsing and evaluating a post of 500 events takes a tenth of a second. A hundred such posts would block the
event loop for ten seconds, without commits, responses and admission control. So each iteration processes
posts up to a fixed cost. Further posts wait: organisations take turns, and the posts of each keep their
order. While other organisations send small posts, large posts pause (ADR 0045).
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from app.domain.admission import SMALL_COST
from app.domain.pacing.duty_cycle import DutyCycle
from app.domain.pacing.owner_queue import OwnerQueue
from app.domain.pacing.recent_senders import RecentSenders

# The cost per iteration (`app.domain.admission.cost_of`): one post of a hundred events, or a dozen posts of
# one event.
_COST_PER_ITERATION: Final = 32 * 1024
# While another organisation sends small posts, larger posts pause if the event loop used this part of a core.
BUSY_PART: Final = 0.3
# An organisation counts as sending small posts for this long after a small post.
SMALL_POST_SECONDS: Final = 2.0
# After a pause of this time a post proceeds, whatever uses the CPU.
LONGEST_PAUSE_S: Final = 0.05
_MOST_SAVED_S: Final = 0.005  # CPU time that an idle event loop saves up for large posts


class LoopLimiter:
    """Lets posts proceed up to the cost per iteration, fairly to organisations.

    `monotonic` and `cpu` return seconds; `cpu` returns the CPU time of the event loop's thread.
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
        self._small_senders = RecentSenders(SMALL_POST_SECONDS)

    def enter(self, cost: int, organisation: str | None) -> "asyncio.Future[None] | None":
        """Return None if a post may proceed now, else a future that completes when the post may proceed.

        A post that costs more than an iteration allows gets an iteration without other posts. A small post
        may exceed the cost per iteration if its organisation has no other post in this iteration and no
        waiting post. So a small post does not wait for large posts of another organisation.
        """
        small = cost <= SMALL_COST
        if small:
            self._small_senders.record(organisation, self._monotonic())
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
        # One post proceeds, even if other work used the CPU meanwhile.
        while self._waiting and not self._let_in(()):
            pass

    def _let_in(self, excluded: Collection[str | None]) -> bool:
        """Let the next post proceed; return False if its request was cancelled."""
        cost, organisation, turn = self._waiting.pop(excluded)
        if turn.done():
            return False
        self._spend(cost, organisation)
        turn.set_result(None)
        return True

    def _pause_s(self, organisation: str | None) -> float:
        """Return how long a large post of an organisation must pause, because others send small posts."""
        now = self._monotonic()
        if not self._small_senders.include_other(organisation, now):
            return 0.0
        return self._duty.pause_s(now, self._cpu())
