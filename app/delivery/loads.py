"""A load: what one request carries. Claimed from the store, opened, and fit to travel together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from app.amazon.wire import MAX_EVENTS
from app.delivery.lanes import Lane
from app.domain import parcel as packing
from app.domain.erasing import carries
from app.domain.floors import Key
from app.domain.ids import ParcelId
from app.domain.turns import Service
from app.store import RoadConnection, exceptions, lanes, parcels
from app.vault import Unopenable, Vault, parcel_place, unlock

_QUEUES: Mapping[Service, int] = {
    Service.LIVE: parcels.LIVE,
    Service.RETRY: parcels.LIVE,
    Service.REPLAY: parcels.LOW,
    Service.REPLAY_RETRY: parcels.LOW,
}


class Item(msgspec.Struct, frozen=True, gc=False):
    """A conversion of a load. `failing` tells that it is counted as retrying already.

    `event_at_ms` counts from 1970, UTC: most items are sent without anybody asking for a datetime.
    """

    parcel: ParcelId
    place: int
    day: date
    event_at_ms: int
    tries: int
    failing: bool
    body: bytes

    __repr__ = object.__repr__

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return datetime.fromtimestamp(self.event_at_ms / 1000, UTC)


@dataclass(frozen=True, slots=True, repr=False)
class Load:
    """The conversions of one request, in order. `whole` parcels for a live load, none for a retry.

    `late` are those that passed the age limit: they stay behind and expire. `batch` is the half of a
    refused request that a retry belongs to. `may_be_more` tells that the store held more than fits.
    """

    queue: lanes.Queue
    items: tuple[Item, ...]
    late: tuple[Item, ...]
    whole: tuple[ParcelId, ...]
    batch: int | None
    may_be_more: bool
    service: Service

    @property
    def is_live(self) -> bool:
        """Tell a load of whole parcels from one of exceptions."""
        return bool(self.whole)

    @property
    def is_plain(self) -> bool:
        """Tell a load of whole parcels of which nothing stays behind."""
        return bool(self.whole) and not self.late

    @property
    def row_queue(self) -> int:
        """Return the queue in which its conversions wait when they leave it."""
        return _QUEUES[self.service]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Conversions that cannot be opened: their key is gone or not configured, or the row is torn."""

    parcel: ParcelId
    day: date
    places: tuple[int, ...]
    failing: bool
    event_at: datetime


@dataclass(frozen=True, slots=True, repr=False)
class Claimed:
    """What a claim found: perhaps a load, and parcels that must leave the road without one.

    `erasable` hold what a person asked to have erased; they are rewritten before they are sent.
    """

    load: Load | None
    expired: tuple[parcels.DueParcel, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    erasable: tuple[tuple[ParcelId, date], ...] = ()


async def claim_live(
    connection: RoadConnection,
    lane: Lane,
    queue: lanes.Queue,
    service: Service,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    floors: Mapping[Key, datetime],
) -> Claimed:
    """Read the whole parcels that fill the next request of a queue."""
    key = queue.number, _QUEUES[service]
    due, more = await parcels.due(
        connection,
        queue.number,
        queue=_QUEUES[service],
        in_flight=list(lane.parcels_in_flight),
        max_events=MAX_EVENTS,
        max_bytes=packing.MAX_BYTES,
        floor=floors.get(key),
    )
    if not due:
        return Claimed(None)
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
        elif looked_for and any(carries(item.body, looked_for) for item in opened):
            erasable.append((parcel.id, parcel.day))
        else:
            whole.append(parcel.id)
            items += opened
    load = None
    if whole:
        fresh, late = _part(items, now - max_age)
        load = Load(queue, fresh, late, tuple(whole), None, may_be_more=more, service=service)
    return Claimed(load, tuple(expired), tuple(unreadable), tuple(erasable))


async def claim_retry(
    connection: RoadConnection,
    lane: Lane,
    queue: lanes.Queue,
    service: Service,
    *,
    vault: Vault,
    max_age: timedelta,
    now: datetime,
    looked_for: frozenset[str],
    floors: Mapping[Key, datetime],
) -> Claimed:
    """Read the conversions of the next retry request of a queue; they are few, and `floors` is of no use."""
    del floors
    due = await exceptions.due(
        connection,
        queue.number,
        queue=_QUEUES[service],
        in_flight=list(lane.exceptions_in_flight),
        max_events=MAX_EVENTS,
    )
    if not due:
        return Claimed(None)
    contents = await parcels.read(connection, {(one.parcel, one.day) for one in due})
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
        if looked_for and carries(body, looked_for):
            erasable.add((one.parcel, one.day))
            continue
        size += len(body)
        if items and size > packing.MAX_BYTES:
            break
        items.append(Item(one.parcel, one.place, one.day, _ms(one.event_at), one.tries, True, body))
    fresh, late = _part(items, now - max_age)
    load = Load(queue, fresh, late, (), due[0].batch, may_be_more=True, service=service) if items else None
    gone = tuple(Unreadable(one.parcel, one.day, (one.place,), True, one.event_at) for one in lost)
    return Claimed(load, (), gone, tuple(sorted(erasable)))


async def _open(
    connection: RoadConnection, parcel: parcels.DueParcel, vault: Vault
) -> list[Item] | Unreadable:
    bodies = open_bodies(parcel.id, parcel.data_key, parcel.content, vault)
    shapes = _shapes(parcel.shapes)
    if len(shapes) > parcel.events:
        # Some left the road on their own before the parcel was sent: erased ones.
        gone = await exceptions.places(connection, parcel.id)
        shapes = tuple(shape for shape in shapes if shape.place not in gone)
    places = [shape.place for shape in shapes]
    if bodies is None or len(shapes) != parcel.events or not bodies.keys() >= set(places):
        if len(places) != parcel.events:
            # Even the shapes are torn; that many conversions were in it, whatever their places were.
            places = list(range(parcel.events))
        return Unreadable(parcel.id, parcel.day, tuple(places), parcel.tries > 0, parcel.last_event)
    failing = parcel.tries > 0
    return [
        Item(
            parcel.id, shape.place, parcel.day, shape.event_at_ms, parcel.tries, failing, bodies[shape.place]
        )
        for shape in shapes
    ]


def open_bodies(
    parcel: ParcelId, data_key: bytes | None, content: bytes, vault: Vault
) -> dict[int, bytes] | None:
    """Return the bodies of a parcel by place, or None where it cannot be opened."""
    if data_key is None:
        return None
    place = parcel_place(parcel)
    try:
        return packing.unpack_content(unlock(vault.open(data_key, place=place), content, place=place))
    except (Unopenable, ValueError):
        return None


def _shapes(shapes: bytes) -> tuple[packing.Shape, ...]:
    try:
        return tuple(packing.unpack_shapes(shapes))
    except ValueError:
        return ()


def _part(items: Sequence[Item], limit: datetime) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    limit_ms = _ms(limit)
    if min([item.event_at_ms for item in items], default=limit_ms) >= limit_ms:
        return tuple(items), ()
    fresh = tuple(item for item in items if item.event_at_ms >= limit_ms)
    return fresh, tuple(item for item in items if item.event_at_ms < limit_ms)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
