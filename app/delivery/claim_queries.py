"""A load: what one request carries. Claimed from the store, opened, and fit to travel together."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from app.amazon.wire import MAX_EVENTS
from app.crypto import CannotDecrypt, Vault, batch_place, decrypt
from app.delivery.batch_items import QUEUES, BatchSource, Claim, Item, RequestContent, Unreadable
from app.delivery.lane import Lane
from app.domain import batch as packing
from app.domain.erasure import carries_key
from app.domain.ids import BatchId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.watermarks import Key
from app.store import PipelineConnection, batches, exceptions, lanes


async def claim_live(
    connection: PipelineConnection,
    lane: Lane,
    queue: lanes.DestinationQueue,
    service: WorkKind,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    watermarks: Mapping[Key, datetime],
) -> Claim:
    """Read the whole batches that fill the next request of a queue."""
    key = queue.number, QUEUES[service]
    due, more = await batches.due(
        connection,
        queue.number,
        queue=QUEUES[service],
        in_flight=list(lane.batches_in_flight),
        max_events=MAX_EVENTS,
        max_bytes=packing.MAX_BYTES,
        watermark=watermarks.get(key),
    )
    if not due:
        return Claim(None)
    lane.watermarks = lane.watermarks.found(key, due[0].due_at)
    items: list[Item] = []
    whole: list[BatchId] = []
    expired, unreadable, erasable = [], [], []
    for batch in due:
        if batch.last_event < now - max_age:
            expired.append(batch)
            continue
        opened = await _open(connection, batch, vault)
        if isinstance(opened, Unreadable):
            unreadable.append(opened)
        elif looked_for and any(carries_key(item.body, looked_for) for item in opened):
            erasable.append((batch.id, batch.day))
        else:
            whole.append(batch.id)
            items += opened
    load = None
    if whole:
        # Nearly always none is too old, as the batches say themselves: then no event is asked for its time.
        may_be_late = min(batch.first_event for batch in due) < now - max_age
        fresh, late = _part(items, now - max_age) if may_be_late else (tuple(items), ())
        load = RequestContent(queue, fresh, late, tuple(whole), None, may_be_more=more, service=service)
    return Claim(load, tuple(expired), tuple(unreadable), tuple(erasable))


async def claim_retry(
    connection: PipelineConnection,
    lane: Lane,
    queue: lanes.DestinationQueue,
    service: WorkKind,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    watermarks: Mapping[Key, datetime],
) -> Claim:
    """Read the conversions of the next retry request of a queue; they are few, and `floors` is of no use."""
    del watermarks
    due = await exceptions.due(
        connection,
        queue.number,
        queue=QUEUES[service],
        in_flight=list(lane.exceptions_in_flight),
        max_events=MAX_EVENTS,
    )
    if not due:
        return Claim(None)
    contents = await batches.read(connection, {(one.batch, one.day) for one in due})
    bodies = {
        batch: open_bodies(batch, data_key, content, vault) or {}
        for batch, (data_key, content, _) in contents.items()
    }
    items: list[Item] = []
    lost: list[exceptions.DueException] = []
    erasable: set[tuple[BatchId, date]] = set()
    size = 0
    for one in due:
        body = bodies.get(one.batch, {}).get(one.place)
        if body is None:
            lost.append(one)
            continue
        if looked_for and carries_key(body, looked_for):
            erasable.add((one.batch, one.day))
            continue
        size += len(body)
        if items and size > packing.MAX_BYTES:
            break
        source = BatchSource(one.batch, one.day, one.tries, failing=True, otherwise=one.event_at)
        items.append(Item(source, one.place, body))
    fresh, late = _part(items, now - max_age)
    load = (
        RequestContent(queue, fresh, late, (), due[0].batch, may_be_more=True, service=service)
        if items
        else None
    )
    gone = tuple(Unreadable(one.batch, one.day, (one.place,), True, one.event_at) for one in lost)
    return Claim(load, (), gone, tuple(sorted(erasable)))


async def _open(
    connection: PipelineConnection, batch: batches.DueBatch, vault: Vault
) -> list[Item] | Unreadable:
    bodies = open_bodies(batch.id, batch.data_key, batch.content, vault)
    if bodies is not None and len(bodies) > batch.events:
        # Some left the road on their own before the batch was sent.
        gone = await exceptions.places(connection, batch.id)
        bodies = {place: body for place, body in bodies.items() if place not in gone}
    if bodies is None or len(bodies) != batch.events:
        places = await _places_of(connection, batch)
        failing = batch.tries > 0
        problem = batch.problem or "not_opened"
        return Unreadable(batch.id, batch.day, places, failing, batch.last_event, batch.data_key, problem)
    source = BatchSource(
        batch.id,
        batch.day,
        batch.tries,
        batch.tries > 0,
        otherwise=batch.last_event,
        shapes=batch.shapes,
    )
    return [Item(source, place, body) for place, body in bodies.items()]


async def _places_of(connection: PipelineConnection, batch: batches.DueBatch) -> tuple[int, ...]:
    """Return the places of what a batch that cannot be opened still holds."""
    gone = await exceptions.places(connection, batch.id)
    places = [shape.place for shape in packing.read_shapes(batch.shapes) or () if shape.place not in gone]
    if len(places) != batch.events:
        # The shapes are damaged too: that many events were in it, at places that no other row names.
        places = [place for place in range(packing.MAX_EVENTS + len(gone)) if place not in gone]
    return tuple(places[: batch.events])


def open_bodies(
    batch: BatchId, data_key: bytes | None, content: bytes | None, vault: Vault
) -> dict[int, bytes] | None:
    """Return the bodies of a batch by place, or None where it cannot be opened."""
    if data_key is None or content is None:
        return None
    place = batch_place(batch)
    try:
        return packing.unpack_content(decrypt(vault.open(data_key, place=place), content, place=place))
    except (CannotDecrypt, ValueError):
        return None


def opens_under(vault: Vault, batch: BatchId, data_key: bytes, content: bytes) -> bool:
    """Tell whether a batch's content opens under its data key."""
    return open_bodies(batch, data_key, content, vault) is not None


def _part(items: Sequence[Item], limit: datetime) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    fresh = tuple(item for item in items if item.event_at >= limit)
    if len(fresh) == len(items):
        return fresh, ()
    return fresh, tuple(item for item in items if item.event_at < limit)
