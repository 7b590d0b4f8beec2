"""Read the history of one event, and lists of events by destination, newest first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from asyncpg import Record

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection, damage
from app.store.partitions import STORED
from app.store.rows import MAX_BIGINT, read_row


@dataclass(frozen=True, slots=True)
class DestinationRef:
    """The destination of an event history."""

    id: DestinationId
    number: DestinationNumber
    state: str
    sign_in_reason: str | None
    throttled_until: datetime | None  # the end of its lane's block after a 429
    suspended: bool = False  # its organisation is suspended


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch's state and shapes, without its content. `shapes` is None when unreadable."""

    id: BatchId
    day: date
    accepted_at: datetime
    due_at: datetime
    tries: int
    first_event: datetime
    disposition: str | None
    settled_at: datetime | None
    reason: str | None
    attempts: tuple[int, ...]
    replays: tuple[int, ...]
    shapes: bytes | None


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """The row of a conversion that left the fast path."""

    batch: BatchId
    place: int
    day: date
    status: str
    tries: int
    due_at: datetime
    code: str | None
    reason: str
    amazon_code: str | None
    amazon_message: str | None
    item_outcomes: tuple[str, ...]
    replays: tuple[int, ...]
    changed_at: datetime
    event_at: datetime
    delivered_at: datetime | None
    erased_at: datetime | None


STATE = """s.batch AS id, s.day, s.accepted_at, s.due_at, s.tries, s.first_event, s.disposition,
  s.settled_at, s.reason, s.attempts, coalesce(s.replays, '{}') AS replays"""


async def destination(connection: PipelineConnection, id: DestinationId) -> DestinationRef | None:
    """Return a destination, or None."""
    row = await connection.fetchrow(
        """
        SELECT d.id, d.number, d.state, d.sign_in_reason, d.suspended,
          CASE WHEN l.blocked_until > now() THEN l.blocked_until END AS throttled_until
        FROM destinations d JOIN lanes l ON l.id = d.lane
        WHERE d.organisation_id = acting_organisation() AND d.id = $1
        """,
        id,
    )
    return None if row is None else read_row(DestinationRef, row)


async def mappings(
    connection: PipelineConnection, id: DestinationId
) -> dict[MappingNumber, tuple[MappingId, str]]:
    """Return (id, name) of a destination's mappings by number, deleted ones included."""
    rows = await connection.fetch(
        "SELECT number, id, name FROM mappings WHERE organisation_id = acting_organisation() AND "
        "destination = $1",
        id,
    )
    return {MappingNumber(row["number"]): (MappingId(row["id"]), row["name"]) for row in rows}


async def batches(
    connection: PipelineConnection, destination: DestinationNumber, id: BatchId
) -> list[BatchRow]:
    """Return a destination's batches with this batch id; none if its partition was dropped.

    There are several if the id was used on different days; the caller compares the event id.
    """
    rows = await connection.fetch(
        f"SELECT {STATE} FROM batch_states s WHERE s.batch = $2 AND s.destination = $1 AND {STORED}",
        destination,
        id,
    )
    # One by one: shapes are read by id, which several of these rows share.
    return [batch for row in rows for batch in await with_shapes(connection, [row])]


async def has_content(connection: PipelineConnection, id: BatchId) -> bool:
    """Return whether a batch's content is stored, with or without a state."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM batches WHERE id = $1)", id)
    return found


async def newest(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    wanted: str | None,
    before: BatchId | None,
    limit: int,
) -> list[BatchRow]:
    """Return batches of a destination, newest first, that may contain events of a status."""
    rows = await connection.fetch(
        f"""
        WITH candidates AS ({_candidates(wanted)})
        SELECT {STATE}
        -- Compare the destination too: an id used twice must not show another destination's events.
        FROM candidates c JOIN batch_states s ON s.batch = c.batch AND s.destination = $1 WHERE {STORED}
        ORDER BY s.batch DESC LIMIT $3
        """,
        destination,
        before,
        limit,
    )
    return await with_shapes(connection, rows)


async def exceptions(
    connection: PipelineConnection, destinations: Sequence[DestinationNumber], ids: Sequence[BatchId]
) -> dict[tuple[BatchId, int], ExceptionRow]:
    """Return the exceptions of these destinations' batches by (batch, place)."""
    rows = await connection.fetch(
        """
        SELECT batch, place, day, status, tries, due_at, code, reason, amazon_code, amazon_message,
          item_outcomes, coalesce(replays, '{}') AS replays, changed_at, event_at, delivered_at, erased_at
        FROM exceptions WHERE batch = ANY($1::bigint[]) AND destination = ANY($2::integer[])
        """,
        list(ids),
        list(destinations),
    )
    return {(BatchId(row["batch"]), row["place"]): read_row(ExceptionRow, row) for row in rows}


async def exceptions_by_batch(
    connection: PipelineConnection, destinations: Sequence[DestinationNumber], ids: Sequence[BatchId]
) -> dict[BatchId, dict[int, ExceptionRow]]:
    """Return the exceptions by batch and then by place. A batch without exceptions is missing."""
    by_batch: dict[BatchId, dict[int, ExceptionRow]] = {}
    for (batch, place), exception in (await exceptions(connection, destinations, ids)).items():
        by_batch.setdefault(batch, {})[place] = exception
    return by_batch


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """The figures of a destination, read in one snapshot."""

    state: str
    totals: CountTotals
    oldest_waiting: datetime | None
    earliest_expiry: datetime | None
    learned_rate: float | None
    breaker: str
    error_rate: float
    requests_per_second: float
    burst: int
    lane_owned: bool
    rejected: tuple[tuple[str, str, int], ...]
    dead: tuple[tuple[str, int], ...]


async def destination_figures(
    connection: PipelineConnection, number: DestinationNumber
) -> DestinationFigures | None:
    """Read the figures of a destination in one statement, so that they add up.

    The age of waiting events is None when the states of its batches cannot be read.
    """
    try:
        row = await connection.fetchrow(_FIGURES.format(oldest=_OLDEST, first_event=_FIRST_EVENT), number)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        row = await connection.fetchrow(_FIGURES.format(oldest=_UNKNOWN, first_event=_UNKNOWN), number)
    if row is None:
        return None
    return read_row(
        DestinationFigures,
        row,
        totals=json.loads(row["totals"]),
        rejected=[tuple(entry.values()) for entry in json.loads(row["rejected"])],
        dead=[tuple(entry.values()) for entry in json.loads(row["dead"])],
    )


_UNKNOWN = "NULL::timestamptz"
_OLDEST, _FIRST_EVENT = (
    f"""(SELECT min({column}) FROM batch_states s WHERE s.destination = d.number AND s.settled_at IS NULL)"""
    for column in ("accepted_at", "first_event")
)
_FIGURES = """
        SELECT d.state, d.requests_per_second, d.burst, l.learned_rate, l.breaker, l.error_rate,
          coalesce(l.leased_until > now(), false) AS lane_owned,
          (SELECT row_to_json(c)::text FROM (SELECT
             coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(duplicates), 0)::bigint
               AS duplicates,
             coalesce(sum(rejected), 0)::bigint AS rejected, coalesce(sum(retrying), 0)::bigint AS retrying,
             coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead,
             coalesce(sum(expired), 0)::bigint AS expired,
             coalesce(sum(erased), 0)::bigint AS erased FROM counts WHERE destination = d.number) c)
               AS totals,
          {oldest} AS oldest_waiting, {first_event} AS earliest_expiry,
          (SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT code, reason, sum(rejected)::bigint AS n
             FROM rejections WHERE destination = d.number GROUP BY code,
               reason ORDER BY 3 DESC LIMIT 50) r) AS rejected,
          (SELECT coalesce(json_agg(x), '[]')::text FROM (SELECT reason, count(*) AS n
             FROM exceptions WHERE destination = d.number AND status = 'dead' GROUP BY reason) x) AS dead
        FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.number = $1
"""


async def with_shapes(connection: PipelineConnection, rows: Sequence[Record]) -> list[BatchRow]:
    """Return these states with their shapes, which are read separately: a damaged batch keeps its state."""
    shapes = await damage.read_shapes_of(connection, {row["id"]: row["day"] for row in rows})
    return [read_row(BatchRow, row, shapes=shapes.get(row["id"])) for row in rows]


# The newest batches of one kind. A separate index finds a rare kind; a scan from the newest finds a frequent
# one. The planner chooses by its statistics only if each kind is a separate query: with OR it would scan a
# million batches to find three expired ones. The start of a page is compared without OR, which a generic plan
# does not use as an index condition: each page would read all newer batches again.
_BATCHES_THAT = f"""
  SELECT s.batch FROM batch_states s WHERE s.destination = $1 AND {{}}
    AND s.batch <= coalesce($2, {MAX_BIGINT})
  ORDER BY s.batch DESC LIMIT $3
"""
_BATCHES_WITH = f"""
  SELECT e.batch FROM exceptions e
    JOIN batch_states s ON s.batch = e.batch AND s.destination = e.destination
  WHERE e.destination = $1 AND e.status = '{{}}' AND e.batch <= coalesce($2, {MAX_BIGINT})
  GROUP BY e.batch ORDER BY e.batch DESC LIMIT $3
"""


def _candidates(status: str | None) -> str:
    """Return the SQL that selects batches which may contain events of a status; never the caller's text."""
    match status:
        case "queued":
            return _BATCHES_THAT.format("s.settled_at IS NULL")
        case "retrying" | "held" | "parked":
            return _either("s.settled_at IS NULL", "retrying")
        case "delivered":
            return _either("s.disposition = 'sent'", "delivered")
        case "dead":
            return _either("s.disposition = 'discarded'", "dead")
        case "expired":
            return _either("s.disposition = 'expired'", "expired")
        case "erased":
            return _BATCHES_WITH.format(status)
        case _:
            return _BATCHES_THAT.format("true")


def _either(whole: str, single: str) -> str:
    return f"({_BATCHES_THAT.format(whole)}) UNION ({_BATCHES_WITH.format(single)})"
