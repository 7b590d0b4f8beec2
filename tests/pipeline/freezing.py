"""A worker that can be frozen as SIGSTOP freezes one: its event loop stands still, its connections stay."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.pacing.lane_limits import Times
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.world import World, eventually, make_world


class FreezableWorker:
    """A worker with a loop and connections of its own, in a thread."""

    def __init__(self, url: str, amazon: FakeAmazon, times: Times) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), daemon=True)
        self._url, self._amazon, self._times = url, amazon, times
        self._ready, self._awake = threading.Event(), threading.Event()
        self._frozen = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._ending: asyncio.Event
        self.world: World

    def start(self) -> None:
        self._thread.start()

    async def _work(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        async with make_world(self._url, self._amazon, with_roles=True) as self.world:
            maintenance = self.world.work(times=self._times).maintenance
            # Frozen while it creates partitions, it would hold the lock of every flush for as long as its
            # transaction may be idle.
            await eventually(lambda: all(job.due_at > 0 for job in maintenance._jobs))
            self._ready.set()
            await self._ending.wait()

    @property
    def lanes(self) -> int:
        """How many lanes it believes that it owns."""
        return len(self.world.workers[0][0].leases.owned)

    def freeze(self) -> None:
        """Let nothing of it run until it is thawed."""
        self._awake.clear()

        def stand_still() -> None:
            self._frozen.set()
            self._awake.wait(60)

        self._loop.call_soon_threadsafe(stand_still)
        assert self._frozen.wait(10)

    def thaw(self) -> None:
        self._awake.set()

    def close(self) -> None:
        self.thaw()
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(30)


@contextmanager
def freezable_worker(url: str, amazon: FakeAmazon, times: Times) -> Iterator[FreezableWorker]:
    """Run a worker that can be frozen."""
    made = FreezableWorker(url, amazon, times)
    made.start()
    assert made._ready.wait(60)
    try:
        yield made
    finally:
        made.close()
