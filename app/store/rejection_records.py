"""Records of rejected events without their values, and exact counts of rejected events."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import msgspec

from app.domain.event import EventProblem
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, transactions
from app.store.rows import MAX_BIGINT, read_row

MOST_A_MINUTE: Final = 600  # records per destination
MOST_SEARCHED: Final = 100_000  # records that a search of several destinations reads
_RECORD_LOCK: Final = 7_307  # only one process at a time counts and writes records
_DELETED_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class NewRejection:
    """A rejected event to record. It has ids and the paths of fields, but no value of the event.

    `field` is the path in the event; `mapping_field` is the path in the mapping.
    """

    destination: DestinationNumber
    received_at: datetime
    event_id: str | None
    mapping: int | None
    code: str
    reason: str
    field: str | None
    mapping_field: str | None
    request_id: str | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None
    also: str | None  # JSON: the other problems of the event, with reason, field and mapping_field


_NAMES = [each.name for each in fields(NewRejection)]


async def add(connection: PipelineConnection, records: Sequence[NewRejection]) -> None:
    """Write records, at most 600 per destination and minute over all processes. Skip further records."""
    await transactions.lock(connection, _RECORD_LOCK)
    await connection.execute(
        f"""
        WITH given AS (
          -- The records to write.
          SELECT *, date_trunc('minute', received_at) AS minute
          FROM unnest($1::int[], $2::timestamptz[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::jsonb[])
            AS g ({", ".join(_NAMES)})
        ), stored AS (
          -- The number of stored records of each destination and minute.
          SELECT m.destination, m.minute, (SELECT count(*) FROM rejection_records r
            WHERE r.destination = m.destination AND r.received_at >= m.minute
              AND r.received_at < m.minute + interval '1 minute') AS records
          FROM (SELECT DISTINCT destination, minute FROM given) m
        ), ranked AS (
          -- The rank of each new record within its minute, the oldest first.
          SELECT g.*, row_number() OVER (PARTITION BY destination, minute ORDER BY received_at) AS rank
          FROM given g
        )
        INSERT INTO rejection_records (organisation_id, {", ".join(_NAMES)})
        SELECT d.organisation_id, {", ".join(f"r.{name}" for name in _NAMES)}
        FROM ranked r JOIN stored s USING (destination, minute)
        JOIN destinations d ON d.number = r.destination
        WHERE s.records + r.rank <= {MOST_A_MINUTE}
        ORDER BY r.received_at
        """,
        *([getattr(record, name) for record in records] for name in _NAMES),
    )


@dataclass(frozen=True, slots=True)
class RejectionFilter:
    """A filter of records. None means any; `any_id` is an id of the event, its request, journey or node."""

    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None
    field: str | None = None
    mapping_id: str | None = None
    execution_id: str | None = None
    journey_id: str | None = None
    node_id: str | None = None
    event_id: str | None = None
    request_id: str | None = None
    any_id: str | None = None


@dataclass(frozen=True, slots=True)
class RejectionRecord:
    """A stored record of a rejected event. A later record has a higher `id`."""

    id: int
    destination: DestinationNumber
    event_id: str | None
    received_at: datetime
    mapping_id: str | None
    code: str
    reason: str
    field: str | None
    mapping_field: str | None
    request_id: str | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None
    also: tuple[EventProblem, ...] = ()


async def page(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: RejectionFilter,
    *,
    limit: int,
    below: int | None = None,
) -> list[RejectionRecord]:
    """Return up to `limit` records of a destination with ids below `below`, newest first."""
    return await _read(connection, "rejection_records", [number], wanted, limit=limit, below=below)


async def search(
    connection: PipelineConnection,
    numbers: Sequence[DestinationNumber] | None,
    wanted: RejectionFilter,
    *,
    limit: int,
    below: int | None = None,
) -> list[RejectionRecord]:
    """Return up to `limit` records of these destinations, newest first; None means all destinations.

    Only the newest 100,000 records of the organisation are searched.
    """
    newest = f"""(SELECT * FROM rejection_records
        WHERE organisation_id = (SELECT acting_organisation())
          AND id < coalesce($2, {MAX_BIGINT}) ORDER BY id DESC LIMIT {MOST_SEARCHED})"""
    return await _read(connection, newest, numbers, wanted, limit=limit, below=below)


async def of_event(
    connection: PipelineConnection,
    numbers: Sequence[DestinationNumber] | None,
    event_id: str,
    *,
    mapping_id: str | None = None,
    limit: int,
) -> list[RejectionRecord]:
    """Return up to `limit` records with an event id, newest first.

    `numbers` are the destinations to search; None means all destinations of the organisation.
    """
    wanted = RejectionFilter(event_id=event_id, mapping_id=mapping_id)
    return await _read(connection, "rejection_records", numbers, wanted, limit=limit, below=None)


# The SQL of each field of a filter. `{}` stands for the number of its parameter.
_CONDITIONS: Final = {
    "since": "r.received_at >= {}::timestamptz",
    "until": "r.received_at < {}::timestamptz",
    "mapping_id": "r.mapping = (SELECT number FROM mappings"
    " WHERE organisation_id = (SELECT acting_organisation()) AND id = {})",
    "any_id": "{}::text IN (r.event_id, r.request_id, r.execution_id, r.journey_id, r.node_id)",
    **{
        name: f"r.{name} = {{}}::text"
        for name in ("reason", "field", "execution_id", "journey_id", "node_id", "event_id", "request_id")
    },
}


async def _read(
    connection: PipelineConnection,
    source: str,
    destinations: Sequence[DestinationNumber] | None,
    wanted: RejectionFilter,
    *,
    limit: int,
    below: int | None,
) -> list[RejectionRecord]:
    given = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    # Conditions that are not given are left out, because each costs time for every record of a search.
    conditions = [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(given, start=4)]
    match destinations:
        case None:
            conditions.append("$1::integer[] IS NULL")
        case [_]:
            conditions.append("r.destination = ($1::integer[])[1]")
        case _:
            conditions.append("r.destination = ANY($1::integer[])")
    rows = await connection.fetch(
        f"""
        SELECT r.id, r.destination, r.event_id, r.received_at, m.id AS mapping_id, r.code, r.reason, r.field,
          r.mapping_field, r.request_id, r.execution_id, r.journey_id, r.node_id, r.also
        FROM (
          -- (SELECT …) calls the function once per statement; a call costs more than reading a row.
          SELECT * FROM {source} r WHERE r.organisation_id = (SELECT acting_organisation())
            AND r.id < coalesce($2, {MAX_BIGINT}) AND {" AND ".join(conditions)}
          ORDER BY r.id DESC LIMIT $3
        ) r LEFT JOIN mappings m
          ON m.organisation_id = (SELECT acting_organisation()) AND m.number = r.mapping
        ORDER BY r.id DESC
        """,
        None if destinations is None else list(destinations),
        below,
        limit,
        *given.values(),
    )
    return [_record(row) for row in rows]


def _record(row: asyncpg.Record) -> RejectionRecord:
    also = () if row["also"] is None else msgspec.json.decode(row["also"], type=tuple[EventProblem, ...])
    return read_row(RejectionRecord, row, also=also)


@dataclass(frozen=True, slots=True)
class RejectionSummary:
    """The number of events that were rejected for one reason at one field of one mapping."""

    code: str
    reason: str
    field: str | None
    mapping_id: str | None
    count: int
    first_at: datetime
    last_at: datetime


async def summary(
    connection: PipelineConnection, number: DestinationNumber, wanted: RejectionFilter, *, days: int
) -> list[RejectionSummary]:
    """Count the rejected events of a destination in the last `days` days (UTC), most frequent first.

    The counts are exact for whole days. Execution, journey and node are known of recorded events only.
    """
    columns = ["reason", "field", "mapping_id"]
    if wanted.execution_id or wanted.journey_id or wanted.node_id:
        columns += ["execution_id", "journey_id", "node_id"]
        source = (
            "SELECT code, reason, coalesce(field, '') AS field, mapping, 1 AS rejected, "
            "received_at AS first_at, received_at AS last_at FROM rejection_records r "
            "WHERE r.organisation_id = acting_organisation() AND r.destination = $1 "
            "AND r.received_at > now() - make_interval(days => $2::int) "
            "AND ($3::timestamptz IS NULL OR r.received_at >= $3) "
            "AND ($4::timestamptz IS NULL OR r.received_at < $4)"
        )
    else:
        source = (
            "SELECT * FROM rejections r "
            "WHERE r.destination = $1 AND r.day > (now() AT TIME ZONE 'UTC')::date - $2::int "
            "AND ($3::timestamptz IS NULL OR r.day >= ($3::timestamptz AT TIME ZONE 'UTC')::date) "
            "AND ($4::timestamptz IS NULL OR r.day <= ($4::timestamptz AT TIME ZONE 'UTC')::date)"
        )
    given = {name: value for name in columns if (value := getattr(wanted, name)) is not None}
    conditions = [f" AND {_CONDITIONS[name].format(f'${n}')}" for n, name in enumerate(given, start=5)]
    rows = await connection.fetch(
        f"""
        SELECT r.code, r.reason, nullif(r.field, '') AS field, m.id AS mapping_id,
          sum(r.rejected)::bigint AS count, min(r.first_at) AS first_at, max(r.last_at) AS last_at
        FROM ({source}{"".join(conditions)}) r
        LEFT JOIN mappings m ON m.organisation_id = acting_organisation() AND m.number = r.mapping
        GROUP BY 1, 2, 3, 4 ORDER BY count DESC, 1, 2, 3, 4
        """,
        number,
        days,
        wanted.since,
        wanted.until,
        *given.values(),
    )
    return [read_row(RejectionSummary, row) for row in rows]


async def delete_old(connection: PipelineConnection, *, keep: timedelta) -> None:
    """Delete up to 20,000 records that are older than `keep`."""
    await connection.execute(
        """
        DELETE FROM rejection_records WHERE id IN (SELECT id FROM (
          SELECT id, received_at FROM rejection_records ORDER BY id LIMIT $2) oldest
          WHERE received_at < now() - $1::interval)
        """,
        keep,
        _DELETED_AT_ONCE,
    )
