"""Claiming: find what the next request of a queue carries, and settle what cannot be sent.

A queue whose due work cannot be claimed backs off and says so; the other queues of its lane go on.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from app.crypto import Vault
from app.delivery import settlement
from app.delivery.attempt_log import AttemptLog
from app.delivery.batch_items import Claim, RequestContent
from app.delivery.claim_queries import claim_live, claim_retry
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import Lane
from app.delivery.settlement import StaleOwner
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.watermarks import Key
from app.store import PipelineConnection, lanes
from app.store.damage import is_damage
from app.store.errors import is_transient
from app.telemetry import Telemetry, describe_exception


class ClaimStep:
    """Claims for a worker's lanes. `now` is wall time, `monotonic` the clock of lanes."""

    def __init__(
        self,
        *,
        vault: Vault,
        erasing: ErasureScanner,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        telemetry: Telemetry,
        logbook: AttemptLog,
        writer: settlement.CountWriter,
        max_age: timedelta,
    ) -> None:
        self._vault = vault
        self._erasing = erasing
        self._now = now
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._logbook = logbook
        self._writer = writer
        self._max_age = max_age

    async def claim(
        self,
        connection: PipelineConnection,
        lane: Lane,
        queue: lanes.DestinationQueue,
        service: WorkKind,
        watermarks: Mapping[Key, datetime],
    ) -> RequestContent | None:
        """Return what the next request carries, or None; then the lane's next wake-up is set.

        Raises StaleOwner, and what the driver raises when the database is away.
        """
        read = claim_live if service in (WorkKind.LIVE, WorkKind.REPLAY) else claim_retry
        try:
            claimed = await read(
                connection,
                lane,
                queue,
                service,
                vault=self._vault,
                max_age=self._max_age,
                now=self._now(),
                looked_for=self._erasing.looked_for,
                watermarks=watermarks,
            )
            await self._settle_unsent(connection, lane, queue, claimed)
        except Exception as error:
            if isinstance(error, StaleOwner) or is_transient(error):
                raise
            reason = "damaged_data" if is_damage(error) else "defect"
            self.back_off(lane, queue, service, reason, describe_exception(error))
            return None
        if claimed.load is not None and claimed.load.items:
            lane.claimed(queue.number, service)
            return claimed.load
        if claimed == Claim(None) and lane.only is not None:
            # Nothing is due: the notice that woke the lane spoke of what had been taken already.
            return None
        if claimed == Claim(None) or not lane.is_progress(queue.number, service, claimed.ids):
            self.back_off(lane, queue, service, "nothing_claimed")
        lane.wake(self._monotonic())
        return None

    def note_damaged(self, lane: Lane, damaged: Sequence[lanes.DestinationQueue], now: float) -> None:
        """Name the destinations whose due work cannot be read, each as rarely as it would be claimed."""
        for queue in damaged:
            before = lane.backoffs.get((queue.number, WorkKind.LIVE))
            if before is None or before.until <= now:
                self.back_off(lane, queue, WorkKind.LIVE, "damaged_data", "their states cannot be read")

    def back_off(
        self,
        lane: Lane,
        queue: lanes.DestinationQueue,
        service: WorkKind,
        reason: str,
        error: str | None = None,
    ) -> None:
        """Leave a queue out whose due work cannot be claimed; the other queues of the lane go on."""
        now = self._monotonic()
        backoff = lane.back_off(queue.number, service, now)
        lane.wake(now)
        if error is None and backoff.failures == 1:
            return  # what was due has been settled, paused or discarded between the look and the claim
        self._telemetry.claims_failed.labels(reason).inc()
        self._telemetry.log(
            "claim.failed",
            level=40,
            lane=lane.id,
            destination=queue.id,
            kind=service.value,
            reason=reason,
            failures=backoff.failures,
            retry_in_s=round(backoff.until - now, 3),
            error=error,
        )

    async def _settle_unsent(
        self, connection: PipelineConnection, lane: Lane, queue: lanes.DestinationQueue, claimed: Claim
    ) -> None:
        """Rewrite, expire or close as unreadable what a claim found unfit to be sent."""
        for batch, day in claimed.erasable:
            spared = frozenset(place for one, place in lane.exceptions_in_flight if one == batch)
            await self._erasing.rewrite(connection, batch, day, spared=spared)
        only_late = claimed.load is not None and not claimed.load.items
        if claimed.expired or claimed.unreadable or only_late:
            async with connection.transaction():
                written = await settlement.write_failed(
                    connection, lane, queue.number, claimed, writer=self._writer
                )
            self._logbook.settled(written.delta)
            for one in claimed.unreadable:
                self._telemetry.unreadable_batches.labels(one.problem).inc()
                self._telemetry.log(
                    "batch.unreadable",
                    level=40,
                    batch=one.batch,
                    destination=queue.id,
                    events=len(one.places),
                    reason=one.problem,
                )
