"""Settled: what one settlement writes, in one transaction or one statement that names the fence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import assert_never

from app.delivery.batch_items import Claim, Item, RequestContent, Unreadable
from app.delivery.lane import Lane
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
    """The lane has another owner now: nothing of ours may be written."""


@dataclass(frozen=True, slots=True)
class CountWriter:
    """Under which number the counts are written, and whether final states are told to the journey engine."""

    number: int
    callbacks_enabled: bool = False


@dataclass(frozen=True, slots=True)
class SettlementResult:
    """How a settlement moved the counts; for telemetry."""

    delta: counts.CountDelta


async def write(
    connection: PipelineConnection,
    lane: Lane,
    load: RequestContent,
    started: attempts.StartedAttempt,
    sent: SentRequest,
    settlement: Settlement,
    *,
    writer: CountWriter,
) -> SettlementResult:
    """Write a settlement: the attempt's result, every conversion's disposition, the counts. Raises
    StaleOwner.

    `connection` is in no transaction: what is written here is committed, all of it or none.
    """
    if (
        isinstance(settlement, PerItem)
        and settlement.is_delivered
        and load.is_plain
        and not writer.callbacks_enabled
    ):
        delta = await _write_delivered(connection, lane, load, started, sent, writer)
        if delta is not None:
            return SettlementResult(delta)
        # Another owner, or the answer to an earlier commit was lost: below it is found out which.
    async with connection.transaction():
        return await _write_each(connection, lane, load, started, sent, settlement, writer=writer)


async def _write_delivered(
    connection: PipelineConnection,
    lane: Lane,
    load: RequestContent,
    started: attempts.StartedAttempt,
    sent: SentRequest,
    writer: CountWriter,
) -> counts.CountDelta | None:
    """Write at one stroke that all of a load was delivered; None where nothing could be written."""
    days = {item.source.day for item in load.items}
    delta = counts.CountDelta(
        delivered=len(load.items), retrying=-sum([item.source.failing for item in load.items])
    )
    is_written = await deliveries.settle(
        connection,
        started,
        lane=lane.id,
        fence=lane.fence,
        destination=load.queue.number,
        batches=load.whole,
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
    load: RequestContent,
    started: attempts.StartedAttempt,
    sent: SentRequest,
    settlement: Settlement,
    *,
    writer: CountWriter,
) -> SettlementResult:
    settled = await attempts.settle(
        connection,
        started,
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
        return SettlementResult(delta)
    match settlement:
        case PerItem(dispositions):
            written = [
                row
                for item, disposition in zip(load.items, dispositions, strict=True)
                if (row := _row(item, disposition, load, started.id, delta)) is not None
            ]
            written += [_expired(item, delta) for item in load.late]
            if load.is_live:
                await batches.close(connection, load.whole, "sent", started.id)
            await exceptions.write(connection, load.queue.number, started.id, written, queue=load.row_queue)
            if writer.callbacks_enabled:
                finals = [*_delivered(load, dispositions), *_finals(written)]
                await callbacks.note(connection, load.queue.number, finals)
        case RetryAll(reason, wait):
            await _put_back(connection, load, reason, timedelta(seconds=wait), delta)
        case Deferred():
            pass
        case _:
            assert_never(settlement)
    await counts.add(connection, writer.number, {load.queue.number: delta})
    return SettlementResult(delta)


async def write_failed(
    connection: PipelineConnection,
    lane: Lane,
    destination: DestinationNumber,
    claimed: Claim,
    *,
    writer: CountWriter,
) -> SettlementResult:
    """Take off the road what cannot be sent: expired batches, unreadable conversions. Raises StaleOwner."""
    if not await lanes.is_owned(connection, lane.id, lane.fence):
        raise StaleOwner
    claimed = await _still_so(connection, claimed)
    delta = counts.CountDelta()
    if claimed.expired:
        await batches.close(connection, [batch.id for batch in claimed.expired], "expired", None)
        for batch in claimed.expired:
            delta.expired += batch.events
            delta.retrying -= batch.events if batch.tries else 0
    if closed := [one.batch for one in claimed.unreadable if one.data_key is not None]:
        # Each of its conversions has a row of its own from here on.
        await batches.close(connection, closed, "sent", None)
    rows = [row for one in claimed.unreadable for row in _unreadable(one, delta)]
    if claimed.load is not None and not claimed.load.items:
        rows += [_expired(item, delta) for item in claimed.load.late]
    await exceptions.write(connection, destination, None, rows)
    if writer.callbacks_enabled:
        whole = [
            callbacks.FinalBatch(
                batch.id, batch.day, None, batch.events, "expired", JourneyCode.MISC_ERROR, "expired"
            )
            for batch in claimed.expired
        ]
        await callbacks.note(connection, destination, [*whole, *_finals(rows)])
    await counts.add(connection, writer.number, {destination: delta})
    return SettlementResult(delta)


async def _still_so(connection: PipelineConnection, claimed: Claim) -> Claim:
    """Return what of a claim is as it was found, locked until the transaction ends.

    Between the claim and now it was in nobody's hands: an erasure may have rewritten it, a sweep closed it,
    or somebody given it up. What has changed has its state already, or is found again.
    """
    seen = {batch.id: batch.data_key for batch in claimed.expired}
    seen |= {one.batch: one.data_key for one in claimed.unreadable if one.data_key is not None}
    whole = await batches.lock_unchanged(connection, seen)
    load, unreadable = claimed.load, claimed.unreadable
    late = load.late if load is not None and not load.items else ()
    single = [(one.batch, place) for one in unreadable if one.data_key is None for place in one.places]
    retrying = await exceptions.lock_retrying(connection, single + [(one.batch, one.place) for one in late])
    return Claim(
        None if load is None else replace(load, late=tuple(one for one in late if one.key in retrying)),
        tuple(batch for batch in claimed.expired if batch.id in whole),
        tuple(
            one
            for one in unreadable
            if (one.batch in whole if one.data_key is not None else (one.batch, one.places[0]) in retrying)
        ),
    )


def _delivered(load: RequestContent, dispositions: Sequence[Disposition]) -> list[callbacks.FinalBatch]:
    """Return what is told of the conversions that stay on the straight road: delivered, without a row."""
    if not load.is_live:
        return []
    places: dict[tuple[BatchId, date], list[int]] = {}
    for item, disposition in zip(load.items, dispositions, strict=True):
        if isinstance(disposition, Delivered):
            places.setdefault((item.batch, item.day), []).append(item.place)
    return [
        callbacks.FinalBatch(batch, day, tuple(of), len(of), Status.DELIVERED)
        for (batch, day), of in places.items()
    ]


def _finals(rows: Sequence[exceptions.ExceptionChange]) -> list[callbacks.FinalBatch]:
    """Return what is told of those that left the road, alike ones of a batch together."""
    places: dict[tuple[BatchId, date, str, str | None, str | None], list[int]] = {}
    for row in rows:
        if row.status in FINAL:
            reason = None if row.status == Status.DELIVERED else row.reason
            places.setdefault((row.batch, row.day, row.status, row.code, reason), []).append(row.place)
    return [
        callbacks.FinalBatch(batch, day, tuple(of), len(of), status, code, reason)
        for (batch, day, status, code, reason), of in places.items()
    ]


def _row(
    item: Item, disposition: Disposition, load: RequestContent, attempt: AttemptId, delta: counts.CountDelta
) -> exceptions.ExceptionChange | None:
    """Return the exception's row for one disposition, None for what stays on the straight road; count it."""
    was = int(item.failing)
    match disposition:
        case Delivered():
            delta.delivered += 1
            delta.retrying -= was
            if load.is_live:
                return None
            return _written(item, "delivered", "delivered")
        case Dead(reason, amazon_code, message):
            delta.dead += 1
            delta.retrying -= was
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
            delta.retrying += 1 - was
            return _written(
                item,
                "retrying",
                reason,
                wait=timedelta(seconds=wait),
                # A half is named by the attempt that was refused: unique, and the same after a crash.
                send_group=None if half is None else attempt * 2 + half,
                costs_try=costs_try,
                amazon_code=amazon_code,
                amazon_message=message,
                # A request that is halved was refused as a whole; nothing was said of this conversion.
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


def _unreadable(one: Unreadable, delta: counts.CountDelta) -> Sequence[exceptions.ExceptionChange]:
    delta.dead += len(one.places)
    delta.retrying -= len(one.places) if one.failing else 0
    return [
        exceptions.ExceptionChange(
            one.batch, place, one.day, "dead", one.event_at, "unreadable", REASONS["unreadable"].code
        )
        for place in one.places
    ]


async def _put_back(
    connection: PipelineConnection,
    load: RequestContent,
    reason: str,
    wait: timedelta,
    delta: counts.CountDelta,
) -> None:
    if load.is_live:
        await batches.requeue(connection, load.whole, wait=wait, reason=reason)
        # Late ones go back with their batch and are counted with it.
        delta.retrying += sum(1 for item in (*load.items, *load.late) if not item.failing)
        return
    rows = [
        _written(item, "retrying", reason, wait=wait, send_group=load.send_group, costs_try=True)
        for item in load.items
    ]
    await exceptions.write(connection, load.queue.number, None, rows)


async def write_recovered(
    connection: PipelineConnection,
    lane: Lane,
    left: attempts.UnsettledAttempt,
    sent: SentRequest,
    *,
    policy: RetryPolicy,
    jitter: float,
    writer: CountWriter,
) -> SettlementResult:
    """Settle an attempt whose result nobody knows: what it carried and is still owed is due again.

    Raises StaleOwner.
    """
    started = attempts.StartedAttempt(left.id, left.day)
    settled = await attempts.settle(
        connection, started, lane=lane.id, fence=lane.fence, outcome="lost", message="interrupted"
    )
    if settled is attempts.SettledAttempt.STALE:
        raise StaleOwner
    delta = counts.CountDelta()
    if settled is attempts.SettledAttempt.BEFORE:
        return SettlementResult(delta)
    if left.places is None:
        for state in await batches.still_open(connection, left.batches):
            later = settle(sent.reply, [state.tries], policy=policy, jitter=jitter)
            assert isinstance(later, RetryAll)
            wait = timedelta(seconds=later.wait)
            await batches.requeue(connection, [state.id], wait=wait, reason="outcome_unknown")
            delta.retrying += 0 if state.tries else state.events
    else:
        pairs = list(zip(left.batches, left.places, strict=True))
        wait = timedelta(seconds=policy.wait(1, jitter=jitter))
        await exceptions.requeue(connection, pairs, wait=wait, reason="outcome_unknown")
    await counts.add(connection, writer.number, {left.destination: delta})
    return SettlementResult(delta)
