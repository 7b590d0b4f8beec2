"""The second half of the pipeline: claimed → paced → sent → settled. `serve` sends one request of a lane."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg

from app.amazon.client import EventsClient
from app.delivery.access_tokens import Access, AccessTokens, NoToken
from app.delivery.claim import (
    Claim,
    ClaimRules,
    RequestContent,
    RequestInFlight,
    read_batches,
    read_exceptions,
)
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import Lane, Selection
from app.delivery.lane_leases import content_of
from app.delivery.settlement import SettlementWriter, count_final, record_attempt
from app.delivery.worker import Worker
from app.domain.destination import Region
from app.domain.ids import AttemptId
from app.domain.outcomes.outcome import NotSent, SentRequest, Throttled
from app.domain.outcomes.settle import Deferred, PerItem, RetryPolicy, Settlement, settle
from app.domain.pacing.lane_limits import TIMES
from app.domain.pacing.order import WorkKind
from app.domain.pacing.pace import PaceSummary
from app.store import PipelineConnection, attempts, batches, due_work, lanes
from app.store.counts import CountDelta
from app.store.database.damage import is_damage
from app.store.due_work import DestinationQueue
from app.store.errors import DRIVER_ERRORS, is_transient
from app.telemetry import UNREADABLE_REASONS, describe_exception

# An attempt without a result may still be in flight for this time. After this time its events are sent again.
SETTLED_WITHIN = timedelta(seconds=TIMES.settled_within)

# Seconds between the tries to write a result. A try that waits for a lock takes up to two seconds more: then
# the pauses are short, because a result that is not written means that the events are sent again.
_PAUSES = (0.1, 0.4, 1.6, 5.0)
_LOCKED_PAUSES = (0.5,) * 20


@dataclass(eq=False, repr=False, kw_only=True)
class Delivery:
    """Sends the requests of lanes. No transaction is open and no row is locked during a network call."""

    worker: Worker
    amazon: EventsClient
    tokens: AccessTokens
    erasing: ErasureScanner
    max_age: timedelta
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    # The attempts that this worker is sending or settling: their results are known, or will be soon.
    _in_progress: set[AttemptId] = field(init=False, default_factory=set)

    async def serve(self, lane: Lane, *, release_slot: Callable[[], None] = lambda: None) -> None:
        """Send one request of a lane if events are due, write its result, and set when the lane is next.

        The caller has begun the claim, so that the lane's next claim begins after this claim. `release_slot`
        is called before the lane waits for the token server, so that another lane can use its request slot.
        Raises StaleOwner if the lane has another owner.
        """
        monotonic = self.worker.monotonic
        try:
            request = await self._prepare(lane, release_slot)
            if request is None:
                return
            begun_at = monotonic()
            may_send = lane.begin_request(request.content, begun_at, deadline=request.deadline)
        finally:
            lane.end_claim(monotonic())
        is_settled = False
        self._in_progress.add(request.attempt.id)
        try:
            # If the preparation took too long, another worker may soon treat the attempt as ended.
            if may_send and request.deadline - begun_at >= self.worker.times.least:
                sent = await self._send(lane, request, begun_at)
            else:
                sent = SentRequest(NotSent(), None, None, 0)
            settlement = await self._react(lane, request, sent, begun_at)
            delta = await self._write(lane, request, sent, settlement)
            record_attempt(self.worker.telemetry, lane.lease.id, request, sent, settlement)
            if delta is not None:
                count_final(self.worker.telemetry, delta)
            if not (isinstance(settlement, PerItem) and settlement.delivered == len(request.content.items)):
                # Otherwise nothing is due again: NOTIFY announces new events, and the lane wakes for events
                # that did not fit into the request.
                lane.requeue(monotonic())
            is_settled = delta is not None and not isinstance(settlement, Deferred)
        finally:
            self._in_progress.discard(request.attempt.id)
            lane.end_request(request.content, begun_at, is_settled=is_settled)

    async def _prepare(self, lane: Lane, release_slot: Callable[[], None]) -> RequestInFlight | None:
        """Select a queue, get its access token, claim its events. Return None if nothing can be sent now."""
        async with self.worker.pool.acquire() as connection:
            started_at = self.worker.monotonic()
            watermarks = lane.watermarks.usable(started_at)
            poll = await due_work.poll(
                connection,
                lane.lease.id,
                batches_in_flight=list(lane.batches_in_flight),
                exceptions_in_flight=list(lane.exceptions_in_flight),
                watermarks=watermarks,
            )
            now = self.worker.monotonic()
            for queue in poll.damaged:
                # Logged once per back-off.
                if not lane.is_backed_off(queue.number, WorkKind.LIVE, now):
                    error = "their states cannot be read"
                    self._back_off(lane, queue, WorkKind.LIVE, "damaged_data", error)
            if poll.erasures != lane.erasures:
                await self.erasing.refresh(connection)
            selection = lane.select(poll, watermarks, started_at, now)
            if selection is None:
                return None
            if (access := self.tokens.cached(selection.queue.id)) is not None:
                return await self._claim(connection, lane, selection, access)
        # A token server may hang: wait for it without a database connection.
        await self._fetch_token(lane, selection.queue, release_slot)
        return None

    async def _fetch_token(
        self, lane: Lane, queue: DestinationQueue, release_slot: Callable[[], None]
    ) -> None:
        """Read or refresh the access token of a destination, so that it is cached. Then serve the lane again.

        Without a token, the lane serves other destinations.
        """

        def on_refresh() -> None:
            lane.wait_for_token()
            release_slot()

        access = await self.tokens.fetch(queue.id, Region(lane.lease.region), on_refresh=on_refresh)
        now = self.worker.monotonic()
        if isinstance(access, NoToken):
            lane.exclude(queue.number, now + access.retry_in_s)
            self.worker.telemetry.log(
                "destination.parked" if access.is_parked else "token.unavailable",
                level=40 if access.reason == "unopenable" else 20,
                destination_id=queue.id,
                reason=access.reason,
                retry_in_s=access.retry_in_s,
            )
        lane.wake(now)

    async def _claim(
        self, connection: PipelineConnection, lane: Lane, selection: Selection, access: Access
    ) -> RequestInFlight | None:
        """Claim the content of the next request and commit its attempt as started."""
        queue, kind = selection.queue, selection.kind
        await self.worker.clock.ensure(connection)
        content = await self._claim_content(connection, lane, selection)
        if content is None:
            return None
        # The deadline is computed before the commit of the attempt, because other workers count from the
        # commit.
        deadline = self.worker.monotonic() + self.worker.times.request
        if lane.owned_until <= deadline:
            # The lease could expire during the request. After the lease is renewed, the next poll wakes the
            # lane.
            return None
        attempt = await attempts.start(
            connection,
            lane.lease,
            destination=queue.number,
            worker=self.worker.name,
            batches=content.batches or [item.source.batch for item in content.items],
            places=None if content.batches else [item.place for item in content.items],
            events=len(content.items),
            generation=access.generation,
            erasures=lane.erasures,
            probe_again_in=self.tokens.endpoint.probe_every if queue.is_probe else None,
        )
        if attempt is None:
            # Since the poll, the destination was paused, parked or signed in again, the lane has a new owner,
            # or an erasure was requested.
            self.tokens.forget(queue.id)
            now = self.worker.monotonic()
            lane.back_off(queue.number, kind, now)
            lane.wake(now)
            self.worker.telemetry.log("attempt.fenced", lane=lane.lease.id, destination_id=queue.id)
            return None
        return RequestInFlight(content, attempt, access, deadline)

    async def _claim_content(
        self, connection: PipelineConnection, lane: Lane, selection: Selection
    ) -> RequestContent | None:
        """Return the content of the next request. Return None if there is nothing to send now.

        If the result is None, the time at which the lane wakes up is set. Raises StaleOwner. Raises the
        driver's exceptions if the database is unreachable.
        """
        queue, kind = selection.queue, selection.kind
        read = read_batches if kind in (WorkKind.LIVE, WorkKind.REPLAY) else read_exceptions
        organisation = lane.lease.organisation
        if organisation in self.erasing.lacking:
            self._back_off(lane, queue, kind, "unknown_key", "an erasure cannot be decrypted")
            return None
        oldest = self.worker.clock.now() - self.max_age
        rules = ClaimRules(self.worker, oldest, self.erasing.values.get(organisation, {}))
        try:
            with self.worker.telemetry.claim_seconds.time():
                claim = await read(connection, lane, selection, rules)
            content = claim.content
            if content is None or claim != Claim(content):
                await self._write_unsent(connection, lane, queue, claim)
        except Exception as error:
            if isinstance(error, lanes.StaleOwner) or is_transient(error):
                raise
            reason = "damaged_data" if is_damage(error) else "defect"
            self.worker.telemetry.count_database_error(error)
            self._back_off(lane, queue, kind, reason, describe_exception(error))
            return None
        if content is not None:
            return content
        is_waiting = claim == Claim(None) or not lane.note_unsent(queue.number, kind, claim.unsent_batches)
        if is_waiting and not claim.postponed:
            self._back_off(lane, queue, kind, "nothing_claimed")
        lane.wake(self.worker.monotonic())
        return None

    def _back_off(
        self, lane: Lane, queue: DestinationQueue, kind: WorkKind, reason: str, error: str | None = None
    ) -> None:
        """Skip a queue for a while because its due events cannot be claimed, and log the reason.

        Without `error`, the first failure in a row is not logged.
        """
        now = self.worker.monotonic()
        backoff = lane.back_off(queue.number, kind, now)
        lane.wake(now)
        if error is None and backoff.failures == 1:
            return  # Probably the events were settled, paused or discarded between the poll and the claim.
        self.worker.telemetry.claims_failed[reason].inc()
        self.worker.telemetry.log(
            "claim.failed",
            level=40,
            lane=lane.lease.id,
            destination_id=queue.id,
            kind=kind.value,
            reason=reason,
            failures=backoff.failures,
            retry_in_s=round(backoff.until - now, 3),
            error=error,
        )

    async def _write_unsent(
        self, connection: PipelineConnection, lane: Lane, queue: DestinationQueue, claim: Claim
    ) -> None:
        """Rewrite the batches that contain erased events. Write the end of expired and unreadable events."""
        for batch, day in claim.erasable:
            in_flight = frozenset(place for other, place in lane.exceptions_in_flight if other == batch)
            await self.erasing.rewrite(connection, batch, day, in_flight=in_flight)
        if claim.postponed:
            await batches.postpone(connection, lane.lease, claim.postponed)
            self.worker.telemetry.unreadable_batches["unknown_key"].inc(len(claim.postponed))
        if claim.expired or claim.unreadable or claim.too_old:
            async with connection.transaction():
                settlement_writer = SettlementWriter(connection, lane.lease, self.worker.writer)
                delta = await settlement_writer.write_unsent(queue.number, claim)
            count_final(self.worker.telemetry, delta)
            for unreadable in claim.unreadable:
                # An SQLSTATE appears only in the log and not as a label, because metrics need few label
                # values.
                reason = unreadable.problem if unreadable.problem in UNREADABLE_REASONS else "damaged_data"
                self.worker.telemetry.unreadable_batches[reason].inc()
                self.worker.telemetry.log(
                    "batch.unreadable",
                    level=40,
                    batch=unreadable.source.batch,
                    destination_id=queue.id,
                    events=len(unreadable.places),
                    reason=unreadable.problem,
                )

    async def _send(self, lane: Lane, request: RequestInFlight, now: float) -> SentRequest:
        """Send a request within its deadline."""
        if failures := lane.pace.breaker.opened:
            self.worker.telemetry.log("breaker.probe_sent", lane=lane.lease.id, failures=failures)
        return await self.amazon.send(
            Region(lane.lease.region),
            access_token=request.access.token,
            advertiser_id=lane.lease.advertiser_id,
            conversions=[item.body for item in request.content.items],
            deadline_s=request.deadline - now,
        )

    async def _react(
        self, lane: Lane, request: RequestInFlight, sent: SentRequest, sent_at: float
    ) -> Settlement:
        """Decide what happens to the events of a request, and change the lane and the sign-in accordingly."""
        now, jitter = self.worker.monotonic(), self.worker.jitter()
        queue, access, reply = request.content.queue, request.access, sent.reply
        tries = [item.source.tries for item in request.content.items]
        settlement = settle(reply, tries, policy=self.policy, jitter=jitter)
        if isinstance(reply, NotSent):
            return settlement
        if await self.tokens.replied(queue, access, reply, now):
            return Deferred("endpoint_not_found")
        lane.replied(reply, now, sent_at=sent_at, jitter=jitter, cap=self.worker.capacity.lane)
        return settlement

    async def _write(
        self, lane: Lane, request: RequestInFlight, sent: SentRequest, settlement: Settlement
    ) -> CountDelta | None:
        """Write the settlement. Try again for some seconds while the database is unreachable, and longer
        while another session holds a lock.

        Returns the changes of the counts. Returns None if every try failed: the attempt then has no result,
        and `recover` settles it later.
        """
        pauses, locked_pauses = iter(_PAUSES), iter(_LOCKED_PAUSES)
        while True:
            try:
                async with self.worker.pool.acquire() as connection:
                    is_throttled = isinstance(sent.reply, Throttled)
                    summary = lane.pace.summary(self.worker.monotonic())
                    if is_throttled or summary.rounded != lane.recorded:
                        await self._record_pace(connection, lane, summary, is_throttled=is_throttled)
                    settlement_writer = SettlementWriter(connection, lane.lease, self.worker.writer)
                    return await settlement_writer.write_settlement(request, sent, settlement)
            except DRIVER_ERRORS as error:
                is_locked = isinstance(error, asyncpg.LockNotAvailableError)
                if is_locked:
                    self.worker.writer.change_rows()
                pause = next(locked_pauses if is_locked else pauses, None)
                self.worker.telemetry.failed(
                    "settlement.write_failed",
                    error,
                    level=40,
                    attempt=request.attempt.id,
                    will_retry=pause is not None,
                )
                self.worker.telemetry.lane_errors["unsettled"].inc()
                if pause is None:
                    return None
                await asyncio.sleep(pause)

    async def _record_pace(
        self, connection: PipelineConnection, lane: Lane, summary: PaceSummary, *, is_throttled: bool
    ) -> None:
        """Write the pace to the lane's row, for the console and the next owner.

        An error is only logged: the result must be stored although another session has locked the row. A
        later result writes the pace again.
        """
        try:
            left = lane.pace.blocked_until - self.worker.monotonic()
            if left > 0 and is_throttled:
                await lanes.block_until(connection, lane.lease.id, left)
            await lanes.record_summary(connection, lane.lease, summary)
            lane.record(summary)
        except DRIVER_ERRORS as error:
            self.worker.telemetry.failed("lane.pace_not_written", error, level=30, lane=lane.lease.id)

    async def recover(self, lane: Lane, attempt: attempts.UnsettledAttempt) -> None:
        """Settle an attempt whose sender has ended. The outcome is unknown, so its events are sent again.

        An old attempt whose result this worker still tries to write is left to it.
        """
        if attempt.id in self._in_progress:
            return
        jitter = self.worker.jitter()
        async with self.worker.pool.acquire() as connection, connection.transaction():
            settlement_writer = SettlementWriter(connection, lane.lease, self.worker.writer)
            delta = await settlement_writer.write_recovered(attempt, policy=self.policy, jitter=jitter)
        count_final(self.worker.telemetry, delta)
        age_s = attempt.age.total_seconds()
        self.worker.telemetry.log(
            "attempt.recovered", attempt=attempt.id, lane=lane.lease.id, events_age_s=age_s
        )
        lane.free(*content_of(attempt))
        lane.wake(self.worker.monotonic())
