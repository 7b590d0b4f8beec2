"""Write the results of attempts to the database, the log, the metrics and the spans.

A settlement is one transaction or one statement. It writes nothing if the lane's fence has changed. Log lines
and spans contain only ids, codes and numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import assert_never

from app.delivery.claim import QUEUES, Claim, Item, RequestContent, RequestInFlight, Unreadable
from app.domain.batch import sampled_traces
from app.domain.ids import AttemptId, BatchId, DestinationNumber, LaneId
from app.domain.outcomes.outcome import SentRequest, TransportError
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.outcomes.settle import (
    Dead,
    Deferred,
    Delivered,
    Disposition,
    PerItem,
    Retry,
    RetryAll,
    RetryPolicy,
    Settlement,
    settle,
)
from app.domain.outcomes.status import FINAL, Status
from app.store import PipelineConnection, attempts, batches, callbacks, counts, exceptions, lanes
from app.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class SettlementWriter:
    """Writes one result: of an attempt of a lane, or of a claim without an attempt.

    Use an instance for one try: `delta` keeps what a failed try counted. The public methods return `delta`,
    the changes of the counts, which they also add for `count_writer`; it is empty if the attempt is already
    settled. They raise StaleOwner.
    """

    connection: PipelineConnection
    lease: lanes.LaneLease
    count_writer: counts.CountWriter
    delta: counts.CountDelta = field(default_factory=counts.CountDelta)

    async def write_settlement(
        self, request: RequestInFlight, sent: SentRequest, settlement: Settlement
    ) -> counts.CountDelta:
        """Write an attempt's result, what happens to each conversion (its disposition), and the counts.

        This commits everything or nothing, so `connection` must be outside a transaction.
        """
        content = request.content
        if (
            isinstance(settlement, PerItem)
            and settlement.delivered == len(content.items)
            and content.batches
            and not content.too_old
            and not self.count_writer.callbacks_enabled
        ):
            days = {item.source.day for item in content.items}
            delta = counts.CountDelta(
                delivered=len(content.items), retrying=-sum([item.source.failing for item in content.items])
            )
            if await attempts.write_delivered(
                self.connection,
                request.attempt,
                self.lease,
                sent,
                destination=content.queue.number,
                batches=content.batches,
                days=(min(days), max(days)),
                delta=delta,
                writer=self.count_writer.number,
            ):
                return delta
            # Nothing was written: the lane has another owner, or the attempt is already settled, because
            # Postgres committed an earlier try whose response was lost. `_write_each` distinguishes these two
            # cases.
        async with self.connection.transaction():
            return await self._write_each(request, sent, settlement)

    async def _write_each(
        self, request: RequestInFlight, sent: SentRequest, settlement: Settlement
    ) -> counts.CountDelta:
        """Write the disposition of each conversion, in the caller's transaction."""
        content, attempt = request.content, request.attempt
        delivered = settlement.delivered if isinstance(settlement, PerItem) else None
        if not await attempts.write_outcome(self.connection, attempt, self.lease, sent, delivered=delivered):
            return self.delta
        match settlement:
            case PerItem(dispositions):
                changes = [
                    change
                    for item, disposition in zip(content.items, dispositions, strict=True)
                    if (change := self._apply(disposition, item, content, attempt.id)) is not None
                ]
                changes += [self._expire(item) for item in content.too_old]
                if content.batches:
                    await batches.close(self.connection, content.batches, "sent", attempt.id)
                await exceptions.write(
                    self.connection, content.queue.number, attempt.id, changes, queue=QUEUES[content.kind]
                )
                if self.count_writer.callbacks_enabled:
                    pairs = zip(content.items, dispositions, strict=True) if content.batches else ()
                    delivered_items = [item for item, each in pairs if isinstance(each, Delivered)]
                    finals = _final_batches(changes, delivered_items)
                    await callbacks.note(self.connection, content.queue.number, finals)
            case RetryAll(reason, seconds):
                wait = timedelta(seconds=seconds)
                if content.batches:
                    await batches.requeue(self.connection, content.batches, wait=wait, reason=reason)
                    # Conversions past the age limit stay in their batch, which counts them.
                    remaining = (*content.items, *content.too_old)
                    self.delta.retrying += sum(1 for item in remaining if not item.source.failing)
                else:
                    changes = [
                        replace(
                            _change(item, "retrying", reason),
                            wait=wait,
                            send_group=content.send_group,
                            costs_try=True,
                        )
                        for item in content.items
                    ]
                    await exceptions.write(self.connection, content.queue.number, None, changes)
            case Deferred():
                pass
            case _:
                assert_never(settlement)
        await counts.add(self.connection, self.count_writer.number, {content.queue.number: self.delta})
        return self.delta

    async def write_unsent(self, destination: DestinationNumber, claim: Claim) -> counts.CountDelta:
        """Settle due events that cannot be sent because they expired or are unreadable."""
        await lanes.hold(self.connection, self.lease)
        claim = await _lock_unchanged(self.connection, claim)
        delta = self.delta
        if claim.expired:
            await batches.close(self.connection, [batch.id for batch in claim.expired], "expired", None)
            for batch in claim.expired:
                delta.expired += batch.events
                delta.retrying -= batch.events if batch.tries else 0
        if closed := [row.source.batch for row in claim.unreadable if row.data_key is not None]:
            # Each conversion of these batches gets an exception row below.
            await batches.close(self.connection, closed, "sent", None)
        changes = [change for unreadable in claim.unreadable for change in self._fail(unreadable)]
        changes += [self._expire(item) for item in claim.too_old]
        await exceptions.write(self.connection, destination, None, changes)
        if self.count_writer.callbacks_enabled:
            expired = [
                callbacks.FinalBatch(
                    batch.id, batch.day, None, batch.events, "expired", JourneyCode.MISC_ERROR, "expired"
                )
                for batch in claim.expired
            ]
            await callbacks.note(self.connection, destination, [*expired, *_final_batches(changes)])
        await counts.add(self.connection, self.count_writer.number, {destination: delta})
        return delta

    async def write_recovered(
        self, attempt: attempts.UnsettledAttempt, *, policy: RetryPolicy, jitter: float
    ) -> counts.CountDelta:
        """Settle an attempt whose outcome is unknown: make its events due again, except final ones."""
        sent = SentRequest(TransportError("interrupted"), None, None, None)
        if not await attempts.write_outcome(self.connection, attempt, self.lease, sent):
            return self.delta
        if attempt.places is None:
            for state in await batches.still_open(self.connection, attempt.batches):
                retry = settle(sent.reply, [state.tries], policy=policy, jitter=jitter)
                assert isinstance(retry, RetryAll)
                wait = timedelta(seconds=retry.wait)
                await batches.requeue(self.connection, [state.id], wait=wait, reason="outcome_unknown")
                self.delta.retrying += 0 if state.tries else state.events
        else:
            pairs = list(zip(attempt.batches, attempt.places, strict=True))
            wait = timedelta(seconds=policy.wait(1, jitter=jitter))
            await exceptions.requeue(self.connection, pairs, wait=wait, reason="outcome_unknown")
        await counts.add(self.connection, self.count_writer.number, {attempt.destination: self.delta})
        return self.delta

    def _apply(
        self, disposition: Disposition, item: Item, content: RequestContent, attempt: AttemptId
    ) -> exceptions.ExceptionChange | None:
        """Count the disposition of a conversion and return the change of its exception row.

        Returns None for a delivered conversion that was not retried, because it needs no exception row.
        """
        was_retrying = int(item.source.failing)
        match disposition:
            case Delivered():
                self.delta.delivered += 1
                self.delta.retrying -= was_retrying
                return None if content.batches else _change(item, "delivered", "delivered")
            case Dead(reason, amazon_code, message):
                self.delta.dead += 1
                self.delta.retrying -= was_retrying
                return replace(
                    _change(item, "dead", reason),
                    amazon_code=amazon_code,
                    amazon_message=message,
                    costs_try=True,
                    answers_attempt=True,
                )
            case Retry(reason, wait, half, costs_try, amazon_code, message):
                self.delta.retrying += 1 - was_retrying
                return replace(
                    _change(item, "retrying", reason),
                    wait=timedelta(seconds=wait),
                    # The id of the refused attempt makes the group id unique. After a crash the group gets
                    # the same id.
                    send_group=None if half is None else attempt * 2 + half,
                    costs_try=costs_try,
                    amazon_code=amazon_code,
                    amazon_message=message,
                    # A request is divided if Amazon refused it as a unit. The response is then not about this
                    # conversion.
                    answers_attempt=half is None,
                )
            case _:
                assert_never(disposition)

    def _expire(self, item: Item) -> exceptions.ExceptionChange:
        """Count a conversion as expired, and return the change of its exception row."""
        self.delta.expired += 1
        self.delta.retrying -= int(item.source.failing)
        return _change(item, "expired", "expired")

    def _fail(self, unreadable: Unreadable) -> Sequence[exceptions.ExceptionChange]:
        """Count unreadable conversions as dead, and return their exception rows."""
        self.delta.dead += len(unreadable.places)
        self.delta.retrying -= len(unreadable.places) if unreadable.source.failing else 0
        return [
            _change(Item(unreadable.source, place, b""), "dead", "unreadable") for place in unreadable.places
        ]


async def _lock_unchanged(connection: PipelineConnection, claim: Claim) -> Claim:
    """Return the part of a claim that has not changed since it was read. Lock its rows in this transaction.

    Meanwhile an erasure may have rewritten a batch, maintenance may have expired it, or an operator may have
    discarded it. A changed batch is settled already or will be claimed again.
    """
    data_keys = {batch.id: batch.data_key for batch in claim.expired}
    data_keys |= {row.source.batch: row.data_key for row in claim.unreadable if row.data_key is not None}
    unchanged = await batches.lock_unchanged(connection, data_keys)
    single = [(row.source.batch, row.places[0]) for row in claim.unreadable if row.data_key is None]
    retrying = await exceptions.lock_retrying(connection, single + [item.key for item in claim.too_old])

    def is_unchanged(row: Unreadable) -> bool:
        if row.data_key is not None:
            return row.source.batch in unchanged
        return (row.source.batch, row.places[0]) in retrying

    return replace(
        claim,
        expired=tuple(batch for batch in claim.expired if batch.id in unchanged),
        unreadable=tuple(row for row in claim.unreadable if is_unchanged(row)),
        too_old=tuple(item for item in claim.too_old if item.key in retrying),
    )


def _final_batches(
    changes: Sequence[exceptions.ExceptionChange], delivered: Sequence[Item] = ()
) -> list[callbacks.FinalBatch]:
    """Return one item per batch and final state, with the exceptions that got this state.

    `delivered` are conversions that were delivered with their batch: they have no exception.
    """
    places: dict[tuple[BatchId, date, str, str | None, str | None], list[int]] = {}
    for item in delivered:
        key = (item.source.batch, item.source.day, Status.DELIVERED, None, None)
        places.setdefault(key, []).append(item.place)
    for row in changes:
        if row.status in FINAL:
            reason = None if row.status == Status.DELIVERED else row.reason
            places.setdefault((row.batch, row.day, row.status, row.code, reason), []).append(row.place)
    return [
        callbacks.FinalBatch(batch, day, tuple(placed), len(placed), status, code, reason)
        for (batch, day, status, code, reason), placed in places.items()
    ]


def _change(item: Item, status: str, reason: str) -> exceptions.ExceptionChange:
    return exceptions.ExceptionChange(
        batch=item.source.batch,
        place=item.place,
        day=item.source.day,
        status=status,
        event_at=item.event_at,
        reason=reason,
        code=REASONS[reason].code if reason in REASONS else None,
        mapping=item.mapping,
    )


def record_attempt(
    telemetry: Telemetry, lane: LaneId, request: RequestInFlight, sent: SentRequest, settlement: Settlement
) -> None:
    """Log a request with its reply and its settlement, and count it."""
    content, outcome = request.content, sent.outcome
    telemetry.attempts[outcome].inc()
    duration_s = (sent.duration_ms or 0) / 1000
    telemetry.attempt_seconds.observe(duration_s)
    if (spans := telemetry.spans) is not None:
        sources = {item.source.batch: item.source for item in content.items}
        spans.record(
            "amazon.request",
            duration_s=duration_s,
            attributes={"outcome": outcome, "http.response.status_code": sent.status, "batches": [*sources]},
            links=[trace for source in sources.values() for trace in sampled_traces(source.shapes)][:8],
        )
    telemetry.log(
        "attempt.finished",
        attempt=request.attempt.id,
        destination_id=content.queue.id,
        lane=lane,
        events=len(content.items),
        kind=content.kind.value,
        outcome=outcome,
        settlement=type(settlement).__name__,
        status=sent.status,
        duration_ms=sent.duration_ms,
        amazon_request_id=sent.request_id,
        # The ids are the same as in the log line of the request that brought the events.
        batches=content.batches or sorted({item.source.batch for item in content.items}),
    )


def count_final(telemetry: Telemetry, delta: counts.CountDelta) -> None:
    """Count the events that became final, by status."""
    for status, series in telemetry.settled.items():
        if number := getattr(delta, status):
            series.inc(number)
