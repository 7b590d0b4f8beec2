"""Write settlements: each in one transaction, or in one statement, that checks the lane's fence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import assert_never

from app.delivery.lane import Lane
from app.delivery.request_content import Claim, Item, RequestContent, Unreadable
from app.domain.ids import AttemptId, BatchId, DestinationNumber
from app.domain.outcomes.outcome import SentRequest
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
from app.store import PipelineConnection, attempts, batches, callbacks, counts, deliveries, exceptions, lanes


class StaleOwner(Exception):
    """The lane has another owner: this worker must not write."""


@dataclass(frozen=True, slots=True)
class CountWriter:
    """The writer number of the counts, and whether final states are queued as callbacks."""

    number: int
    callbacks_enabled: bool = False


async def write_settlement(
    connection: PipelineConnection,
    lane: Lane,
    content: RequestContent,
    attempt: attempts.StartedAttempt,
    sent: SentRequest,
    settlement: Settlement,
    *,
    writer: CountWriter,
) -> counts.CountDelta:
    """Write the attempt's result, every conversion's disposition and the counts; return the changes of the
    counts.

    `connection` must be outside a transaction: everything is committed here, or nothing. Raises StaleOwner.
    """
    if (
        isinstance(settlement, PerItem)
        and settlement.is_delivered
        and content.is_complete
        and not writer.callbacks_enabled
    ):
        delta = await _write_delivered(connection, lane, content, attempt, sent, writer)
        if delta is not None:
            return delta
        # The lane has another owner, or an earlier commit succeeded but its response was lost.
    async with connection.transaction():
        return await _write_each(connection, lane, content, attempt, sent, settlement, writer=writer)


async def _write_delivered(
    connection: PipelineConnection,
    lane: Lane,
    content: RequestContent,
    attempt: attempts.StartedAttempt,
    sent: SentRequest,
    writer: CountWriter,
) -> counts.CountDelta | None:
    """Write in one statement that a request was delivered completely; None if nothing was written."""
    days = {item.source.day for item in content.items}
    delta = counts.CountDelta(
        delivered=len(content.items), retrying=-sum([item.source.failing for item in content.items])
    )
    is_written = await deliveries.settle(
        connection,
        attempt,
        lane=lane.id,
        fence=lane.fence,
        destination=content.queue.number,
        batches=content.batches,
        days=(min(days), max(days)),
        delivered=delta.delivered,
        retrying=delta.retrying,
        writer=writer.number,
        http_status=sent.status,
        request_id=sent.request_id,
        duration_ms=sent.duration_ms,
    )
    return delta if is_written else None


async def _write_each(
    connection: PipelineConnection,
    lane: Lane,
    content: RequestContent,
    attempt: attempts.StartedAttempt,
    sent: SentRequest,
    settlement: Settlement,
    *,
    writer: CountWriter,
) -> counts.CountDelta:
    """Write the disposition of each conversion, in the caller's transaction."""
    settled = await attempts.settle(
        connection,
        attempt,
        lane=lane.id,
        fence=lane.fence,
        outcome=sent.outcome,
        http_status=sent.status,
        request_id=sent.request_id,
        message=getattr(sent.reply, "message", None) or getattr(sent.reply, "why", None),
        duration_ms=sent.duration_ms,
        delivered=settlement.delivered if isinstance(settlement, PerItem) else None,
    )
    if settled is attempts.SettledAttempt.STALE:
        raise StaleOwner
    delta = counts.CountDelta()
    if settled is attempts.SettledAttempt.BEFORE:
        return delta
    match settlement:
        case PerItem(dispositions):
            written = [
                row
                for item, disposition in zip(content.items, dispositions, strict=True)
                if (row := _row(item, disposition, content, attempt.id, delta)) is not None
            ]
            written += [_expired(item, delta) for item in content.too_old]
            if content.is_live:
                await batches.close(connection, content.batches, "sent", attempt.id)
            await exceptions.write(
                connection, content.queue.number, attempt.id, written, queue=content.row_queue
            )
            if writer.callbacks_enabled:
                finals = [*_delivered(content, dispositions), *_finals(written)]
                await callbacks.note(connection, content.queue.number, finals)
        case RetryAll(reason, wait):
            await _put_back(connection, content, reason, timedelta(seconds=wait), delta)
        case Deferred():
            pass
        case _:
            assert_never(settlement)
    await counts.add(connection, writer.number, {content.queue.number: delta})
    return delta


async def write_unsent(
    connection: PipelineConnection,
    lane: Lane,
    destination: DestinationNumber,
    claim: Claim,
    *,
    writer: CountWriter,
) -> counts.CountDelta:
    """Settle due events that cannot be sent: expired batches, unreadable conversions. Raises StaleOwner."""
    if not await lanes.is_owned(connection, lane.id, lane.fence):
        raise StaleOwner
    claim = await _lock_unchanged(connection, claim)
    delta = counts.CountDelta()
    if claim.expired:
        await batches.close(connection, [batch.id for batch in claim.expired], "expired", None)
        for batch in claim.expired:
            delta.expired += batch.events
            delta.retrying -= batch.events if batch.tries else 0
    if closed := [row.batch for row in claim.unreadable if row.data_key is not None]:
        # Each of its conversions gets an exception row below.
        await batches.close(connection, closed, "sent", None)
    rows = [row for unreadable in claim.unreadable for row in _unreadable(unreadable, delta)]
    if claim.content is not None and not claim.content.items:
        rows += [_expired(item, delta) for item in claim.content.too_old]
    await exceptions.write(connection, destination, None, rows)
    if writer.callbacks_enabled:
        expired = [
            callbacks.FinalBatch(
                batch.id, batch.day, None, batch.events, "expired", JourneyCode.MISC_ERROR, "expired"
            )
            for batch in claim.expired
        ]
        await callbacks.note(connection, destination, [*expired, *_finals(rows)])
    await counts.add(connection, writer.number, {destination: delta})
    return delta


async def _lock_unchanged(connection: PipelineConnection, claim: Claim) -> Claim:
    """Return the unchanged part of a claim, locked until the transaction ends.

    Since the claim an erasure may have rewritten a batch, maintenance may have expired it, or an operator may
    have discarded it. Changed content is already settled, or will be claimed again.
    """
    data_keys = {batch.id: batch.data_key for batch in claim.expired}
    data_keys |= {row.batch: row.data_key for row in claim.unreadable if row.data_key is not None}
    unchanged = await batches.lock_unchanged(connection, data_keys)
    content = claim.content
    too_old = content.too_old if content is not None and not content.items else ()
    single = [(row.batch, place) for row in claim.unreadable if row.data_key is None for place in row.places]
    retrying = await exceptions.lock_retrying(connection, single + [item.key for item in too_old])
    return Claim(
        None
        if content is None
        else replace(content, too_old=tuple(item for item in too_old if item.key in retrying)),
        tuple(batch for batch in claim.expired if batch.id in unchanged),
        tuple(
            row
            for row in claim.unreadable
            if (
                row.batch in unchanged if row.data_key is not None else (row.batch, row.places[0]) in retrying
            )
        ),
    )


def _delivered(content: RequestContent, dispositions: Sequence[Disposition]) -> list[callbacks.FinalBatch]:
    """Return the callbacks of delivered conversions that have no exception row."""
    if not content.is_live:
        return []
    places: dict[tuple[BatchId, date], list[int]] = {}
    for item, disposition in zip(content.items, dispositions, strict=True):
        if isinstance(disposition, Delivered):
            places.setdefault((item.batch, item.day), []).append(item.place)
    return [
        callbacks.FinalBatch(batch, day, tuple(placed), len(placed), Status.DELIVERED)
        for (batch, day), placed in places.items()
    ]


def _finals(rows: Sequence[exceptions.ExceptionChange]) -> list[callbacks.FinalBatch]:
    """Return the callbacks of exceptions that became final, one per batch and final state."""
    places: dict[tuple[BatchId, date, str, str | None, str | None], list[int]] = {}
    for row in rows:
        if row.status in FINAL:
            reason = None if row.status == Status.DELIVERED else row.reason
            places.setdefault((row.batch, row.day, row.status, row.code, reason), []).append(row.place)
    return [
        callbacks.FinalBatch(batch, day, tuple(placed), len(placed), status, code, reason)
        for (batch, day, status, code, reason), placed in places.items()
    ]


def _row(
    item: Item,
    disposition: Disposition,
    content: RequestContent,
    attempt: AttemptId,
    delta: counts.CountDelta,
) -> exceptions.ExceptionChange | None:
    """Count one disposition; return its exception row, or None for a conversion delivered with its batch."""
    was_retrying = int(item.failing)
    match disposition:
        case Delivered():
            delta.delivered += 1
            delta.retrying -= was_retrying
            if content.is_live:
                return None
            return _written(item, "delivered", "delivered")
        case Dead(reason, amazon_code, message):
            delta.dead += 1
            delta.retrying -= was_retrying
            return _written(
                item,
                "dead",
                reason,
                amazon_code=amazon_code,
                amazon_message=message,
                costs_try=True,
                answers_attempt=True,
            )
        case Retry(reason, wait, half, costs_try, amazon_code, message):
            delta.retrying += 1 - was_retrying
            return _written(
                item,
                "retrying",
                reason,
                wait=timedelta(seconds=wait),
                # Derived from the refused attempt, so it is unique and the same after a crash.
                send_group=None if half is None else attempt * 2 + half,
                costs_try=costs_try,
                amazon_code=amazon_code,
                amazon_message=message,
                # Amazon refused the complete request: its response is not about this conversion.
                answers_attempt=half is None,
            )
        case _:
            assert_never(disposition)


def _written(
    item: Item,
    status: str,
    reason: str,
    *,
    wait: timedelta | None = None,
    send_group: int | None = None,
    costs_try: bool = False,
    amazon_code: str | None = None,
    amazon_message: str | None = None,
    answers_attempt: bool = False,
) -> exceptions.ExceptionChange:
    return exceptions.ExceptionChange(
        batch=item.batch,
        place=item.place,
        day=item.day,
        status=status,
        event_at=item.event_at,
        reason=reason,
        code=REASONS[reason].code if reason in REASONS else None,
        mapping=item.mapping,
        wait=wait,
        send_group=send_group,
        costs_try=costs_try,
        amazon_code=amazon_code,
        amazon_message=amazon_message,
        answers_attempt=answers_attempt,
    )


def _expired(item: Item, delta: counts.CountDelta) -> exceptions.ExceptionChange:
    delta.expired += 1
    delta.retrying -= int(item.failing)
    return _written(item, "expired", "expired")


def _unreadable(unreadable: Unreadable, delta: counts.CountDelta) -> Sequence[exceptions.ExceptionChange]:
    delta.dead += len(unreadable.places)
    delta.retrying -= len(unreadable.places) if unreadable.failing else 0
    return [
        exceptions.ExceptionChange(
            unreadable.batch,
            place,
            unreadable.day,
            "dead",
            unreadable.event_at,
            "unreadable",
            REASONS["unreadable"].code,
        )
        for place in unreadable.places
    ]


async def _put_back(
    connection: PipelineConnection,
    content: RequestContent,
    reason: str,
    wait: timedelta,
    delta: counts.CountDelta,
) -> None:
    """Make a completely failed request due again after `wait`."""
    if content.is_live:
        await batches.requeue(connection, content.batches, wait=wait, reason=reason)
        # Conversions past the age limit stay in their batch and are counted with it.
        delta.retrying += sum(1 for item in (*content.items, *content.too_old) if not item.failing)
        return
    rows = [
        _written(item, "retrying", reason, wait=wait, send_group=content.send_group, costs_try=True)
        for item in content.items
    ]
    await exceptions.write(connection, content.queue.number, None, rows)


async def write_recovered(
    connection: PipelineConnection,
    lane: Lane,
    attempt: attempts.UnsettledAttempt,
    sent: SentRequest,
    *,
    policy: RetryPolicy,
    jitter: float,
    writer: CountWriter,
) -> counts.CountDelta:
    """Settle an attempt whose outcome is unknown: make its unfinished events due again. Raises StaleOwner."""
    started = attempts.StartedAttempt(attempt.id, attempt.day)
    settled = await attempts.settle(
        connection, started, lane=lane.id, fence=lane.fence, outcome="lost", message="interrupted"
    )
    if settled is attempts.SettledAttempt.STALE:
        raise StaleOwner
    delta = counts.CountDelta()
    if settled is attempts.SettledAttempt.BEFORE:
        return delta
    if attempt.places is None:
        for state in await batches.still_open(connection, attempt.batches):
            retry = settle(sent.reply, [state.tries], policy=policy, jitter=jitter)
            assert isinstance(retry, RetryAll)
            wait = timedelta(seconds=retry.wait)
            await batches.requeue(connection, [state.id], wait=wait, reason="outcome_unknown")
            delta.retrying += 0 if state.tries else state.events
    else:
        pairs = list(zip(attempt.batches, attempt.places, strict=True))
        wait = timedelta(seconds=policy.wait(1, jitter=jitter))
        await exceptions.requeue(connection, pairs, wait=wait, reason="outcome_unknown")
    await counts.add(connection, writer.number, {attempt.destination: delta})
    return delta
