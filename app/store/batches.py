"""Parcels and their states: append, read what is due, settle, let the personal data go.

The content of a parcel is written once (erasure alone rewrites it). All that changes is in its one
narrow `parcel_states` row. Keep append, read and drop together here: they are what another store of
parcels would have to offer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import asyncpg
import msgspec

from app.domain.ids import AttemptId, DestinationNumber, ParcelId
from app.store import RoadConnection, counts, damage

LIVE, LOW = 0, 2  # queues: what was replayed or filled in afterwards stands behind everything live


class NewParcel(msgspec.Struct, frozen=True):
    """A sealed parcel to append. `data_key` is wrapped; `content` is locked under it."""

    id: ParcelId
    destination: DestinationNumber
    content: bytes
    shapes: bytes
    events: int
    size: int
    first_event: datetime
    last_event: datetime
    data_key: bytes
    queue: int = LIVE

    __repr__ = object.__repr__


class DueParcel(msgspec.Struct, frozen=True, gc=False):
    """A parcel that the straight road owes and whose time has come. Its fields are the columns of `due`."""

    id: ParcelId
    day: date
    events: int
    tries: int
    due_at: datetime
    first_event: datetime
    last_event: datetime
    data_key: bytes | None
    content: bytes | None  # None where it cannot be read, then `problem` says why
    shapes: bytes | None
    problem: str | None = None

    __repr__ = object.__repr__


async def reserve_ids(connection: RoadConnection, number: int) -> list[ParcelId]:
    """Return that many fresh parcel ids; unused ones leave harmless gaps."""
    rows = await connection.fetch("SELECT nextval('parcel_ids') AS id FROM generate_series(1, $1)", number)
    return [ParcelId(row["id"]) for row in rows]


APPEND = f"""
    WITH new AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day, n.* FROM unnest($1::bigint[], $2::int[],
      $3::bytea[], $4::bytea[], $5::smallint[], $6::int[], $7::timestamptz[], $8::timestamptz[],
        $9::bytea[], $10::smallint[])
      AS n (id, destination, content, shapes, events, bytes, first_event, last_event, data_key, queue)),
    kept AS (INSERT INTO parcels (day, id, destination, content, shapes)
      SELECT day, id, destination, content, shapes FROM new),
    open AS (INSERT INTO parcel_states (parcel, day, destination, events, bytes, first_event, last_event,
      data_key, queue)
      SELECT id, day, destination, events, bytes, first_event, last_event, data_key, queue FROM new)
    {counts.adding(counts.IngestCounts, first=11)}
"""


async def append(
    connection: RoadConnection,
    parcels: Sequence[NewParcel],
    *,
    writer: int = 0,
    deltas: Mapping[DestinationNumber, counts.IngestCounts] = MappingProxyType({}),
) -> None:
    """Store these parcels and their open states, due now, under today's partition, and count them.

    One statement for all three, since every flush waits for it; `writer` and `deltas` are `counts.add`'s.
    """
    await connection.execute(APPEND, *appending(parcels, writer, deltas))


def appending(
    parcels: Sequence[NewParcel], writer: int, deltas: Mapping[DestinationNumber, counts.IngestCounts]
) -> list[Any]:
    """Return the parameters of `APPEND`."""
    return [
        [parcel.id for parcel in parcels],
        [parcel.destination for parcel in parcels],
        [parcel.content for parcel in parcels],
        [parcel.shapes for parcel in parcels],
        [parcel.events for parcel in parcels],
        [parcel.size for parcel in parcels],
        [parcel.first_event for parcel in parcels],
        [parcel.last_event for parcel in parcels],
        [parcel.data_key for parcel in parcels],
        [parcel.queue for parcel in parcels],
        *counts.moves(counts.IngestCounts, writer, deltas),
    ]


async def due(
    connection: RoadConnection,
    destination: DestinationNumber,
    *,
    queue: int,
    in_flight: Sequence[ParcelId],
    max_events: int,
    max_bytes: int,
    floor: datetime | None = None,
) -> tuple[list[DueParcel], bool]:
    """Return the whole parcels that fill one request, oldest due first, none of those in flight.

    Beside them stands whether more are due than these.

    Reads by position through the index of open parcels. With a `floor` it begins there instead of at
    the start, for as long as the caller may rely on it (`app.domain.pacing.watermarks`); there is no forward-only
    cursor, or a parcel whose transaction commits late would be passed by. A parcel whose row is missing from
    `parcels`, or lies on a damaged page, is returned without its content.
    """
    arguments = (destination, list(in_flight), max_events, max_bytes, queue, floor)
    try:
        rows = await connection.fetch(_DUE, *arguments)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        rows = await connection.fetch(_DUE_STATES, *arguments)
        stored = await damage.read_singly(connection, [(ParcelId(row["parcel"]), row["day"]) for row in rows])
        found = [_due(row, stored[row["parcel"]]) for row in rows]
    else:
        found = [DueParcel(*(*row[:-1], damage.MISSING if row["content"] is None else None)) for row in rows]
    # As many as were looked for at most: there may be further ones.
    more = bool(rows) and not len(rows) == rows[0]["found"] < max_events
    return found, more


def _due(row: asyncpg.Record, stored: damage.StoredBatchPart) -> DueParcel:
    return DueParcel(*(*row[:-3], stored.content, stored.shapes, stored.problem))


def _due_statement(values: str, source: str) -> str:
    return f"""
        WITH due AS (SELECT parcel, day, events, bytes, tries, first_event, last_event, data_key, due_at
          FROM parcel_states WHERE destination = $1 AND queue = $5 AND settled_at IS NULL AND due_at <= now()
          AND due_at >= coalesce($6::timestamptz, '-infinity')
          AND parcel <> ALL($2::bigint[]) ORDER BY due_at, parcel LIMIT $3),
        filled AS (SELECT *, sum(events) OVER w AS events_so_far, sum(bytes) OVER w AS bytes_so_far,
            count(*) OVER () AS found
          FROM due WINDOW w AS (ORDER BY due_at, parcel))
        SELECT f.parcel, f.day, f.events, f.tries, f.due_at, f.first_event, f.last_event, f.data_key,
          {values}, f.found
        FROM filled f {source}
        -- The first is returned whatever its numbers say: what no claim returns would block its queue.
        WHERE (f.events_so_far <= $3 AND f.bytes_so_far <= $4) OR f.events_so_far = f.events
        ORDER BY f.due_at, f.parcel
        """


# Left: a parcel whose row is missing must be found, or it would block those behind it.
_DUE = _due_statement("p.content, p.shapes", "LEFT JOIN parcels p ON p.id = f.parcel AND p.day = f.day")
_DUE_STATES = _due_statement("NULL::bytea AS content, NULL::bytea AS shapes", "")


async def read(
    connection: RoadConnection, places: Collection[tuple[ParcelId, date]]
) -> dict[ParcelId, tuple[bytes | None, bytes | None, bytes | None]]:
    """Return (wrapped data key or None, content, shapes) of these parcels, each given with its day.

    Parcels whose rows are missing are missing; values on a damaged page are None.
    """
    arguments = [parcel for parcel, _ in places], [day for _, day in places]
    try:
        rows = await connection.fetch(_READ, *arguments)
        return {ParcelId(row["id"]): (row["data_key"], row["content"], row["shapes"]) for row in rows}
    except Exception as error:
        if not damage.is_damage(error):
            raise
    keys = {row["parcel"]: row["data_key"] for row in await connection.fetch(_READ_KEYS, *arguments)}
    stored = await damage.read_singly(connection, sorted(places))
    return {parcel: (keys.get(parcel), one.content, one.shapes) for parcel, one in stored.items()}


_READ = """
    SELECT p.id, s.data_key, p.content, p.shapes FROM unnest($1::bigint[], $2::date[]) AS asked (id, day)
    JOIN parcels p ON p.id = asked.id AND p.day = asked.day
    JOIN parcel_states s ON s.parcel = asked.id AND s.day = asked.day
"""
_READ_KEYS = """
    SELECT s.parcel, s.data_key FROM unnest($1::bigint[], $2::date[]) AS asked (id, day)
    JOIN parcel_states s ON s.parcel = asked.id AND s.day = asked.day
"""


async def close(
    connection: RoadConnection, parcels: Sequence[ParcelId], fate: str, attempt: AttemptId | None
) -> None:
    """Close these parcels as 'sent' or 'expired'; what left the road on its own has an exception row."""
    status = await connection.execute(
        """
        UPDATE parcel_states SET fate = $3, settled_at = now(),
        attempts = attempts || array_remove(ARRAY[$2::bigint], NULL)
        WHERE parcel = ANY($1) AND settled_at IS NULL
        """,
        list(parcels),
        attempt,
        fate,
    )
    _expect(status, len(parcels))


@dataclass(frozen=True, slots=True)
class OpenState:
    """What a recovery needs to know of a parcel that is still open."""

    id: ParcelId
    events: int
    tries: int


async def still_open(connection: RoadConnection, parcels: Sequence[ParcelId]) -> list[OpenState]:
    """Return those of these parcels that are not settled."""
    rows = await connection.fetch(
        "SELECT parcel, events, tries FROM parcel_states WHERE parcel = ANY($1::bigint[]) "
        "AND settled_at IS NULL",
        list(parcels),
    )
    return [OpenState(ParcelId(row["parcel"]), row["events"], row["tries"]) for row in rows]


async def lock_unchanged(connection: RoadConnection, seen: Mapping[ParcelId, bytes | None]) -> set[ParcelId]:
    """Lock those of these parcels that are open and have the wrapped data key they were seen with."""
    if not seen:
        return set()
    rows = await connection.fetch(
        """
        SELECT s.parcel FROM parcel_states s JOIN unnest($1::bigint[], $2::bytea[]) AS seen (parcel, data_key)
          ON seen.parcel = s.parcel AND seen.data_key = s.data_key
        WHERE s.settled_at IS NULL ORDER BY s.parcel FOR UPDATE OF s
        """,
        list(seen),
        list(seen.values()),
    )
    return {ParcelId(row["parcel"]) for row in rows}


async def put_back(
    connection: RoadConnection,
    parcels: Sequence[ParcelId],
    *,
    wait: timedelta,
    reason: str,
) -> None:
    """Put these parcels back whole: one try the poorer, due again after `wait` on the database's clock."""
    status = await connection.execute(
        """
        UPDATE parcel_states SET tries = least(tries + 1, 32767), due_at = now() + $2, reason = $3
        WHERE parcel = ANY($1) AND settled_at IS NULL
        """,
        list(parcels),
        wait,
        reason,
    )
    _expect(status, len(parcels))


async def expire(
    connection: RoadConnection, *, older_than: timedelta, limit: int
) -> list[tuple[DestinationNumber, int, bool]]:
    """Mark open parcels expired whose youngest event passed the age limit; none that is in flight.

    Returns (destination, events, was retrying) for each, for the counts.
    """
    rows = await connection.fetch(
        """
        WITH old AS (SELECT parcel FROM parcel_states s WHERE settled_at IS NULL
          AND last_event < now() - $1::interval AND NOT EXISTS (SELECT FROM attempts a
            WHERE a.settled_at IS NULL AND s.parcel = ANY(a.parcels))
          ORDER BY last_event LIMIT $2 FOR UPDATE SKIP LOCKED)
        UPDATE parcel_states s SET fate = 'expired', settled_at = now(), reason = 'expired' FROM old
        WHERE s.parcel = old.parcel RETURNING s.destination, s.events, s.tries > 0 AS retrying
        """,
        older_than,
        limit,
    )
    return [(DestinationNumber(row["destination"]), row["events"], row["retrying"]) for row in rows]


async def waiting(connection: RoadConnection, destination: DestinationNumber) -> int:
    """Return how many events a destination still owes to Amazon."""
    number: int = await connection.fetchval(
        """
        SELECT (SELECT coalesce(sum(events), 0) FROM parcel_states
                WHERE destination = $1 AND settled_at IS NULL)::bigint
             + (SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'retrying')
        """,
        destination,
    )
    return number


async def discard(connection: RoadConnection, destination: DestinationNumber) -> tuple[int, int]:
    """Close everything a destination still holds as discarded. Returns (events, of them retrying)."""
    parcels = await connection.fetch(
        """
        UPDATE parcel_states SET fate = 'discarded', settled_at = now(), reason = 'discarded'
        WHERE destination = $1 AND settled_at IS NULL RETURNING events, tries > 0 AS retrying
        """,
        destination,
    )
    exceptions = await connection.fetch(
        """
        UPDATE exceptions SET status = 'dead', code = 'MISC_ERROR', reason = 'discarded', batch = NULL,
        changed_at = now() WHERE destination = $1 AND status = 'retrying' RETURNING place
        """,
        destination,
    )
    retrying = sum(row["events"] for row in parcels if row["retrying"]) + len(exceptions)
    return sum(row["events"] for row in parcels) + len(exceptions), retrying


async def forget(connection: RoadConnection, *, after: timedelta, dead_after: timedelta) -> int:
    """Delete the data keys of parcels whose last final state is `after` ago: their content is gone at once.

    Parcels with a conversion that is retried keep theirs; with a dead one, until `dead_after`. Rows on a
    damaged page are passed over. Returns how many keys went.
    """

    try:
        async with damage.savepoint(connection):
            return len(await connection.fetch(_FORGET.format(some=""), after, dead_after))
    except Exception as error:
        if not damage.is_damage(error):
            raise
    some = _FORGET.format(some="AND parcel BETWEEN $3 AND $4")

    async def delete(first: int, last: int) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await connection.fetch(some, after, dead_after, first, last)
        return rows

    last: int = await connection.fetchval("SELECT last_value FROM parcel_ids")
    return len((await damage.read_range(delete, connection, 0, last)).rows)


_FORGET = """
    UPDATE parcel_states s SET data_key = NULL WHERE settled_at < now() - $1::interval
    AND data_key IS NOT NULL {some} AND NOT EXISTS (SELECT FROM exceptions e
      WHERE e.parcel = s.parcel AND (e.status = 'retrying' OR e.changed_at > now() - $1::interval
        OR (e.status = 'dead' AND e.changed_at > now() - $2::interval)))
    RETURNING 1
"""


def _expect(status: str, rows: int) -> None:
    written = int(status.rpartition(" ")[2])
    if written != rows:
        raise AssertionError(f"{rows} parcels were in flight, {written} could be settled")
