"""The main loop of a worker: it serves the lanes that are ready, and runs the background jobs."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from app.delivery.balance_check import BalanceJob
from app.delivery.callbacks import CallbackSender
from app.delivery.delivery import Delivery
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import POLL_EVERY_S, Lane
from app.delivery.lane_leases import RECOVER_EVERY_S, LaneLeases
from app.delivery.maintenance import Maintenance
from app.delivery.worker import Worker
from app.domain.pacing.order import FULL_SCAN_SHARE
from app.store import lanes
from app.store.database.results import DatabaseResults
from app.store.errors import DRIVER_ERRORS

_LONGEST_SLEEP_S = 1.0
_LAST_WRITES_S = 5.0  # how long a worker that stops tries to write what it knows about sign-ins
LONGEST_REST_S = 10.0  # the longest rest of a job that takes more than its share of the time


def rest_after(took: float, previous: float, share: float) -> float:
    """Return how many seconds a job rests after a run, so that runs take at most `share` of the time.

    The shorter of the last two runs counts, because a single run may be slow, for example after a restart of
    Postgres.
    """
    return min(min(took, previous) * (1 / share - 1), LONGEST_REST_S)


@dataclass(eq=False, repr=False, kw_only=True)
class Dispatcher:
    """Acquires and serves lanes, and runs the background jobs of one worker, until `stop` is called."""

    worker: Worker
    delivery: Delivery
    leases: LaneLeases
    maintenance: Maintenance
    balancing: BalanceJob
    erasing: ErasureScanner
    outcomes: DatabaseResults
    listens: bool = True
    callback_sender: CallbackSender | None = None
    # Set by `stop`: no more requests are started.
    stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _tasks: dict[asyncio.Task[None], Lane] = field(init=False, default_factory=dict)
    # Lanes whose time has come and that have no slot yet, in the order of their times.
    _ready: dict[Lane, None] = field(init=False, default_factory=dict)
    _jobs: list[asyncio.Task[None]] = field(init=False, default_factory=list)
    _wake_up: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _unknown_lane: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _partition_missing: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def stop(self) -> None:
        """Start no more requests. `run` returns when the requests in flight are settled."""
        self.stopping.set()
        self._wake_up.set()
        self._unknown_lane.set()

    async def run(self) -> None:
        """Serve until stopped. A database error is logged, and the work is tried again."""
        maintenance, callbacks = self.maintenance, self.callback_sender
        repeat = self._repeat
        jobs = [
            repeat(self._adopt, POLL_EVERY_S, run_now=self._unknown_lane, share=1 / FULL_SCAN_SHARE),
            repeat(self.leases.renew, self.worker.times.renew_every),
            repeat(self._recover, RECOVER_EVERY_S),
            repeat(self.delivery.tokens.write_again, POLL_EVERY_S),
            repeat(maintenance.run, maintenance.every_s, run_now=self._partition_missing),
            repeat(self.erasing.scan, POLL_EVERY_S),
            repeat(self.balancing.advance, maintenance.every_s),
        ]
        if callbacks is not None:
            jobs.append(repeat(callbacks.send_due, callbacks.every_s))
        self._jobs = [asyncio.create_task(job) for job in jobs]
        listening = [asyncio.create_task(self._listen())] if self.listens else []
        try:
            while not self.stopping.is_set():
                wait = self._serve_ready()
                with suppress(TimeoutError):
                    # `wait_for` would create a task, and this loop runs several times for each request.
                    async with self.worker.timeout(wait):
                        await self._wake_up.wait()
                self._wake_up.clear()
        finally:
            for job in (*self._jobs, *listening):
                job.cancel()
            await asyncio.gather(*self._jobs, *listening, return_exceptions=True)
            while self._tasks:
                # Release the idle lanes now and each other lane as soon as its requests are settled.
                with suppress(*DRIVER_ERRORS):
                    await self.leases.leave()
                if self._tasks:  # the last task may have ended during `leave`
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITES_S):
                    await self.delivery.tokens.write_again()
            with suppress(*DRIVER_ERRORS):
                await self.leases.close()

    def _serve_ready(self) -> float:
        """Start a request for every ready lane while slots are free, and return the seconds to sleep.

        The lane that has waited longest is served first. A lane without a slot stays ready: the end of
        another request wakes the loop.
        """
        now, alarms = self.worker.monotonic(), self.leases.alarms
        self._ready |= dict.fromkeys(alarms.due(now))
        # Counted once for all ready lanes, and again after each start: thousands of lanes may be ready.
        total, regions, failing = self._in_flight(now)
        for lane in list(self._ready):
            region = lane.lease.region
            if lane.is_lost or lane.wake_at is None or lane.wake_at > now:
                del self._ready[lane]
            elif regions[region] >= self.worker.capacity.region or not lane.may_claim():
                continue
            elif self.worker.capacity.admits(
                total=total,
                region=regions[region],
                lane=lane.in_flight,
                failing=failing,
                is_failing=lane.may_hang(now),
            ):
                del self._ready[lane]
                lane.begin_claim(now)
                serving = self.delivery.serve(lane, release_slot=self._wake_up.set)
                task = asyncio.create_task(self._run_for(lane, serving))
                self._tasks[task] = lane
                self.worker.telemetry.requests_in_flight.set(len(self._tasks))
                task.add_done_callback(self._done)
                total, regions, failing = self._in_flight(now)
        return max(0.0, min(alarms.next_at - now, _LONGEST_SLEEP_S))

    def _in_flight(self, now: float) -> tuple[int, Counter[str], int]:
        """Count the requests in flight: all, by region, and those of failing lanes. Lost lanes count, too."""
        serving = set(self._tasks.values())
        regions: Counter[str] = Counter()
        for lane in serving:
            regions[lane.lease.region] += lane.in_flight
        return regions.total(), regions, sum([lane.in_flight for lane in serving if lane.may_hang(now)])

    async def _run_for(self, lane: Lane, work: Awaitable[None]) -> None:
        """Wait for work of one lane. Its error stops no other lane: this lane is served after a pause."""
        try:
            await work
            self.outcomes.succeeded()
        except lanes.StaleOwner:
            self.leases.lose(lane)
        except DRIVER_ERRORS as error:
            self.worker.telemetry.failed(
                "lane.database_error", error, level=logging.WARNING, lane=lane.lease.id
            )
            self.worker.telemetry.lane_errors["database"].inc()
            self.outcomes.refused(error)
            if isinstance(error, asyncpg.CheckViolationError):
                # There is no partition for today's attempts. Maintenance creates it.
                self._partition_missing.set()
            lane.wake(self.worker.monotonic() + 1)
        except Exception as error:
            self.worker.telemetry.failed("lane.failed", error, level=logging.ERROR, lane=lane.lease.id)
            self.worker.telemetry.lane_errors["defect"].inc()
            lane.wake(self.worker.monotonic() + 5)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
        self.worker.telemetry.requests_in_flight.set(len(self._tasks))
        self._wake_up.set()

    async def _adopt(self) -> None:
        await self.leases.adopt()
        self._wake_up.set()

    async def _recover(self) -> None:
        for lane, attempt in await self.leases.overdue():
            if not lane.is_lost:
                await self._run_for(lane, self.delivery.recover(lane, attempt))
                self._wake_up.set()

    async def _listen(self) -> None:
        """Receive Postgres notifications of new events. Reconnect when the connection is lost."""
        lost = asyncio.Event()
        while not self.stopping.is_set():
            lost.clear()
            try:
                with suppress(*DRIVER_ERRORS):
                    await self._listen_until(lost)
            except Exception as error:  # else this task would end, and only polls would find new events
                self.worker.telemetry.failed("worker.failed", error, level=logging.ERROR)
            await asyncio.sleep(POLL_EVERY_S)

    async def _listen_until(self, lost: asyncio.Event) -> None:
        """Receive notifications on a connection until it is lost, which sets the event."""
        connection = await self.worker.connect()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(lanes.WAITING_CHANNEL, self._on_notification)
            await lost.wait()
        finally:
            connection.terminate()

    def _on_notification(self, *arguments: Any) -> None:
        """Wake the lanes that a notification names. asyncpg passes the payload as the last argument."""
        now = self.worker.monotonic()
        for id, events in lanes.read_notification(str(arguments[-1])).items():  # noqa: A001
            lane = self.leases.owned.get(id)
            if lane is None:
                self._unknown_lane.set()
                continue
            if events is None:
                lane.retry(now)
            else:
                lane.announce(events, now)
            self._wake_up.set()

    async def _repeat(
        self,
        action: Callable[[], Coroutine[Any, Any, None]],
        every_s: float,
        *,
        run_now: asyncio.Event | None = None,
        share: float = 1.0,
    ) -> None:
        """Run a job every `every_s` seconds, and immediately when `run_now` is set. Log errors.

        `share` is the part of the time that the job may take: a slow job runs less often. A failed run counts
        as zero seconds.
        """
        trigger = run_now or asyncio.Event()
        previous = 0.0
        while not self.stopping.is_set():
            started_at, took = self.worker.monotonic(), 0.0
            try:
                await action()
                took = self.worker.monotonic() - started_at
            except (*DRIVER_ERRORS, lanes.StaleOwner) as error:
                self.worker.telemetry.failed("worker.database_error", error, level=logging.WARNING)
            except Exception as error:
                self.worker.telemetry.failed("worker.failed", error, level=logging.ERROR)
            rest, previous = rest_after(took, previous, share), took
            if rest > every_s:
                await self.worker.sleep(rest - every_s)
            with suppress(TimeoutError):
                async with self.worker.timeout(every_s):
                    await trigger.wait()
            trigger.clear()
