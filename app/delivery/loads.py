"""A load: what one request carries. Claimed from the store, opened, and fit to travel together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

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


class Source(msgspec.Struct):
    """Where items come from, and what holds for all of them: a whole parcel, or one conversion of a parcel.

    `failing` tells that they are counted as retrying already. Their times are read from the `shapes` when
    somebody asks, which for what is delivered at once nobody does; without them `otherwise` is the time.
    """

    parcel: ParcelId
    day: date
    tries: int
    failing: bool
    otherwise: datetime
    shapes: bytes = b""
    times: dict[int, datetime] | None = None

    __repr__ = object.__repr__

    def event_at(self, place: int) -> datetime:
        """Return an event's own time, UTC, to the millisecond."""
        if not self.shapes:
            return self.otherwise
        if self.times is None:
            self.times = {shape.place: shape.event_at for shape in _shapes(self.shapes)}
        return self.times.get(place, self.otherwise)


class Item(msgspec.Struct, frozen=True, gc=False):
    """A conversion of a load."""

    source: Source
    place: int
    body: bytes

    __repr__ = object.__repr__

    @property
    def parcel(self) -> ParcelId:
        """Return the parcel that holds it."""
        return self.source.parcel

    @property
    def day(self) -> date:
        """Return the day of its parcel."""
        return self.source.day

    @property
    def tries(self) -> int:
        """Return how often it has failed."""
        return self.source.tries

    @property
    def failing(self) -> bool:
        """Tell whether it is counted as retrying already."""
        return self.source.failing

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return self.source.event_at(self.place)


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
        # Nearly always none is too old, as the parcels say themselves: then no event is asked for its time.
        may_be_late = min(parcel.first_event for parcel in due) < now - max_age
        fresh, late = _part(items, now - max_age) if may_be_late else (tuple(items), ())
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
        source = Source(one.parcel, one.day, one.tries, failing=True, otherwise=one.event_at)
        items.append(Item(source, one.place, body))
    fresh, late = _part(items, now - max_age)
    load = Load(queue, fresh, late, (), due[0].batch, may_be_more=True, service=service) if items else None
    gone = tuple(Unreadable(one.parcel, one.day, (one.place,), True, one.event_at) for one in lost)
    return Claimed(load, (), gone, tuple(sorted(erasable)))


async def _open(
    connection: RoadConnection, parcel: parcels.DueParcel, vault: Vault
) -> list[Item] | Unreadable:
    bodies = open_bodies(parcel.id, parcel.data_key, parcel.content, vault)
    if bodies is not None and len(bodies) > parcel.events:
        # Some left the road on their own before the parcel was sent.
        gone = await exceptions.places(connection, parcel.id)
        bodies = {place: body for place, body in bodies.items() if place not in gone}
    if bodies is None or len(bodies) != parcel.events:
        places = await _places_of(connection, parcel)
        return Unreadable(parcel.id, parcel.day, places, parcel.tries > 0, parcel.last_event)
    source = Source(
        parcel.id,
        parcel.day,
        parcel.tries,
        parcel.tries > 0,
        otherwise=parcel.last_event,
        shapes=parcel.shapes,
    )
    return [Item(source, place, body) for place, body in bodies.items()]


async def _places_of(connection: RoadConnection, parcel: parcels.DueParcel) -> tuple[int, ...]:
    """Return the places of what a parcel that cannot be opened still holds."""
    places = {shape.place for shape in _shapes(parcel.shapes)}
    if len(places) > parcel.events:
        places -= await exceptions.places(connection, parcel.id)
    # Where even the shapes are torn: that many conversions were in it, whatever their places were.
    return tuple(sorted(places)) if len(places) == parcel.events else tuple(range(parcel.events))


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
    fresh = tuple(item for item in items if item.event_at >= limit)
    if len(fresh) == len(items):
        return fresh, ()
    return fresh, tuple(item for item in items if item.event_at < limit)
