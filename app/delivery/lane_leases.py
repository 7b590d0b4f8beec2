"""Which lanes this worker owns: taken when free, renewed in time, given back; what former owners left."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg

from app.delivery.lane import POLL_EVERY_S, Lane
from app.domain.ids import LaneId
from app.domain.pacing.lane_limits import TIMES, Times, fair_share, may_take
from app.domain.pacing.rate_estimator import RateEstimate
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.store import attempts, lanes
from app.store.attempts import UnsettledAttempt
from app.telemetry import Telemetry

RECOVER_EVERY_S = 2.0


class LaneLeases:
    """Keeps the lanes of one worker. `session` is a connection that lives as long as the worker does:
    its advisory locks mark the lanes' owner as alive."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        owner: str,
        monotonic: Callable[[], float],
        telemetry: Telemetry,
        times: Times = TIMES,
    ) -> None:
        self._times = times
        self._lease = timedelta(seconds=times.lease)
        self._connect = connect
        self._owner = owner
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._session: asyncpg.Connection | None = None
        self._leaving = False
        self._taking_turns = asyncio.Lock()  # a connection carries one statement at a time
        self.owned: dict[LaneId, Lane] = {}
        self._lost: list[
            Lane
        ] = []  # to be let go of in the session too: its locks count how often they were taken

    async def adopt(self) -> list[Lane]:
        """Wake the owned lanes that owe something, and take free ones that do, up to a fair share among the
        living workers. Returns the new ones.

        A worker that owns more than its share gives idle lanes back, for those that own fewer. A lane that
        owes nothing is neither woken nor asked about: it costs nothing until something waits in it.
        """
        async with self._taking_turns:
            session = await self._alive()
            await self._let_go(session)
            silent_after = timedelta(seconds=self._times.silent_after)
            # First, since it frees the lanes of workers that hang.
            workers = await lanes.living_workers(session, silent_after=silent_after)
            busy = await lanes.busy_lanes(session)
            now = self._monotonic()
            share = fair_share(len({work.lane for work in busy} | set(self.owned)), workers)
            taken = []
            for work in busy:
                if (mine := self.owned.get(work.lane)) is not None:
                    if work.due_in is not None and work.due_in <= POLL_EVERY_S:
                        mine.owes(now + max(0.0, work.due_in))
                    continue
                if work.owner is not None or not may_take(len(self.owned), share, is_lapsed=work.is_lapsed):
                    continue
                if (adopted := await self._take(session, work.lane)) is not None:
                    taken.append(adopted)
            surplus = [lane for lane in self.owned.values() if not lane.requests and not lane.claiming]
            for idle in surplus[: max(0, len(self.owned) - share)]:
                await self._release(session, idle)
        self._telemetry.lanes.set(len(self.owned))
        return taken

    async def renew(self) -> None:
        """Prolong the leases of all owned lanes, and let go of those that are no longer ours."""
        before = self._monotonic()
        fences = [(lane.id, lane.fence) for lane in self.owned.values()]
        if not fences:
            return
        async with self._taking_turns:
            kept = await lanes.renew(await self._alive(), fences, lease=self._lease)
        for lane in list(self.owned.values()):
            if lane.id in kept:
                lane.owned_until = before + self._times.lease
            elif (lane.id, lane.fence) in fences:
                self.lose(lane)

    async def overdue(self) -> list[tuple[Lane, UnsettledAttempt]]:
        """Return attempts of our lanes that have no result and whose sender can no longer be at it."""
        if not self.owned:
            return []
        async with self._taking_turns:
            found = await attempts.overdue(
                await self._alive(),
                list(self.owned),
                older_than=timedelta(seconds=self._times.settled_within),
            )
        return [(self.owned[lane], left) for lane, left in found if lane in self.owned]

    def recovered(self, lane: Lane, left: UnsettledAttempt) -> None:
        """Note that what an attempt carried may be sent again."""
        _forget(lane, left)

    def lose(self, lane: Lane) -> None:
        """Stop touching a lane that has another owner. Once: its lock must not be given back twice."""
        if lane.given_up:
            return
        lane.given_up = True
        if self.owned.get(lane.id) is lane:
            del self.owned[lane.id]
        self._lost.append(lane)
        self._telemetry.log("lane.lost", level=30, lane=lane.id, fence=lane.fence)

    async def leave(self) -> None:
        """Give back every lane that has no request under way, and count no longer among the living workers.

        Those who share the lanes among themselves would otherwise leave us our share.
        """
        async with self._taking_turns:
            if self._session is None or self._session.is_closed():
                return
            if not self._leaving:
                await lanes.unregister_worker(self._session)
                self._leaving = True
            for lane in list(self.owned.values()):
                if not lane.requests and not lane.claiming:
                    await self._release(self._session, lane)

    async def close(self) -> None:
        """Give all lanes back and end the session."""
        async with self._taking_turns:
            if self._session is not None and not self._session.is_closed():
                await self._let_go(self._session)
                for lane in list(self.owned.values()):
                    await self._release(self._session, lane)
                await self._session.close()

    async def _take(self, session: asyncpg.Connection, id: LaneId) -> Lane | None:  # noqa: A002
        before = self._monotonic()
        held = await lanes.acquire(session, id, self._owner, lease=self._lease)
        if held is None:
            return None
        limit = (await lanes.pace_settings(session, id)).limit or RateLimit(1, 1)
        learned = (
            RateEstimate() if held.learned_rate is None else RateEstimate.kept(held.learned_rate, before)
        )
        # A former owner may have spent its burst a moment ago: begin with an empty bucket.
        pace = LanePace(
            arrival=before + limit.burst / limit.per_second,
            gate=before + held.blocked_for if held.blocked_for else 0.0,
            learned=learned,
        )
        lane = Lane(held, before + self._times.lease, limit, pace)
        for left in await attempts.unsettled(session, id):
            # Perhaps still under way in the hands of the former owner: not ours to send yet.
            _remember(lane, left)
        lane.wake(before)
        self.owned[id] = lane
        self._telemetry.log("lane.taken", lane=id, fence=held.fence)
        return lane

    async def _let_go(self, session: asyncpg.Connection) -> None:
        """Free lost lanes: our lock on them, and the lease where the fence is still ours after all."""
        while self._lost:
            lane = self._lost[-1]
            await lanes.release(session, lane.id, lane.fence)
            self._lost.pop()

    async def _release(self, session: asyncpg.Connection, lane: Lane) -> None:
        lane.given_up = True
        self.owned.pop(lane.id, None)
        await lanes.release(session, lane.id, lane.fence)
        self._telemetry.log("lane.released", lane=lane.id, fence=lane.fence)

    async def _alive(self) -> asyncpg.Connection:
        if self._session is None or self._session.is_closed():
            # The old session's locks are gone: whoever saw that may have taken the lanes by now.
            for lane in list(self.owned.values()):
                self.lose(lane)
            self._session = await self._connect()
            await lanes.register_worker(self._session)
        return self._session


def _remember(lane: Lane, left: UnsettledAttempt) -> None:
    if left.places is None:
        lane.batches_in_flight.update(left.batches)
    else:
        lane.exceptions_in_flight.update(zip(left.batches, left.places, strict=True))


def _forget(lane: Lane, left: UnsettledAttempt) -> None:
    if left.places is None:
        lane.batches_in_flight.difference_update(left.batches)
    else:
        lane.exceptions_in_flight.difference_update(zip(left.batches, left.places, strict=True))
