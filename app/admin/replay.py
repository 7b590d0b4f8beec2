"""Replay: queue dead and expired events again, or only count them."""

import math
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.admin.access import Caller, Scope
from app.admin.context import AppContext
from app.admin.destinations import lock_visible
from app.admin.replay_selection import ALL_EVENTS, EventSelection, selected
from app.amazon.wire import MAX_EVENTS
from app.domain.ids import DestinationNumber, KeyId, LaneId
from app.domain.pacing.fair_queueing import REPLAY_SHARE
from app.store import PipelineConnection, audit, batches, counts, driver_of, lanes, replays
from app.store.audit import AuditAction
from app.store.destinations import Destination

MOST = 50_000  # events per transaction; further transactions replay the rest
_TIME_LIMIT_S = 20.0  # for all transactions of a request
_WRITER = 0  # the counter row that all API processes share for replays, which are rare


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay or of its dry run. `matched = replayed + too_old + forgotten + remaining`.

    `seconds` is the time until the last event is sent, at the lane's current rate.
    """

    matched: int
    replayed: int
    too_old: int
    forgotten: int
    remaining: int
    requests: int
    seconds: float
    replay_id: str | None = None  # None for a dry run
    not_found: tuple[str, ...] = ()  # event ids that no event has


async def replay_events(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: replays.ReplayFilter,
    *,
    selection: EventSelection = ALL_EVENTS,
    dry_run: bool = False,
) -> ReplayResult:
    """Queue the matching events again, behind live traffic. With `dry_run`, only count the events.

    The function runs transactions until all events are queued or the time limit is reached. `remaining`
    counts the events that are not queued yet. A repeated replay does not send an event twice.
    """
    until = context.monotonic() + _TIME_LIMIT_S
    first = last = await _replay_some(context, caller, destination_id, wanted, selection, dry_run=dry_run)
    replayed = last.replayed
    while not dry_run and last.remaining and last.replayed and context.monotonic() < until:
        # Each transaction queues some of the events. A single transaction would block the workers' claims for
        # minutes.
        last = await _replay_some(context, caller, destination_id, wanted, selection, dry_run=dry_run)
        replayed += last.replayed
    return replace(
        first, replayed=replayed, remaining=last.remaining, requests=last.requests, seconds=last.seconds
    )


async def _replay_some(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: replays.ReplayFilter,
    selection: EventSelection,
    *,
    dry_run: bool,
) -> ReplayResult:
    """Queue matching events again in one transaction, then wake the workers."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        result = await _replay_and_record(
            connection,
            destination,
            wanted,
            selection,
            max_age=context.max_event_age,
            writer=_WRITER,
            by=caller.actor,
            dry_run=dry_run,
        )
    if not dry_run:
        await context.wake(destination.number)
    return result


async def replay_by_transaction(
    engine: AsyncEngine,
    destination_id: str,
    wanted: replays.ReplayFilter,
    *,
    max_age: timedelta,
    writer: int,
    by: str,
    dry_run: bool,
) -> AsyncIterator[ReplayResult]:
    """Queue all matching events again, without a time limit. Yield the result of each transaction.

    The command line uses it: an operator may see every destination. Raises Refusal (404, 409).
    """
    operator = Caller(KeyId(by), frozenset(Scope))
    while True:
        async with engine.begin() as connection:
            destination = await lock_visible(connection, operator, destination_id)
            result = await _replay_and_record(
                connection,
                destination,
                wanted,
                ALL_EVENTS,
                max_age=max_age,
                writer=writer,
                by=by,
                dry_run=dry_run,
            )
        yield result
        if dry_run or not result.remaining or not result.replayed:
            return


async def _replay_and_record(
    connection: AsyncConnection,
    destination: Destination,
    wanted: replays.ReplayFilter,
    selection: EventSelection,
    *,
    max_age: timedelta,
    writer: int,
    by: str,
    dry_run: bool,
) -> ReplayResult:
    """Queue matching events again and record the replay in the audit."""
    # Use the connection of the driver in the same transaction, so that the destination stays locked.
    driver = await driver_of(connection)
    wanted, not_found = await selected(driver, destination.id, destination.number, wanted, selection)
    result = await replay(
        driver,
        destination.number,
        await replays.lane_of(driver, destination.number),
        wanted,
        max_age=max_age,
        writer=writer,
        by=by,
        dry_run=dry_run,
    )
    if not dry_run:
        await audit.record(
            connection,
            by,
            AuditAction.EVENTS_REPLAYED,
            destination.id,
            destination=destination.id,
            after={
                "replay_id": result.replay_id,
                "status": wanted.status,
                "reason": wanted.reason,
                "replayed": result.replayed,
                "matched": result.matched,
            },
        )
    return replace(result, not_found=not_found)


async def replay(
    connection: PipelineConnection,
    number: DestinationNumber,
    lane: LaneId,
    wanted: replays.ReplayFilter,
    *,
    max_age: timedelta,
    writer: int,
    by: str,
    dry_run: bool,
    most: int = MOST,
) -> ReplayResult:
    """Queue up to `most` matching events again, in the caller's transaction. `by` names the actor.

    A repeated call does not queue an event twice. Events past the age limit (`too_old`) and events without a
    data key (`forgotten`) stay unchanged.
    """
    found = await replays.count(connection, number, wanted, max_age=max_age)
    before = await batches.waiting(connection, number, replays.QUEUE)
    moved = found.ready if dry_run else min(found.ready, most)
    replay_id = None
    if not dry_run:
        replay_id = f"rpl_{secrets.token_hex(10)}"
        this = await replays.begin(connection, replay_id, number, wanted, by=by)
        moved, delta = await replays.requeue(
            connection, number, wanted, max_age=max_age, most=most, replay=this
        )
        await replays.finish(connection, this, moved)
        await counts.add(connection, writer, {number: delta})
    # If no event is queued, count no requests, even if an earlier replay is still waiting.
    requests, seconds = await _time_of(connection, lane, moved + before) if moved else (0, 0.0)
    return ReplayResult(
        matched=found.matched,
        replayed=moved,
        too_old=found.too_old,
        forgotten=found.forgotten,
        remaining=max(0, found.ready - moved),
        requests=requests,
        seconds=seconds,
        replay_id=replay_id,
    )


async def _time_of(connection: PipelineConnection, lane: LaneId, events: int) -> tuple[int, float]:
    """Return the minimum number of requests for these events, and the seconds that they take.

    Replays get only a share of the lane's rate.
    """
    requests = math.ceil(events / MAX_EVENTS)
    terms = await lanes.pace_settings(connection, lane)
    rate = terms.limit.per_second if terms.limit is not None else 1.0
    if terms.learned_rate is not None:
        rate = min(rate, terms.learned_rate)
    return requests, round(max(0, requests - 1) * REPLAY_SHARE / rate, 3)
