"""Replay dead and expired events, show the progress of replays, and dismiss dead letters.

A request selects events by event id, journey, node, execution, mapping or event type.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import Caller, require_found
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible, reading_row
from app.admin.events.scan import require_mapping
from app.domain.batch import MAX_EVENTS, EventMetadata, read_shapes
from app.domain.event import event_key
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, LaneId
from app.domain.pacing.order import REPLAY_SHARE
from app.store import PipelineConnection, audit, batches, counts, due_work, ledger, replays, transaction
from app.store.audit import AuditAction
from app.store.database import damage
from app.store.destinations.destinations import Destination
from app.store.events import batches as event_batches
from app.store.replays import ReplayProgress
from app.store.replays import selection as selections
from app.store.replays.selection import ReplayCount, ReplaySelection, UnsentEvent

MOST = 50_000  # events per transaction; further transactions replay the rest
_TIME_LIMIT_S = 20.0  # for all transactions of a request
_WRITER = 0  # the counter row that all API processes share for replays, which are rare
_BATCHES: Final = 200  # of one query
_MOST_NOT_FOUND: Final = 100  # event ids in a response
NOT_FOUND: Final = "Ids of `event_ids` that no event of the destination has, at most 100."
_KEYS: Final = 5_000  # of one query; computing them takes 5 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """The result of a replay or of its dry run. `matched = replayed + too_old + forgotten + remaining`."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    dry_run: bool
    matched: int
    replayed: int
    too_old: int
    """Events older than Amazon's age limit. They are unchanged."""
    forgotten: int
    """Events whose data was deleted. They are unchanged."""
    remaining: int
    """Events that this request did not reach. Repeat the request to replay them."""
    requests: int
    seconds: float
    """The minimum time until the last event is sent, at the lane's current rate."""
    replay_id: str | None
    """The id of the replay in event histories; null for a dry run."""
    not_found: Annotated[Sequence[str], Field(description=NOT_FOUND)]


@dataclass(frozen=True, slots=True)
class SelectedEvents:
    """The events of a selection.

    `unsent` are those that share the status of their batch. `not_found` are up to 100 event ids that no event
    has.
    """

    selection: ReplaySelection
    unsent: list[UnsentEvent]
    not_found: tuple[str, ...]


async def replay_events(
    context: AppContext, destination_id: str, wanted: EventQuery, *, dry_run: bool
) -> ReplayResult:
    """Queue the matching events again, behind live traffic. With `dry_run`, only count the events.

    The function runs transactions until all events are queued or the time limit is reached. `remaining`
    counts the events that are not queued yet. A repeated replay does not send an event twice.
    """
    until = context.monotonic() + _TIME_LIMIT_S
    steps = replay_steps(
        context.engine,
        context.caller,
        destination_id,
        wanted,
        max_age=context.deployment.max_age,
        writer=_WRITER,
        dry_run=dry_run,
    )
    async with aclosing(steps):
        async for destination, so_far in steps:
            result = so_far
            if not dry_run:
                await context.wake(destination)
            if context.monotonic() >= until:
                break
    return result


async def replay_steps(
    engine: AsyncEngine,
    caller: Caller,
    destination_id: str,
    wanted: EventQuery,
    *,
    max_age: timedelta,
    writer: int,
    dry_run: bool,
    most: int = MOST,
) -> AsyncGenerator[tuple[Destination, ReplayResult]]:
    """Queue all matching events again, or only count them. Yield the result so far after each transaction.

    A transaction queues up to `most` events: a single one would block the workers' claims for minutes. All
    of them belong to one replay, which the first one records and audits. Dismissed dead letters are left out
    unless the filter names them by id. Raises Refusal (404, 409, 422).
    """
    async with transaction(engine) as (connection, driver):
        destination = await find_visible(connection, caller, destination_id)
        events = await select_events(driver, destination, wanted, max_age)
        found = await _count(driver, events)
        before = await batches.waiting(driver, destination.number, replays.QUEUE)
        # Not earlier: the selection may read thousands of batches, and workers wait for the lock.
        destination = await lock_visible(connection, caller, destination_id)
        replay_id = None if dry_run else f"rpl_{secrets.token_hex(10)}"
        queued = found.ready
        if replay_id is not None:
            replay = await replays.begin(driver, replay_id, destination.number, wanted, by=caller.actor)
            events = replace(events, selection=replace(events.selection, replay=replay))
            after = {"replay_id": replay_id, **wanted.document, "matched": found.matched}
            action = AuditAction.EVENTS_REPLAYED
            await audit.record(connection, caller.actor, action, destination.id, after=after)
            queued = await _queue(driver, events, most=most, writer=writer)
        # If no event is queued, count no requests, even if an earlier replay is still waiting.
        requests, seconds = await _time_of(driver, destination.lane, found.ready + before if queued else 0)
        result = ReplayResult(
            dry_run=dry_run,
            matched=found.matched,
            replayed=queued,
            too_old=found.too_old,
            forgotten=found.forgotten,
            remaining=max(0, found.ready - queued),
            requests=requests,
            seconds=seconds,
            replay_id=replay_id,
            not_found=events.not_found,
        )
    yield destination, result
    while not dry_run and queued and result.remaining:
        async with transaction(engine) as (connection, driver):
            destination = await lock_visible(connection, caller, destination_id)
            queued = await _queue(driver, events, most=most, writer=writer)
            left = await _count(driver, events)
            result = replace(result, replayed=result.replayed + queued, remaining=left.ready)
        yield destination, result


async def _count(connection: PipelineConnection, events: SelectedEvents) -> ReplayCount:
    """Return how many events match, those of batches that were never sent included."""
    found = await selections.count(connection, events.selection)
    if not events.unsent:
        return found
    unsent = await selections.count_unsent(connection, events.selection, events.unsent)
    return ReplayCount(*map(sum, zip(astuple(found), astuple(unsent), strict=True)))


async def _queue(connection: PipelineConnection, events: SelectedEvents, *, most: int, writer: int) -> int:
    """Queue up to `most` matching events again for a recorded replay, in the caller's transaction.

    Return their number. Events past the age limit and events without a data key stay unchanged.
    """
    if events.unsent:
        await selections.separate(connection, events.selection, events.unsent[:most])
        del events.unsent[:most]
    queued, delta = await replays.requeue(connection, events.selection, most=most)
    await counts.add(connection, writer, {events.selection.number: delta})
    return queued


async def _time_of(connection: PipelineConnection, lane: LaneId, events: int) -> tuple[int, float]:
    """Return the minimum number of requests for these events, and the seconds that they take.

    Replays get only a share of the lane's rate.
    """
    requests = math.ceil(events / MAX_EVENTS)
    pace = await due_work.pace_settings(connection, lane)
    rate = pace.limit.requests_per_second if pace.limit is not None else 1.0
    if pace.learned_rate is not None:
        rate = min(rate, pace.learned_rate)
    return requests, round(max(0, requests - 1) * REPLAY_SHARE / rate, 3)


async def list_replays(
    context: AppContext, destination_id: str, *, limit: int, below: int | None = None, only: str | None = None
) -> list[ReplayProgress]:
    """Return up to `limit` replays of a destination, newest first; or `only` one. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, found):
        return await replays.progress(connection, found.number, limit=limit, below=below, id=only)


async def find_replay(context: AppContext, destination_id: str, replay_id: str) -> ReplayProgress:
    """Return a replay of a destination. Raises Refusal (404)."""
    rows = await list_replays(context, destination_id, limit=1, only=replay_id)
    return require_found(rows[0] if rows else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissal:
    """The number of dead letters that were dismissed. For a dry run, the number that would be dismissed."""

    dry_run: bool
    matched: int
    dismissed: int
    not_found: Annotated[Sequence[str], Field(description=NOT_FOUND)]


async def dismiss_dead_letters(
    context: AppContext, destination_id: str, wanted: EventQuery, *, dry_run: bool
) -> Dismissal:
    """Dismiss matching dead letters, or with `dry_run` only count them. Raises Refusal (404, 409).

    Dismissed events stay `dead` and keep their history.
    """
    async with context.transaction() as change:
        found = await find_visible(change.connection, context.caller, destination_id)
        events = await select_events(change.driver, found, wanted)
        await lock_visible(change.connection, context.caller, destination_id)
        matched = await selections.dismiss(change.driver, events.selection, by=change.by, dry_run=dry_run)
        if matched and not dry_run:
            after = {**wanted.document, "dismissed": matched}
            await change.record(AuditAction.DEAD_LETTERS_DISMISSED, found.id, after=after)
    return Dismissal(dry_run=dry_run, matched=matched, dismissed=matched, not_found=events.not_found)


async def select_events(
    connection: PipelineConnection,
    destination: Destination,
    wanted: EventQuery,
    max_age: timedelta = timedelta(0),
) -> SelectedEvents:
    """Find the selected events. Raises Refusal (422) for an unknown mapping."""
    found = ReplaySelection(destination.number, wanted, None, max_age)
    if wanted.event_ids is None and wanted.mapping_id is None and not wanted.members:
        return SelectedEvents(found, [], ())
    mappings = await event_batches.mappings(connection, [destination.id])
    require_mapping(mappings, wanted.mapping_id)
    allowed = {
        key: mapping.id for key, mapping in mappings.items() if wanted.mapping_id in (None, mapping.id)
    }
    named: set[tuple[BatchId, int]] | None = None
    not_found: dict[str, None] = {}
    if wanted.event_ids is not None:
        not_found = dict.fromkeys(wanted.event_ids)
        keys = (
            (event_key(destination.id, mapping, event), event)
            for event in wanted.event_ids
            for mapping in allowed.values()
        )
        generation = await ledger.current_generation(connection)
        named = set()
        while some := dict(islice(keys, _KEYS)):
            for key, row in (await ledger.find(connection, generation, list(some))).items():
                named.add((row.batch, row.place))
                not_found.pop(some[key], None)

    def matches(batch: BatchId, shape: EventMetadata) -> bool:
        return (
            shape.mapping in allowed
            and wanted.matches(shape)
            and (named is None or (batch, shape.place) in named)
        )

    only = None if named is None else {batch for batch, _ in named}
    unsent = [
        UnsentEvent(batch, shape.place, shape.event_at, shape.mapping)
        async for batch, shape in _events(selections.unsent_batches, connection, found, only)
        if matches(batch, shape)
    ]
    places = named
    if wanted.members or places is None:
        places = {(event.batch, event.place) for event in unsent}
        async for batch, shape in _events(selections.candidate_batches, connection, found, only):
            if matches(batch, shape):
                places.add((batch, shape.place))
    exact = replace(found, places=sorted(places))
    return SelectedEvents(exact, unsent, tuple(islice(not_found, _MOST_NOT_FOUND)))


async def _events(
    read: Callable[..., Awaitable[dict[BatchId, date]]],
    connection: PipelineConnection,
    found: ReplaySelection,
    only: set[BatchId] | None,
) -> AsyncIterator[tuple[BatchId, EventMetadata]]:
    """Yield the metadata of the events that may match, from the batches that `read` returns in pages.

    `only` limits the batches.
    """
    after = 0
    while page := await read(connection, found, after=after, limit=_BATCHES):
        after = max(page)
        days = {batch: day for batch, day in page.items() if only is None or batch in only}
        for batch, shapes in (await damage.read_shapes_of(connection, days)).items():
            await asyncio.sleep(0)  # other requests of this process go on meanwhile
            if found.wanted.may_contain(shapes):
                for shape in read_shapes(shapes) or ():
                    yield batch, shape
