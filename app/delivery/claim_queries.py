"""A load: what one request carries. Claimed from the store, opened, and fit to travel together."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from app.amazon.wire import MAX_EVENTS
from app.crypto import CannotDecrypt, Vault, batch_place, decrypt
from app.delivery.batch_items import QUEUES, BatchSource, Claim, Item, RequestContent, Unreadable
from app.delivery.lane import Lane
from app.domain import batch as packing
from app.domain.erasure import carries_key
from app.domain.ids import ParcelId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.watermarks import Key
from app.store import RoadConnection, batches, exceptions, lanes


async def claim_live(
    connection: RoadConnection,
    lane: Lane,
    queue: lanes.DestinationQueue,
    service: WorkKind,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    floors: Mapping[Key, datetime],
) -> Claim:
    """Read the whole parcels that fill the next request of a queue."""
    key = queue.number, QUEUES[service]
    due, more = await batches.due(
        connection,
        queue.number,
        queue=QUEUES[service],
        in_flight=list(lane.parcels_in_flight),
        max_events=MAX_EVENTS,
        max_bytes=packing.MAX_BYTES,
        floor=floors.get(key),
    )
    if not due:
        return Claim(None)
    lane.floors = lane.floors.found(key, due[0].due_at)
    items: list[Item] = []
    whole: list[ParcelId] = []
    expired, unreadable, erasable = [], [], []
    for parcel in due:
        if parcel.last_event < now - max_age:
            expired.append(parcel)
            continue
        opened = await _open(connection, parcel, vault)
        if isinstance(opened, Unreadable):
            unreadable.append(opened)
        elif looked_for and any(carries_key(item.body, looked_for) for item in opened):
            erasable.append((parcel.id, parcel.day))
        else:
            whole.append(parcel.id)
            items += opened
    load = None
    if whole:
        # Nearly always none is too old, as the parcels say themselves: then no event is asked for its time.
        may_be_late = min(parcel.first_event for parcel in due) < now - max_age
        fresh, late = _part(items, now - max_age) if may_be_late else (tuple(items), ())
        load = RequestContent(queue, fresh, late, tuple(whole), None, may_be_more=more, service=service)
    return Claim(load, tuple(expired), tuple(unreadable), tuple(erasable))


async def claim_retry(
    connection: RoadConnection,
    lane: Lane,
    queue: lanes.DestinationQueue,
    service: WorkKind,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    floors: Mapping[Key, datetime],
) -> Claim:
    """Read the conversions of the next retry request of a queue; they are few, and `floors` is of no use."""
    del floors
    due = await exceptions.due(
        connection,
        queue.number,
        queue=QUEUES[service],
        in_flight=list(lane.exceptions_in_flight),
        max_events=MAX_EVENTS,
    )
    if not due:
        return Claim(None)
    contents = await batches.read(connection, {(one.parcel, one.day) for one in due})
    bodies = {
        parcel: open_bodies(parcel, data_key, content, vault) or {}
        for parcel, (data_key, content, _) in contents.items()
    }
    items: list[Item] = []
    lost: list[exceptions.DueException] = []
    erasable: set[tuple[ParcelId, date]] = set()
    size = 0
    for one in due:
        body = bodies.get(one.parcel, {}).get(one.place)
        if body is None:
            lost.append(one)
            continue
        if looked_for and carries_key(body, looked_for):
            erasable.add((one.parcel, one.day))
            continue
        size += len(body)
        if items and size > packing.MAX_BYTES:
            break
        source = BatchSource(one.parcel, one.day, one.tries, failing=True, otherwise=one.event_at)
        items.append(Item(source, one.place, body))
    fresh, late = _part(items, now - max_age)
    load = (
        RequestContent(queue, fresh, late, (), due[0].batch, may_be_more=True, service=service)
        if items
        else None
    )
    gone = tuple(Unreadable(one.parcel, one.day, (one.place,), True, one.event_at) for one in lost)
    return Claim(load, (), gone, tuple(sorted(erasable)))


async def _open(
    connection: RoadConnection, parcel: batches.DueParcel, vault: Vault
) -> list[Item] | Unreadable:
    bodies = open_bodies(parcel.id, parcel.data_key, parcel.content, vault)
    if bodies is not None and len(bodies) > parcel.events:
        # Some left the road on their own before the parcel was sent.
        gone = await exceptions.places(connection, parcel.id)
        bodies = {place: body for place, body in bodies.items() if place not in gone}
    if bodies is None or len(bodies) != parcel.events:
        places = await _places_of(connection, parcel)
        failing = parcel.tries > 0
        problem = parcel.problem or "not_opened"
        return Unreadable(parcel.id, parcel.day, places, failing, parcel.last_event, parcel.data_key, problem)
    source = BatchSource(
        parcel.id,
        parcel.day,
        parcel.tries,
        parcel.tries > 0,
        otherwise=parcel.last_event,
        shapes=parcel.shapes,
    )
    return [Item(source, place, body) for place, body in bodies.items()]


async def _places_of(connection: RoadConnection, parcel: batches.DueParcel) -> tuple[int, ...]:
    """Return the places of what a parcel that cannot be opened still holds."""
    gone = await exceptions.places(connection, parcel.id)
    places = [shape.place for shape in packing.read_shapes(parcel.shapes) or () if shape.place not in gone]
    if len(places) != parcel.events:
        # The shapes are damaged too: that many events were in it, at places that no other row names.
        places = [place for place in range(packing.MAX_EVENTS + len(gone)) if place not in gone]
    return tuple(places[: parcel.events])


def open_bodies(
    parcel: ParcelId, data_key: bytes | None, content: bytes | None, vault: Vault
) -> dict[int, bytes] | None:
    """Return the bodies of a parcel by place, or None where it cannot be opened."""
    if data_key is None or content is None:
        return None
    place = batch_place(parcel)
    try:
        return packing.unpack_content(decrypt(vault.open(data_key, place=place), content, place=place))
    except (CannotDecrypt, ValueError):
        return None


def opens_under(vault: Vault, parcel: ParcelId, data_key: bytes, content: bytes) -> bool:
    """Tell whether a parcel's content opens under its data key."""
    return open_bodies(parcel, data_key, content, vault) is not None


def _part(items: Sequence[Item], limit: datetime) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    fresh = tuple(item for item in items if item.event_at >= limit)
    if len(fresh) == len(items):
        return fresh, ()
    return fresh, tuple(item for item in items if item.event_at < limit)
