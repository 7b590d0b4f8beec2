"""Records of rejected events without their values, and exact counts of rejected events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Annotated, Final, NamedTuple

import asyncpg
import msgspec
from pydantic import Field

from app.domain.event import JOURNEY_IDS, NO_JOURNEY, EventProblem, Rejection
from app.domain.event_query import EventQuery
from app.domain.ids import DestinationNumber
from app.domain.outcomes.reasons import JourneyCode, rejection_detail
from app.store import INTERNAL, MAX_BIGINT, PipelineConnection, fetch_rows, read_row, read_sql, transactions
from app.store.events.batches import Numbers

SQL: Final = read_sql(__file__)

MOST_A_MINUTE: Final = 600  # records per destination
_RECORD_LOCK: Final = 7_307  # only one process at a time counts and writes records
_DELETED_AT_ONCE: Final = 20_000


class NewRejection(NamedTuple):
    """A rejected event to record. The record has its ids and the paths of fields, but no value of it."""

    destination: DestinationNumber
    received_at: datetime
    request_id: str | None
    rejection: Rejection


_OF_REJECTION: Final = attrgetter("event_id", "mapping", "code", "reason", "field", "mapping_field")


def _values(record: NewRejection) -> tuple[object, ...]:
    """Return the columns of a record. The last are the other problems of the event as JSON."""
    rejection = record.rejection
    return (
        *record[:3],
        *_OF_REJECTION(rejection),
        *msgspec.structs.astuple(rejection.journey or NO_JOURNEY),
        msgspec.json.encode(rejection.also).decode() if rejection.also else None,
    )


async def add(connection: PipelineConnection, records: Sequence[NewRejection]) -> None:
    """Write records, at most 600 per destination and minute over all processes. Skip further records."""
    columns = [list(column) for column in zip(*map(_values, records), strict=True)]
    await transactions.lock(connection, _RECORD_LOCK)
    await connection.execute(SQL["add"], *columns, MOST_A_MINUTE)


ALSO: Final = "The other problems of the event, at most nine, a field once."


@dataclass(frozen=True, slots=True)
class RejectionRecord:
    """A rejected event, without its values. The API returns it as it is."""

    event_id: str | None
    received_at: datetime
    mapping_id: str | None
    code: Annotated[JourneyCode, Field(examples=["BAD_REQUEST"])]
    reason: Annotated[str, Field(examples=["timestamp_missing"])]
    field: Annotated[
        str | None, Field(description="The source path in the mapping.", examples=["event.timestamp"])
    ]
    mapping_field: str | None
    also: Annotated[tuple[EventProblem, ...], Field(description=ALSO)]
    detail: str
    request_id: str | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None
    id: Annotated[int, INTERNAL]  # a later record has a higher one
    destination: Annotated[DestinationNumber, INTERNAL]


# The records that a search of several destinations reads.
_NEWEST_OF_ALL: Final = """(SELECT * FROM rejection_records
  WHERE organisation_id = (SELECT acting_organisation())
  AND id < $2 ORDER BY id DESC LIMIT (SELECT 100000))"""


async def newest(
    connection: PipelineConnection,
    numbers: Numbers,
    wanted: EventQuery,
    *,
    limit: int,
    below: int | None = None,
) -> list[RejectionRecord]:
    """Return up to `limit` records of these destinations with ids below `below`, newest first.

    Of several destinations, only the newest 100,000 records of the organisation are searched, unless the
    filter names an event id.
    """
    source = "rejection_records"
    if (numbers is None or len(numbers) != 1) and wanted.event_id is None:
        source = _NEWEST_OF_ALL
    conditions, given = _conditions(wanted, _CONDITIONS, first=4)
    match numbers:
        case None:
            conditions.append("$1::integer[] IS NULL")
        case [_]:
            conditions.append("r.destination = ($1::integer[])[1]")
        case _:
            conditions.append("r.destination = ANY($1::integer[])")
    statement = f"""
        SELECT r.*, (SELECT m.id FROM mappings m
          WHERE m.organisation_id = acting_organisation() AND m.number = r.mapping) AS mapping_id
        FROM (
          -- (SELECT …) calls the function once per statement; a call costs more than reading a row.
          SELECT * FROM {source} r WHERE r.organisation_id = (SELECT acting_organisation())
            AND r.id < $2 AND {" AND ".join(conditions)}
          ORDER BY r.id DESC LIMIT (SELECT $3::int)
        ) r ORDER BY r.id DESC
        """
    highest = MAX_BIGINT if below is None else below
    return [_record(row) for row in await connection.fetch(statement, numbers, highest, limit, *given)]


def _record(row: asyncpg.Record) -> RejectionRecord:
    detail = rejection_detail(row["reason"], row["field"], row["mapping_field"])
    return read_row(RejectionRecord, row, also=msgspec.json.decode(row["also"] or "[]"), detail=detail)


_IDS: Final = ("event_id", "request_id", *JOURNEY_IDS)
# The SQL of each field of a filter. `{}` stands for the number of its parameter.
_CONDITIONS: Final = {
    "since": "r.received_at >= {}::timestamptz",
    "until": "r.received_at < {}::timestamptz",
    "mapping_id": "r.mapping = (SELECT number FROM mappings"
    " WHERE organisation_id = (SELECT acting_organisation()) AND id = {})",
    "any_id": f"{{}}::text IN ({', '.join(f'r.{name}' for name in _IDS)})",
    **{name: f"r.{name} = {{}}::text" for name in ("reason", "field", *_IDS)},
}


def _conditions(wanted: EventQuery, names: Iterable[str], *, first: int) -> tuple[list[str], list[object]]:
    """Return the conditions of a filter and the values of their parameters; `first` is the first's number.

    Conditions that are not given are left out, because each costs time for every record of a search.
    """
    given = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    conditions = [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(given, start=first)]
    return conditions, list(given.values())


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
    connection: PipelineConnection, number: DestinationNumber, wanted: EventQuery, *, days: int
) -> list[RejectionSummary]:
    """Count the rejected events of a destination in the last `days` days (UTC), most frequent first.

    The counts are exact for whole days. Execution, journey and node are known of recorded events only.
    """
    columns = ["reason", "field", "mapping_id"]
    if wanted.journey:
        columns += JOURNEY_IDS
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
    conditions, given = _conditions(wanted, columns, first=5)
    statement = f"""
        SELECT r.code, r.reason, nullif(r.field, '') AS field, m.id AS mapping_id,
          sum(r.rejected)::bigint AS count, min(r.first_at) AS first_at, max(r.last_at) AS last_at
        FROM ({" AND ".join([source, *conditions])}) r
        LEFT JOIN mappings m ON m.organisation_id = acting_organisation() AND m.number = r.mapping
        GROUP BY 1, 2, 3, 4 ORDER BY count DESC, 1, 2, 3, 4
        """
    arguments = (number, days, wanted.since, wanted.until, *given)
    return await fetch_rows(connection, RejectionSummary, statement, *arguments)


async def delete_old(connection: PipelineConnection, *, keep: timedelta) -> None:
    """Delete up to 20,000 records that are older than `keep`."""
    await connection.execute(SQL["delete_old"], keep, _DELETED_AT_ONCE)
