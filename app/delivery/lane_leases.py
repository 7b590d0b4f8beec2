"""Acquire, renew and release the leases of lanes, and find unsettled attempts of former owners."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import asyncpg

from app.amazon.wire import MAX_RETRY_AFTER_S
from app.delivery.lane import POLL_EVERY_S, Alarms, Lane
from app.delivery.worker import Worker
from app.domain.destination import RequestRate
from app.domain.ids import BatchId, LaneId
from app.domain.pacing.lane_limits import fair_share, may_acquire
from app.domain.pacing.order import Turns
from app.domain.pacing.pace import Pace
from app.domain.pacing.rate_estimator import RateEstimate
from app.store import attempts, due_work, lanes
from app.store.attempts import UnsettledAttempt
from app.store.lanes import LaneLease

RECOVER_EVERY_S = 2.0
# The longest time that a lane is blocked by a Retry-After. `Pace` adds up to a tenth of jitter.
LONGEST_BLOCK: Final = 1.1 * timedelta(seconds=MAX_RETRY_AFTER_S)


@dataclass(eq=False, repr=False, kw_only=True)
class LaneLeases:
    """The lane leases of one worker.

    The leases belong to a database session that lasts as long as the worker. The session holds an advisory
    lock for each lane. The lock shows other workers that the owner is alive.
    """

    worker: Worker
    turns: Turns = field(default_factory=Turns)
    _session: asyncpg.Connection | None = field(init=False, default=None)
    # The session executes one statement at a time.
    _session_lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _leaving: bool = field(init=False, default=False)
    owned: dict[LaneId, Lane] = field(init=False, default_factory=dict)
    alarms: Alarms = field(init=False, default_factory=Alarms)
    # Leases that ended but whose advisory lock is still held. Postgres counts the locks of a session, so each
    # lock must be released exactly once.
    _lost: list[LaneLease] = field(init=False, default_factory=list)

    async def adopt(self) -> None:
        """Wake the owned lanes with due events, and acquire free lanes up to a fair share.

        If the worker owns more than its share, it releases idle lanes. Lanes without waiting events are not
        read.
        """
        async with self._session_lock:
            session = await self._live_session()
            await self._release_lost(session)
            silent_after = timedelta(seconds=self.worker.times.silent_after)
            # This query comes first because it also ends the sessions of hanging workers, which frees their
            # lanes.
            workers = self.turns.workers = await lanes.living_workers(session, silent_after=silent_after)
            busy = await due_work.busy_lanes(session)
            now = self.worker.monotonic()
            share = fair_share(len({work.lane for work in busy} | set(self.owned)), workers)
            for work in busy:
                if (owned := self.owned.get(work.lane)) is not None:
                    if work.due_in is not None and work.due_in <= POLL_EVERY_S:
                        owned.schedule(work.due_in, now)
                elif work.owner is None and may_acquire(len(self.owned), share, is_lapsed=work.is_lapsed):
                    await self._acquire(session, work.lane)
            for lane in list(self.owned.values()):
                # Asked for each lane: one may begin a request while the database releases another.
                if len(self.owned) > share and lane.is_idle:
                    await self._release(session, lane)
        self.worker.telemetry.lanes.set(len(self.owned))

    async def renew(self) -> None:
        """Renew the leases of all owned lanes except locked ones. Drop the lanes that have another owner."""
        renewed_at = self.worker.monotonic()
        fences = [(lane.lease.id, lane.lease.fence) for lane in self.owned.values()]
        if not fences:
            return
        async with self._session_lock:
            renewed = await lanes.renew(
                await self._live_session(), fences, lease=timedelta(seconds=self.worker.times.lease)
            )
        for lane in list(self.owned.values()):
            lease = lane.lease
            if renewed.get(lease.id):
                lane.renewed(renewed_at + self.worker.times.lease)
            elif (lease.id, lease.fence) in fences and lease.id not in renewed:
                self.lose(lane)

    async def overdue(self) -> list[tuple[Lane, UnsettledAttempt]]:
        """Return the attempts without a result that are so old that no worker still sends them."""
        if not self.owned:
            return []
        older_than = timedelta(seconds=self.worker.times.settled_within)
        async with self._session_lock:
            session = await self._live_session()
            overdue = await attempts.unsettled(session, list(self.owned), older_than=older_than)
        return [(self.owned[each.lane], each) for each in overdue if each.lane in self.owned]

    def lose(self, lane: Lane) -> None:
        """Drop a lane that has another owner. A second call for the same lane does nothing."""
        if lane.is_lost:
            return
        lane.lose()
        lease = lane.lease
        if self.owned.get(lease.id) is lane:
            del self.owned[lease.id]
        self._lost.append(lease)
        self.worker.telemetry.log("lane.lost", level=30, lane=lease.id, fence=lease.fence)

    async def leave(self) -> None:
        """Release every lane without a request in flight, and unregister this worker.

        While this worker is registered, other workers leave a share of the lanes to it.
        """
        async with self._session_lock:
            if self._session is None or self._session.is_closed():
                return
            if not self._leaving:
                await lanes.unregister_worker(self._session)
                self._leaving = True
            for lane in list(self.owned.values()):
                if lane.is_idle:
                    await self._release(self._session, lane)

    async def close(self) -> None:
        """Release all lanes and end the session."""
        async with self._session_lock:
            if self._session is not None and not self._session.is_closed():
                await self._release_lost(self._session)
                for lane in list(self.owned.values()):
                    await self._release(self._session, lane)
                await self._session.close()

    async def _acquire(self, session: asyncpg.Connection, id: LaneId) -> None:
        acquired_at = self.worker.monotonic()
        lease = await lanes.acquire(
            session, id, self.worker.name, lease=timedelta(seconds=self.worker.times.lease)
        )
        if lease is None:
            return
        self._lost.append(lease)  # if a statement below fails, the next `adopt` releases the lease
        limit = (await due_work.pace_settings(session, id)).limit or RequestRate(1, 1)
        estimate = RateEstimate()
        if lease.learned_rate is not None:
            estimate = RateEstimate.from_former_owner(lease.learned_rate, acquired_at)
        # A longer block was written while the database's clock was ahead.
        is_blocked = 0 < lease.blocked_for <= LONGEST_BLOCK.total_seconds()
        # The former owner may just have used the burst of the rate limit: start with an empty token bucket.
        pace = Pace(
            limit,
            arrival=acquired_at + limit.burst / limit.requests_per_second,
            blocked_until=acquired_at + lease.blocked_for if is_blocked else 0.0,
            estimate=estimate,
        )
        lane = Lane(lease, acquired_at + self.worker.times.lease, pace, self.alarms, self.turns)
        for attempt in await attempts.unsettled(session, [id]):
            # The former owner may still be sending this attempt: do not send its content yet.
            lane.hold(*content_of(attempt))
        lane.wake(acquired_at)
        self._lost.remove(lease)
        self.owned[id] = lane
        self.worker.telemetry.log("lane.acquired", lane=id, fence=lease.fence)

    async def _release_lost(self, session: asyncpg.Connection) -> None:
        """Release the locks of lost lanes. Release the lease of a lost lane if it has no new owner."""
        while self._lost:
            lease = self._lost[-1]
            await lanes.release(session, lease)
            self._lost.remove(lease)  # others may have been added meanwhile

    async def _release(self, session: asyncpg.Connection, lane: Lane) -> None:
        if lane.is_lost:
            return  # since the caller listed the lanes
        lane.lose()
        self.owned.pop(lane.lease.id, None)
        self._lost.append(lane.lease)  # if this fails, the next `adopt` releases the lease
        await self._release_lost(session)
        self.worker.telemetry.log("lane.released", lane=lane.lease.id, fence=lane.lease.fence)

    async def _live_session(self) -> asyncpg.Connection:
        if self._session is None or self._session.is_closed():
            # The locks of the old session have ended, so other workers may have acquired the lanes.
            for lane in list(self.owned.values()):
                self.lose(lane)
            session = await self.worker.connect()
            try:
                await lanes.register_worker(session)
            except BaseException:
                # Other workers would not count a worker that is not registered, and would take its lanes.
                session.terminate()
                raise
            self._session = session
        return self._session


def content_of(attempt: UnsettledAttempt) -> tuple[Collection[BatchId], Collection[tuple[BatchId, int]]]:
    """Return the complete batches and the exceptions that an attempt contains."""
    if attempt.places is None:
        return attempt.batches, ()
    return (), list(zip(attempt.batches, attempt.places, strict=True))
