"""Read the batches and exceptions of a destination's events, for event histories and lists of events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime

from asyncpg import Record

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection
from app.store.database import damage
from app.store.database.partitions import STORED
from app.store.rows import MAX_BIGINT, read_row


@dataclass(frozen=True, slots=True)
class DestinationRef:
    """The fields of a destination on which the status of its waiting events depends.

    `throttled_until` is the time until which its lane sends nothing after a 429.
    """

    id: DestinationId
    number: DestinationNumber
    state: str
    sign_in_reason: str | None
    throttled_until: datetime | None  # the end of its lane's block after a 429
    suspended: bool = False  # its organisation is suspended


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch's state and the metadata of its events (`shapes`), which is None when unreadable."""

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
    """The state of a conversion that was handled separately from its batch, such as a retry."""

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
    dismissed_at: datetime | None
    dismissed_by: str | None


STATE = """s.batch AS id, s.day, s.accepted_at, s.due_at, s.tries, s.first_event, s.disposition,
  s.settled_at, s.reason, s.attempts, coalesce(s.replays, '{}') AS replays"""


async def destination(connection: PipelineConnection, id: DestinationId) -> DestinationRef | None:
    """Return a destination of the acting organisation, or None."""
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
    """Return (id, name) of a destination's mappings by number, archived ones included."""
    rows = await connection.fetch(
        "SELECT number, id, name FROM mappings WHERE organisation_id = acting_organisation() AND "
        "destination = $1",
        id,
    )
    return {MappingNumber(row["number"]): (MappingId(row["id"]), row["name"]) for row in rows}


async def batches(
    connection: PipelineConnection, destination: DestinationNumber, id: BatchId
) -> list[BatchRow]:
    """Return a destination's batches with this id. The list is empty if the partition was dropped.

    Damage can have caused several batches with one id, on different days. The caller compares the event id.
    """
    rows = await connection.fetch(
        f"SELECT {STATE} FROM batch_states s WHERE s.batch = $2 AND s.destination = $1 AND {STORED}",
        destination,
        id,
    )
    # One call per row, because `with_shapes` assigns shapes by id and these rows share an id.
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
    """Return batches of a destination that may contain events of a status (None: any), newest first.

    `before` is the highest id to return, or None for the first page.
    """
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
    """Return the exceptions of these batches by (batch, place), if they belong to these destinations."""
    rows = await connection.fetch(
        """
        SELECT batch, place, day, status, tries, due_at, code, reason, amazon_code, amazon_message,
          item_outcomes, coalesce(replays, '{}') AS replays, changed_at, event_at, delivered_at, erased_at,
          dismissed_at, dismissed_by
        FROM exceptions WHERE batch = ANY($1::bigint[]) AND destination = ANY($2::integer[])
        """,
        list(ids),
        list(destinations),
    )
    return {(BatchId(row["batch"]), row["place"]): read_row(ExceptionRow, row) for row in rows}


async def exceptions_by_batch(
    connection: PipelineConnection, destinations: Sequence[DestinationNumber], ids: Sequence[BatchId]
) -> dict[BatchId, dict[int, ExceptionRow]]:
    """Return the exceptions of these batches by batch and place. A batch without exceptions has no entry."""
    by_batch: dict[BatchId, dict[int, ExceptionRow]] = {}
    for (batch, place), exception in (await exceptions(connection, destinations, ids)).items():
        by_batch.setdefault(batch, {})[place] = exception
    return by_batch


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """A destination's figures from one snapshot. `rejected` has (code, reason, n), `dead` has (reason, n)."""

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
    shared_account: bool
    rejected: tuple[tuple[str, str, int], ...]
    dead: tuple[tuple[str, int], ...]


async def destination_figures(
    connection: PipelineConnection, number: DestinationNumber
) -> DestinationFigures | None:
    """Read the figures of a destination in one statement, so that they add up.

    `oldest_waiting` and `earliest_expiry` are None when the states of its batches cannot be read.
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
_SUMS = ", ".join(f"coalesce(sum({each.name}), 0)::bigint AS {each.name}" for each in fields(CountTotals))
_FIGURES = f"""
        SELECT d.state, d.requests_per_second, d.burst, l.learned_rate, l.breaker, l.error_rate,
          coalesce(l.leased_until > now(), false) AS lane_owned,
          is_shared_account(d.number) AS shared_account,
          (SELECT row_to_json(c)::text FROM (
             SELECT {_SUMS} FROM counts WHERE destination = d.number) c) AS totals,
          {{oldest}} AS oldest_waiting, {{first_event}} AS earliest_expiry,
          (SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT code, reason, sum(rejected)::bigint AS n
             FROM rejections WHERE destination = d.number GROUP BY code,
               reason ORDER BY 3 DESC LIMIT 50) r) AS rejected,
          (SELECT coalesce(json_agg(x), '[]')::text FROM (SELECT reason, count(*) AS n
             FROM exceptions WHERE destination = d.number AND status = 'dead' GROUP BY reason) x) AS dead
        FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.number = $1
"""


async def with_shapes(connection: PipelineConnection, rows: Sequence[Record]) -> list[BatchRow]:
    """Return a batch for each of these rows of `STATE`, with its shapes.

    Shapes are read separately, so that a damaged batch still has its state.
    """
    shapes = await damage.read_shapes_of(connection, {row["id"]: row["day"] for row in rows})
    return [read_row(BatchRow, row, shapes=shapes.get(row["id"])) for row in rows]


# The newest batches of one kind. For a rare kind Postgres uses an index; for a frequent kind it scans from
# the newest batch. It chooses well only if each kind is a separate query: with OR it would scan a million
# batches to find three expired ones. The start of a page is compared without OR too. Otherwise a generic plan
# could not use it as an index condition, and each page would read all newer batches again.
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
    """Return the SQL that selects the batches which may contain events of a status."""
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
