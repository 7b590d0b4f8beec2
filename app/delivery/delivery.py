"""The second half of the road: claimed → paced → sent → settled. One call serves one lane once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import asyncpg

from app.crypto import Vault
from app.delivery import settlement as settlements
from app.delivery.access_tokens import Access, AccessTokens, SignInLost, TokenUnavailable
from app.delivery.attempt_log import AttemptLog
from app.delivery.batch_items import RequestInFlight, Selection
from app.delivery.claiming import ClaimStep
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import Lane
from app.delivery.lane_selection import choose
from app.delivery.missing_endpoints import MissingEndpoints
from app.domain.destination import Region
from app.domain.outcomes.missing_endpoint import ENDPOINT_POLICY, EndpointPolicy
from app.domain.outcomes.outcome import (
    Forbidden,
    NotSent,
    SentRequest,
    Throttled,
    TransportError,
    Unauthorized,
)
from app.domain.outcomes.settle import Deferred, PerItem, RetryAll, RetryPolicy, Settlement, settle
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.lane_limits import CAPACITY, TIMES, Capacity, Times
from app.store import PipelineConnection, attempts, lanes
from app.store.clock import DatabaseClock
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

# A started attempt without a result may still be under way until then; only later is it sent again.
SETTLED_WITHIN = timedelta(seconds=TIMES.settled_within)


class EventsApi(Protocol):
    """The events call."""

    async def send(
        self,
        region: Region,
        *,
        access_token: str,
        advertiser_id: str,
        conversions: list[bytes],
        deadline_s: float = ...,
    ) -> SentRequest: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """Time and luck, as arguments: monotonic seconds, jitter in [0, 1)."""

    monotonic: Callable[[], float]
    jitter: Callable[[], float]


class Delivery:
    """Serves lanes. Holds no transaction and no lock while Amazon or its token server is asked."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        amazon: EventsApi,
        tokens: AccessTokens,
        vault: Vault,
        erasing: ErasureScanner,
        chance: Environment,
        clock: DatabaseClock,
        telemetry: Telemetry,
        worker: str,
        writer: settlements.CountWriter,
        max_age: timedelta,
        policy: RetryPolicy,
        merge_window: float = 0.0,
        times: Times = TIMES,
        capacity: Capacity = CAPACITY,
        endpoint: EndpointPolicy = ENDPOINT_POLICY,
    ) -> None:
        self._endpoints = MissingEndpoints(tokens=tokens, policy=endpoint, telemetry=telemetry)
        self._times = times
        self._capacity = capacity
        self._pool = pool
        self._merge_window = merge_window
        self._amazon = amazon
        self._tokens = tokens
        self._erasing = erasing
        self._chance = chance
        self._clock = clock
        self._telemetry = telemetry
        self._logbook = AttemptLog(telemetry)
        self._worker = worker
        self._writer = writer
        self._policy = policy
        self._claiming = ClaimStep(
            vault=vault,
            erasing=erasing,
            now=clock.now,
            monotonic=chance.monotonic,
            telemetry=telemetry,
            logbook=self._logbook,
            writer=writer,
            max_age=max_age,
        )

    async def serve(self, lane: Lane, *, place_freed: Callable[[], None] = lambda: None) -> None:
        """Send one request of a lane, if anything is due, and settle it.

        Sets when the lane wants to be looked at next. Raises StaleOwner when it has another owner. The
        caller has set `claiming`, so that no second claim begins before this one is in flight. `place_freed`
        is called when the lane must wait for the token server: it counts as no request meanwhile.
        """
        lane.announced = 0
        try:
            going = await self._prepare(lane, place_freed)
            if going is None:
                return
            lane.requests += 1
            batches = set(going.load.whole)
            items = set() if going.load.is_live else {(i.batch, i.place) for i in going.load.items}
            lane.batches_in_flight |= batches
            lane.exceptions_in_flight |= items
        finally:
            lane.claiming = lane.waits_for_token = False
        lane.claimed_at = self._chance.monotonic()
        if going.may_be_more:
            lane.wake(lane.ready_at(lane.claimed_at))
        is_settled = False
        try:
            is_settled = await self._go(lane, going)
        finally:
            if not is_settled:
                # Its batches are as due as they were, and may lie before what was found since.
                lane.watermarks = lane.watermarks.forgotten()
            lane.requests -= 1
            lane.batches_in_flight -= batches
            lane.exceptions_in_flight -= items

    async def _prepare(self, lane: Lane, place_freed: Callable[[], None]) -> RequestInFlight | None:
        """Claimed and paced: choose a load, find a token, commit the attempt as started."""
        async with self._pool.acquire() as connection:
            now = self._chance.monotonic()
            if (known := lane.known(now)) is not None:
                turn: Selection | None = Selection(
                    known, WorkKind.LIVE, others_due=False, watermarks=lane.watermarks.at(now)
                )
            else:
                turn = await self._look(connection, lane)
            if turn is None:
                return None
            if (kept := self._tokens.kept(turn.queue.id)) is not None:
                return await self._start(connection, lane, turn, kept)

        def begins_refresh() -> None:
            lane.waits_for_token = True
            place_freed()

        # The token server may have to be asked: the connection is others' meanwhile, and the place among the
        # requests under way too, since a token server may hang for as long as it likes.
        access = await self._tokens.access(
            turn.queue.id, Region(lane.held.region), begins_refresh=begins_refresh
        )
        now = self._chance.monotonic()
        match access:
            case SignInLost(reason):
                self._telemetry.log("destination.parked", destination=turn.queue.id, reason=reason)
                lane.leave_out(turn.queue.number, now + 1)
                lane.wake(now)
                return None
            case TokenUnavailable(why, seconds):
                level = 40 if why == "unopenable" else 20
                self._telemetry.log(
                    "token.not_yet", level=level, destination=turn.queue.id, why=why, seconds=seconds
                )
                lane.leave_out(turn.queue.number, now + seconds)
                lane.wake(now)
                return None
            case Access() if lane.waits_for_token:
                lane.wake(now)  # for a place
                return None
            case Access():
                async with self._pool.acquire() as connection:
                    return await self._start(connection, lane, turn, access)

    async def _look(self, connection: PipelineConnection, lane: Lane) -> Selection | None:
        """Choose whose turn it is in a lane; None where nothing is due or may leave yet."""
        began = self._chance.monotonic()
        look = await lanes.poll(
            connection,
            lane.id,
            batches_in_flight=list(lane.batches_in_flight),
            exceptions_in_flight=list(lane.exceptions_in_flight),
            watermarks=(watermarks := lane.watermarks.at(began)),
        )
        lane.watermarks = lane.watermarks.looked(began, self._chance.monotonic())
        if look.erasures != lane.erasures:
            await self._erasing.learn(connection)
            lane.erasures = look.erasures
        lane.limit = look.limit or lane.limit
        lane.looked(look.queues, began)
        now = self._chance.monotonic()
        self._claiming.note_damaged(lane, look.damaged, now)
        chosen = choose(lane, look.queues, now)
        if chosen is None:
            return None
        if (ready_at := lane.ready_at(now)) > now:
            lane.wake(ready_at)
            return None
        return Selection(*chosen, watermarks)

    async def _start(
        self, connection: PipelineConnection, lane: Lane, turn: Selection, access: Access
    ) -> RequestInFlight | None:
        queue, service = turn.queue, turn.service
        await self._clock.ensure(connection)
        load = await self._claiming.claim(connection, lane, queue, service, turn.watermarks)
        if load is None:
            return None
        # Taken before the attempt is committed, so that our deadline ends before the database's does.
        until = self._chance.monotonic() + self._times.request
        if lane.owned_until <= until:
            # The lease could lapse under the request; the poll will wake us after its renewal.
            return None
        started = await attempts.start(
            connection,
            lane=lane.id,
            fence=lane.fence,
            destination=queue.number,
            worker=self._worker,
            batches=load.whole or [item.batch for item in load.items],
            places=None if load.is_live else [item.place for item in load.items],
            events=len(load.items),
            generation=access.generation,
            erasures=lane.erasures,
            probe_again_in=self._endpoints.policy.probe_every if queue.is_probe else None,
        )
        if started is None:
            # Paused, parked, reconnected, taken over or asked to erase between our reading and now.
            self._tokens.forget(queue.id)
            lane.only = None
            self._claiming.back_off(lane, queue, service, "not_startable")
            return None
        now = self._chance.monotonic()
        lane.served[queue.number] = now
        lane.turns = lane.turns.served(service, now, lane.pace.allowed(lane.limit, now).per_second)
        return RequestInFlight(load, started, access, until, load.may_be_more or turn.others_due)

    async def _go(self, lane: Lane, going: RequestInFlight) -> bool:
        """Sent and settled. Returns whether what it carried was moved on: delivered, dead or due later."""
        now = self._chance.monotonic()
        settlement: Settlement
        left = going.until - now
        probing = lane.breaker.opened > 0 and lane.requests > 1
        if lane.ready_gate > now or probing or left < self._times.least or lane.owned_until <= going.until:
            # A 429 was read, or the breaker opened, while this request was being prepared, and nothing
            # leaves inside that window; or we were held up for so long that others may soon count it as over.
            sent, settlement = SentRequest(NotSent(), None, None, 0), Deferred("throttled")
        else:
            lane.pace = lane.pace.sent(lane.limit, now)
            sent = await self._amazon.send(
                Region(lane.held.region),
                access_token=going.access.token,
                advertiser_id=lane.held.advertiser_id,
                conversions=[item.body for item in going.load.items],
                deadline_s=left,
            )
            settlement = await self._judge(lane, going, sent, now)
        written = await self._settle(lane, going, sent, settlement)
        self._logbook.attempted(lane, going.load, going.started, sent, settlement)
        if written is not None:
            self._logbook.settled(written.delta)
        if not (isinstance(settlement, PerItem) and settlement.is_delivered):
            # Of what it carried something is due again, now or soon. What has come in since is told by its
            # own notice, and what the claim left behind has woken the lane already.
            lane.only = None
            lane.wake(max(self._chance.monotonic(), lane.ready_gate, lane.claimed_at + self._merge_window))
        return written is not None and not isinstance(settlement, Deferred)

    async def _judge(
        self, lane: Lane, going: RequestInFlight, sent: SentRequest, sent_at: float
    ) -> Settlement:
        """Draw the consequences of a reply for the lane's pace and the destination's sign-in."""
        now, jitter = self._chance.monotonic(), self._chance.jitter()
        if await self._endpoints.waits(going.load.queue, going.access, sent.reply, now):
            return Deferred("endpoint_not_found")
        match sent.reply:
            case Throttled(retry_after):
                lane.pace = lane.pace.throttled(
                    lane.limit, now, sent_at=sent_at, retry_after=retry_after, jitter=jitter
                )
            case Unauthorized():
                await self._tokens.refused(going.load.queue.id, going.access)
            case Forbidden():
                await self._tokens.forbidden(going.load.queue.id, going.access)
            case _:
                pass
        tries = [item.source.tries for item in going.load.items]
        settlement = settle(sent.reply, tries, policy=self._policy, jitter=jitter)
        match settlement:
            case RetryAll():
                lane.pace = lane.pace.failed()
                lane.breaker = lane.breaker.failed(now, jitter=jitter)
            case Deferred():
                pass
            case _:
                lane.pace = lane.pace.succeeded(lane.limit, now, sent_at=sent_at, cap=self._capacity.lane)
                lane.breaker = lane.breaker.succeeded()
                await self._tokens.worked(going.load.queue.id, going.access)
        return settlement

    async def _settle(
        self, lane: Lane, going: RequestInFlight, sent: SentRequest, settlement: Settlement
    ) -> settlements.SettlementResult | None:
        """Write the settlement, trying again while the database is away and the lane is ours.

        What cannot be written stays a started attempt without a result, and is recovered as unknown.
        """
        for pause in (0.1, 0.4, 1.6, 5.0, None):
            try:
                async with self._pool.acquire() as connection:
                    if (left := lane.pace.gate - self._chance.monotonic()) > 0 and isinstance(
                        sent.reply, Throttled
                    ):
                        await lanes.block_until(connection, lane.id, left)
                    await self._note(connection, lane)
                    return await settlements.write(
                        connection, lane, going.load, going.started, sent, settlement, writer=self._writer
                    )
            except DRIVER_ERRORS as error:
                self._telemetry.failed(
                    "settle.failed", error, level=40, attempt=going.started.id, again=pause is not None
                )
                self._telemetry.lane_errors.labels("unsettled").inc()
                if pause is None:
                    return None
                await asyncio.sleep(pause)
        return None

    async def recover(self, lane: Lane, left: attempts.UnsettledAttempt) -> None:
        """Settle an attempt whose sender is gone: nobody knows what came of it, so it is sent again."""
        sent = SentRequest(TransportError("cut"), None, None, 0)
        async with self._pool.acquire() as connection, connection.transaction():
            written = await settlements.write_recovered(
                connection,
                lane,
                left,
                sent,
                policy=self._policy,
                jitter=self._chance.jitter(),
                writer=self._writer,
            )
        self._logbook.settled(written.delta)
        self._telemetry.log(
            "attempt.recovered", attempt=left.id, lane=lane.id, events_age_s=left.age.total_seconds()
        )
        lane.wake(self._chance.monotonic())

    async def _note(self, connection: PipelineConnection, lane: Lane) -> None:
        """Tell the lane's row how Amazon was found, where that has changed enough to be of use."""
        rate, state, seen = lane.found(self._chance.monotonic())
        if seen != lane.noted:
            await lanes.record_state(
                connection,
                lane.id,
                lane.fence,
                learned_rate=rate,
                breaker=state,
                error_rate=lane.breaker.error_rate,
            )
            lane.noted = seen
