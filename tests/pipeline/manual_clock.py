"""A clock for workers that only the test moves: nothing waits, and the speed of the machine is no matter."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from app.delivery.dispatcher import Dispatcher
from app.delivery.worker import Worker
from tests.pipeline.amazon import FakeAmazon

HANGS_AFTER_S = 60  # a turn that takes longer in real time fails the test
SETTLES_IN = 12  # iterations of the event loop from the end of a wait to its effect, with room


@dataclass
class ManualClock:
    """Monotonic time in seconds that stands still between two calls of `advance`.

    The workers' loops wait with `timeout`, which ends when the clock reaches its deadline. Each call of it
    reports that a loop has ended its turn. The database and the network keep their own time: a test moves
    what is due in the database by changing the row.
    """

    amazon: FakeAmazon
    now: float = 1_000.0
    workers: list[tuple[Dispatcher, "asyncio.Task[None]"]] = field(default_factory=list)
    _waits: dict["asyncio.Task[object] | None", tuple[float, asyncio.Timeout]] = field(default_factory=dict)
    _turn: asyncio.Event = field(default_factory=asyncio.Event)
    _is_over: bool = False

    def __post_init__(self) -> None:
        self.amazon.on_unanswered = self._turn.set

    def lead(self, worker: Worker) -> None:
        """Let a worker live on this clock; its random numbers are all 0.5."""
        worker.monotonic, worker.jitter = self.monotonic, lambda: 0.5
        worker.timeout, worker.sleep = self.timeout, self.sleep

    def monotonic(self) -> float:
        return self.now

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError in the block when the clock reaches the deadline."""
        task = asyncio.current_task()
        async with asyncio.timeout(seconds if self._is_over else None) as timer:
            self._waits[task] = (self.now + seconds, timer)
            self._turn.set()
            try:
                yield
            finally:
                self._waits.pop(task, None)

    async def sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with self.timeout(seconds):
                await asyncio.Event().wait()

    def step(self, seconds: float) -> None:
        """Move the clock without letting anybody finish."""
        self.now += seconds
        self._ring()

    async def advance(self, seconds: float) -> None:
        """Move the clock from deadline to deadline; at each of them, let all workers finish their turns.

        First, workers that listen read what is due: a notification in real time may still be on its way.
        When it returns, every request that was due has left and, unless Amazon hangs, is settled.
        """
        until = self.now + seconds
        for dispatcher, _ in self.workers:
            if dispatcher.listens:
                dispatcher._unknown_lane.set()
        await self.settled()
        while (due := min((due for due, _ in self._waits.values()), default=until)) < until:
            self.now = max(self.now, due)
            self._ring()
            await self.settled()
        self.now = max(self.now, until)
        self._ring()
        await self.settled()

    def end(self) -> None:
        """Let real time pass from now on: the test is over, and nothing may wait for it."""
        self._is_over = True
        self.step(math.inf)

    async def settled(self) -> None:
        """Wait until each worker has nothing to do at this time; Amazon may still owe answers."""
        try:
            async with asyncio.timeout(HANGS_AFTER_S):
                while not await self._is_settled():
                    self._turn.clear()
                    if not self._is_quiet():
                        await self._turn.wait()
        except TimeoutError:
            raise AssertionError(f"a worker does not end its turn: {self._busy()}") from None

    def _ring(self) -> None:
        for task, (due, timer) in list(self._waits.items()):
            if due <= self.now:
                del self._waits[task]  # until its next wait it is busy
                if not timer.expired():  # a short wait may have ended meanwhile
                    timer.reschedule(0)

    async def _is_settled(self) -> bool:
        for _ in range(SETTLES_IN):
            if not self._is_quiet():
                return False
            await asyncio.sleep(0)
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        requests = sum(len(dispatcher._tasks) for dispatcher, _ in self.workers)
        return not self._busy() and requests <= self.amazon.unanswered

    def _busy(self) -> list["asyncio.Task[None]"]:
        """Return the loops that do not wait for the clock; a worker whose jobs have not begun is busy too."""
        return [
            loop
            for dispatcher, task in self.workers
            for loop in (task, *dispatcher._jobs)
            if not loop.done() and (loop not in self._waits or not dispatcher._jobs)
        ]
