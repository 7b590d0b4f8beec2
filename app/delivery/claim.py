"""Claim the content of a lane's next request, and write the end of due events that cannot be sent.

If the due events of a queue cannot be claimed, the lane skips this queue for a while and serves its other
queues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.crypto import Vault
from app.delivery.attempt_log import AttemptLog
from app.delivery.due_work import ClaimRules, read_due_batches, read_due_exceptions
from app.delivery.erasure import ErasureScanner
from app.delivery.lane import Lane
from app.delivery.request_content import Claim, RequestContent, Selection
from app.delivery.settlement import CountWriter, StaleOwner, write_unsent
from app.domain.pacing.fair_queueing import WorkKind
from app.store import PipelineConnection, lanes
from app.store.database.damage import is_damage
from app.store.errors import is_transient
from app.telemetry import UNREADABLE_REASONS, Telemetry, describe_exception


@dataclass(eq=False, repr=False, kw_only=True)
class ClaimStep:
    """Claims due events for the lanes of a worker. `now` is wall time; lanes use the clock `monotonic`."""

    vault: Vault
    erasing: ErasureScanner
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    telemetry: Telemetry
    log: AttemptLog
    writer: CountWriter
    max_age: timedelta

    async def claim(
        self, connection: PipelineConnection, lane: Lane, selection: Selection
    ) -> RequestContent | None:
        """Return the content of the next request. Return None if there is nothing to send now.

        If the result is None, the time at which the lane wakes up is set. Raises StaleOwner. Raises the
        driver's exceptions if the database is unreachable.
        """
        queue, kind = selection.queue, selection.kind
        read = read_due_batches if kind in (WorkKind.LIVE, WorkKind.REPLAY) else read_due_exceptions
        rules = ClaimRules(
            self.vault, self.now() - self.max_age, self.erasing.erased_values(lane.lease.organisation)
        )
        try:
            with self.telemetry.claim_seconds.time():
                claim = await read(connection, lane, selection, rules)
            await self._write_unsent(connection, lane, queue, claim)
        except Exception as error:
            if isinstance(error, StaleOwner) or is_transient(error):
                raise
            reason = "damaged_data" if is_damage(error) else "defect"
            self.telemetry.count_database_error(error)
            self.back_off(lane, queue, kind, reason, describe_exception(error))
            return None
        if claim.content is not None and claim.content.items:
            lane.clear_backoff(queue.number, kind)
            return claim.content
        if claim == Claim(None) and lane.is_cached:
            # Nothing is due: a notification announced events that an earlier claim already contained.
            return None
        if claim == Claim(None) or not lane.note_unsent(queue.number, kind, claim.unsent_batches):
            self.back_off(lane, queue, kind, "nothing_claimed")
        lane.wake(self.monotonic())
        return None

    def note_damaged(self, lane: Lane, damaged: Sequence[lanes.DestinationQueue], now: float) -> None:
        """Skip the destinations whose due events cannot be read, and log each once per back-off."""
        for queue in damaged:
            if not lane.is_backed_off(queue.number, WorkKind.LIVE, now):
                self.back_off(lane, queue, WorkKind.LIVE, "damaged_data", "their states cannot be read")

    def back_off(
        self,
        lane: Lane,
        queue: lanes.DestinationQueue,
        kind: WorkKind,
        reason: str,
        error: str | None = None,
    ) -> None:
        """Skip a queue for a while because its due events cannot be claimed, and log the reason.

        Without `error`, the first failure in a row is not logged.
        """
        now = self.monotonic()
        backoff = lane.back_off(queue.number, kind, now)
        lane.wake(now)
        if error is None and backoff.failures == 1:
            return  # Probably the events were settled, paused or discarded between the poll and the claim.
        self.telemetry.claims_failed.labels(reason).inc()
        self.telemetry.log(
            "claim.failed",
            level=40,
            lane=lane.lease.id,
            destination=queue.id,
            kind=kind.value,
            reason=reason,
            failures=backoff.failures,
            retry_in_s=round(backoff.until - now, 3),
            error=error,
        )

    async def _write_unsent(
        self, connection: PipelineConnection, lane: Lane, queue: lanes.DestinationQueue, claim: Claim
    ) -> None:
        """Rewrite the batches that contain erased events. Write the end of expired and unreadable events."""
        for batch, day in claim.erasable:
            in_flight = frozenset(place for other, place in lane.exceptions_in_flight if other == batch)
            await self.erasing.rewrite(connection, batch, day, in_flight=in_flight)
        only_too_old = claim.content is not None and not claim.content.items
        if claim.expired or claim.unreadable or only_too_old:
            async with connection.transaction():
                delta = await write_unsent(connection, lane, queue.number, claim, writer=self.writer)
            self.log.count_final(delta)
            for unreadable in claim.unreadable:
                # An SQLSTATE appears only in the log and not as a label, because metrics need few label
                # values.
                reason = unreadable.problem if unreadable.problem in UNREADABLE_REASONS else "damaged_data"
                self.telemetry.unreadable_batches.labels(reason).inc()
                self.telemetry.log(
                    "batch.unreadable",
                    level=40,
                    batch=unreadable.batch,
                    destination=queue.id,
                    events=len(unreadable.places),
                    reason=unreadable.problem,
                )
