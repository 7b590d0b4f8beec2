"""Erasures: what was asked for, sealed while it is looked for, and what came of it, which names nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.domain.ids import DestinationNumber, ParcelId
from app.store import RoadConnection, partitions

ERASER_LOCK = 7_304  # one worker scans at a time


@dataclass(frozen=True, slots=True)
class Pending:
    """An erasure whose scan is not over. `sealed` holds the values looked for."""

    id: str
    number: int
    requested_at: datetime
    sealed: bytes
    scanned_to: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure as its receipt tells it."""

    id: str
    requested_at: datetime
    requested_by: str
    kinds: tuple[str, ...]
    scanned: int
    waiting: int
    dead: int
    delivered: int
    finished_at: datetime | None


async def ask(
    connection: RoadConnection,
    id: str,  # noqa: A002
    *,
    by: str,
    kinds: Sequence[str],
    sealed: bytes,
) -> datetime:
    """Enter an erasure; from the commit on no attempt starts with a load that was not judged by it.

    Flushes are kept out for the moment, so that everything acknowledged before is found by the scan.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", partitions.FLUSH_LOCK)
    requested_at: datetime = await connection.fetchval(
        """
        INSERT INTO erasures (id, requested_by, kinds, sealed, requested_at)
        VALUES ($1, $2, $3, $4, clock_timestamp()) RETURNING requested_at
        """,
        id,
        by,
        list(kinds),
        sealed,
    )
    # In order, so that two erasures at once never wait in a circle.
    await connection.execute(
        """
        UPDATE lanes SET erasures = erasures + 1
        FROM (SELECT id FROM lanes ORDER BY id FOR UPDATE) AS locked WHERE lanes.id = locked.id
        """
    )
    return requested_at


async def under_way(connection: RoadConnection, before: datetime, *, younger_than: timedelta) -> bool:
    """Tell whether an attempt that was started before then may still be under way."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM attempts WHERE settled_at IS NULL AND started_at <= $1
          AND started_at > clock_timestamp() - $2::interval)
        """,
        before,
        younger_than,
    )
    return found


async def pending(connection: RoadConnection) -> list[Pending]:
    """Return the erasures whose scan is not over, oldest first."""
    rows = await connection.fetch(
        """
        SELECT id, number, requested_at, sealed, scanned_to FROM erasures
        WHERE finished_at IS NULL ORDER BY number
        """
    )
    return [Pending(**dict(row)) for row in rows]


async def find(connection: RoadConnection, id: str) -> Erasure | None:  # noqa: A002
    """Return an erasure, or None."""
    row = await connection.fetchrow(
        """
        SELECT id, requested_at, requested_by, kinds, scanned, waiting, dead, delivered, finished_at
        FROM erasures WHERE id = $1
        """,
        id,
    )
    return None if row is None else Erasure(**{**dict(row), "kinds": tuple(row["kinds"])})


async def next_parcels(
    connection: RoadConnection, *, after: int, accepted_until: datetime, limit: int
) -> list[tuple[ParcelId, date]]:
    """Return the next parcels that still have a key, in order of their ids, with their days."""
    rows = await connection.fetch(
        """
        SELECT parcel, day FROM parcel_states
        WHERE parcel > $1 AND accepted_at <= $2 AND data_key IS NOT NULL ORDER BY parcel LIMIT $3
        """,
        after,
        accepted_until,
        limit,
    )
    return [(ParcelId(row["parcel"]), row["day"]) for row in rows]


async def advance(connection: RoadConnection, ids: Sequence[str], *, to: int, scanned: int) -> None:
    """Note how far a scan has come."""
    await connection.execute(
        "UPDATE erasures SET scanned_to = $2, scanned = scanned + $3 WHERE id = ANY($1)",
        list(ids),
        to,
        scanned,
    )


async def add_found(
    connection: RoadConnection,
    id: str,  # noqa: A002
    *,
    waiting: int,
    dead: int,
    delivered: int,
) -> None:
    """Add to what an erasure has found."""
    await connection.execute(
        """
        UPDATE erasures SET waiting = waiting + $2, dead = dead + $3, delivered = delivered + $4 WHERE id = $1
        """,
        id,
        waiting,
        dead,
        delivered,
    )


async def finish(connection: RoadConnection, ids: Sequence[str]) -> None:
    """Close these erasures and forget what they looked for."""
    await connection.execute(
        "UPDATE erasures SET finished_at = now(), sealed = NULL WHERE id = ANY($1) AND finished_at IS NULL",
        list(ids),
    )


@dataclass(frozen=True, slots=True, repr=False)
class Locked:
    """A parcel whose state is locked until the transaction ends, with the statuses of its exceptions."""

    destination: DestinationNumber
    fate: str | None
    settled_at: datetime | None
    tries: int
    events: int
    data_key: bytes
    content: bytes
    shapes: bytes
    exceptions: dict[int, str]


async def lock(connection: RoadConnection, parcel: ParcelId, day: date) -> Locked | None:
    """Lock a parcel and read it, or return None when its key is gone by now."""
    row = await connection.fetchrow(
        """
        SELECT s.destination, s.fate, s.settled_at, s.tries, s.events, s.data_key, p.content, p.shapes
        FROM parcel_states s JOIN parcels p ON p.id = s.parcel AND p.day = s.day
        WHERE s.parcel = $1 AND s.day = $2 AND s.data_key IS NOT NULL FOR UPDATE OF s
        """,
        parcel,
        day,
    )
    if row is None:
        return None
    rows = await connection.fetch("SELECT place, status FROM exceptions WHERE parcel = $1 FOR UPDATE", parcel)
    return Locked(**dict(row), exceptions={one["place"]: one["status"] for one in rows})


@dataclass(frozen=True, slots=True)
class Gone:
    """A conversion whose body is being erased: its new status, and whether the parcel answered for it."""

    place: int
    status: str
    event_at: datetime
    left_parcel: bool


async def rewrite(
    connection: RoadConnection,
    parcel: ParcelId,
    day: date,
    locked: Locked,
    *,
    content: bytes,
    data_key: bytes,
    gone: Sequence[Gone],
) -> None:
    """Replace a parcel's content under a new key, and note what became of those that are gone."""
    await connection.execute(
        "UPDATE parcels SET content = $3 WHERE id = $1 AND day = $2", parcel, day, content
    )
    left = sum(one.left_parcel for one in gone)
    await connection.execute(
        """
        UPDATE parcel_states SET data_key = $2, events = events - $3,
          -- A parcel that owes nothing any more is closed; each of its conversions has a row of its own.
          fate = CASE WHEN fate IS NULL AND events = $3 THEN 'sent' ELSE fate END,
          settled_at = CASE WHEN fate IS NULL AND events = $3 THEN now() ELSE settled_at END
        WHERE parcel = $1
        """,
        parcel,
        data_key,
        left,
    )
    await connection.execute(
        """
        INSERT INTO exceptions AS e (parcel, place, day, destination, status, event_at, code, reason,
          delivered_at, erased_at)
        SELECT $1, g.place, $2, $3, g.status, g.event_at, NULL,
          CASE g.status WHEN 'erased' THEN 'erased' ELSE 'delivered' END,
          -- Without a row of its own so far it was delivered with its parcel, and stays so from then on.
          CASE g.status WHEN 'delivered' THEN $7::timestamptz END, now()
        FROM unnest($4::smallint[], $5::text[], $6::timestamptz[]) AS g (place, status, event_at)
        ON CONFLICT (parcel, place) DO UPDATE SET status = excluded.status, erased_at = now(), batch = NULL,
          reason = CASE excluded.status WHEN 'erased' THEN 'erased' ELSE e.reason END,
          code = CASE excluded.status WHEN 'erased' THEN NULL ELSE e.code END, changed_at = now()
        """,
        parcel,
        day,
        locked.destination,
        [one.place for one in gone],
        [one.status for one in gone],
        [one.event_at for one in gone],
        locked.settled_at,
    )
