"""The worker's loop: lanes that are ready are served first come, first served, one request each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg

from app.amazon.wire import MAX_EVENTS
from app.delivery.balance_check import BalanceJob
from app.delivery.callbacks import CallbackSender
from app.delivery.delivery import Delivery
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import POLL_EVERY_S, Lane
from app.delivery.lane_leases import RECOVER_EVERY_S, LaneLeases
from app.delivery.maintenance import Maintenance
from app.delivery.settlement import StaleOwner
from app.delivery.waiting_gauges import READ_EVERY_S, WaitingGauges
from app.domain.pacing.lane_limits import CAPACITY, TIMES, Capacity, InFlight, Times
from app.domain.pacing.watermarks import SHARE
from app.store import lanes
from app.store.database_results import DatabaseResults
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

_LONGEST_SLEEP_S = 1.0
LONGEST_REST_S = 10.0  # of what takes more than its share of the time


class Dispatcher:
    """Runs one worker: owns lanes, serves them, recovers and sweeps, until told to stop."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        ownership: LaneLeases,
        maintenance: Maintenance,
        balancing: BalanceJob,
        erasing: ErasureScanner,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        monotonic: Callable[[], float],
        telemetry: Telemetry,
        outcomes: DatabaseResults,
        merge_window: float,
        capacity: Capacity = CAPACITY,
        times: Times = TIMES,
        admission: WaitingGauges | None = None,
        listens: bool = True,
        callback_sender: CallbackSender | None = None,
    ) -> None:
        self._delivery = delivery
        self._ownership = ownership
        self._maintenance = maintenance
        self._balancing = balancing
        self._erasing = erasing
        self._connect = connect
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._capacity = capacity
        self._times = times
        self._outcomes = outcomes
        self._merge_window = merge_window
        self._admission = admission
        self._listens = listens
        self._callback_sender = callback_sender
        self._tasks: dict[asyncio.Task[None], Lane] = {}
        self._something = asyncio.Event()
        self._unknown_lane = asyncio.Event()
        self._partition_missing = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Start no more requests, and give lanes without one back; `run` ends once the others are settled."""
        self._stopping.set()
        self._something.set()
        self._unknown_lane.set()

    async def run(self) -> None:
        """Serve until stopped. Trouble with the database is logged and tried again, never fatal."""
        keepers = [
            asyncio.create_task(
                self._repeat(self._adopt, POLL_EVERY_S, hurried_by=self._unknown_lane, limit=1 / SHARE)
            ),
            asyncio.create_task(self._repeat(self._ownership.renew, self._times.renew_every)),
            asyncio.create_task(self._repeat(self._recover, RECOVER_EVERY_S)),
            asyncio.create_task(
                self._repeat(
                    self._maintenance.sweep, self._maintenance.every_s, hurried_by=self._partition_missing
                )
            ),
            asyncio.create_task(self._repeat(self._erasing.scan, POLL_EVERY_S)),
            asyncio.create_task(self._repeat(self._balancing.advance, self._maintenance.every_s)),
        ]
        if self._admission is not None:
            keepers.append(
                asyncio.create_task(self._repeat(self._admission.read, READ_EVERY_S, limit=1 / SHARE))
            )
        if self._callback_sender is not None:
            keepers.append(
                asyncio.create_task(self._repeat(self._callback_sender.tell, self._callback_sender.every_s))
            )
        if self._listens:
            keepers.append(asyncio.create_task(self._listen()))
        try:
            while not self._stopping.is_set():
                wait = self._serve_ready()
                with suppress(TimeoutError):
                    # Not `wait_for`, which makes it a task each time: this turns several times a request.
                    async with asyncio.timeout(wait):
                        await self._something.wait()
                self._something.clear()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            while self._tasks:
                # What nothing was sent of is another worker's at once; the rest as soon as it is settled.
                with suppress(*DRIVER_ERRORS):
                    await self._ownership.leave()
                if self._tasks:  # the last may have ended meanwhile
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(*DRIVER_ERRORS):
                await self._ownership.close()

    def _serve_ready(self) -> float:
        """Start serving every lane that is ready and finds a place; return the seconds to sleep."""
        now = self._monotonic()
        asking = [
            lane for lane in self._ownership.owned.values() if lane.wake_at is not None and lane.may_claim()
        ]
        # First come, first served: a lane that has waited longest for its turn goes first.
        asking.sort(key=lambda lane: lane.wake_at or 0.0)
        for lane in asking:
            assert lane.wake_at is not None
            if lane.wake_at > now:
                return min(lane.wake_at - now, _LONGEST_SLEEP_S)
            if not self._capacity.admits(self._in_flight(lane), is_failing=lane.breaker.is_failing):
                continue  # keeps its turn; a request that ends wakes us
            lane.wake_at, lane.claiming = None, True
            task = asyncio.create_task(self._serve(lane))
            self._tasks[task] = lane
            task.add_done_callback(self._done)
        return _LONGEST_SLEEP_S

    def _in_flight(self, asking: Lane) -> InFlight:
        """Count the requests under way. Lanes that were lost count too, until theirs have ended."""
        lanes_at_it = set(self._tasks.values())
        return InFlight(
            total=sum([lane.in_flight for lane in lanes_at_it]),
            region=sum([lane.in_flight for lane in lanes_at_it if lane.held.region == asking.held.region]),
            lane=asking.in_flight,
            failing=sum([lane.in_flight for lane in lanes_at_it if lane.breaker.is_failing]),
        )

    async def _serve(self, lane: Lane) -> None:
        try:
            await self._delivery.serve(lane, place_freed=self._something.set)
            self._outcomes.succeeded()
        except StaleOwner:
            self._ownership.lose(lane)
        except DRIVER_ERRORS as error:
            self._telemetry.failed("lane.trouble", error, level=logging.WARNING, lane=lane.id)
            self._telemetry.lane_errors.labels("database").inc()
            self._outcomes.refused(error)
            if isinstance(error, asyncpg.CheckViolationError):
                # An attempt of today has no partition; what makes them need not wait for its time.
                self._partition_missing.set()
            lane.wake(self._monotonic() + 1)
        except Exception as error:
            # A defect of ours in one lane must not stop the others; the lane is tried again, slowly.
            self._telemetry.failed("lane.defect", error, level=logging.ERROR, lane=lane.id)
            self._telemetry.lane_errors.labels("defect").inc()
            lane.wake(self._monotonic() + 5)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
        self._something.set()

    async def _adopt(self) -> None:
        await self._ownership.adopt()
        self._something.set()

    async def _recover(self) -> None:
        for lane, left in await self._ownership.overdue():
            await self._delivery.recover(lane, left)
            self._ownership.recovered(lane, left)
            self._something.set()

    async def _listen(self) -> None:
        """Hear notices of waiting events until stopped; a lost connection is made anew."""
        lost = asyncio.Event()
        while not self._stopping.is_set():
            lost.clear()
            with suppress(*DRIVER_ERRORS):
                connection = await self._connect()
                try:
                    connection.add_termination_listener(lambda _: lost.set())
                    await connection.add_listener(lanes.WAITING_CHANNEL, self._heard)
                    await lost.wait()
                finally:
                    connection.terminate()
            await asyncio.sleep(POLL_EVERY_S)

    def _heard(self, *notice: Any) -> None:
        now = self._monotonic()
        for id, events in lanes.read_notification(str(notice[-1])).items():  # noqa: A001
            lane = self._ownership.owned.get(id)
            if lane is None:
                self._unknown_lane.set()
                continue
            lane.announced += events
            # A full request leaves at once, and so does the first after a rest; a part-full one otherwise
            # waits for company, so that a lane sends at most one a window.
            full = lane.announced >= MAX_EVENTS
            lane.wake(now if full else max(now, lane.claimed_at + self._merge_window))
            self._something.set()

    async def _repeat(
        self,
        action: Callable[[], Coroutine[Any, Any, None]],
        every_s: float,
        *,
        hurried_by: asyncio.Event | None = None,
        limit: float = 1.0,
    ) -> None:
        """Do something over and over; trouble is logged and met again at the next turn.

        `at_most` is the share of the time it may take: what has become slow is done more rarely.
        """
        hurry = hurried_by or asyncio.Event()
        # Not `while True`: before Python 3.12 `wait_for` swallows a cancellation that meets its own end.
        while not self._stopping.is_set():
            began = self._monotonic()
            try:
                await action()
            except (*DRIVER_ERRORS, StaleOwner) as error:
                self._telemetry.failed("worker.trouble", error, level=logging.WARNING)
            except Exception as error:
                self._telemetry.failed("worker.defect", error, level=logging.ERROR)
            took = self._monotonic() - began
            # One that hung with the database, or stood still with its process, says nothing about the next.
            rest = 0.0 if took > LONGEST_REST_S else min(took * (1 / limit - 1), LONGEST_REST_S)
            if rest > every_s:
                await asyncio.sleep(rest - every_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), every_s)
            hurry.clear()
