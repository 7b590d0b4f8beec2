"""Read batches and exceptions, for event histories and lists of events, with what their status depends on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Final

from asyncpg import Record

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import MAX_BIGINT, PipelineConnection, fetch_scalar, read_row, read_sql
from app.store.database import damage, partitions

SQL: Final = read_sql(__file__)

# Up to this number, each destination is read by an index. For more, the newest batches are scanned.
_FEW: Final = 64

Numbers = Sequence[DestinationNumber] | None
"""The destinations to read; None means all destinations of the acting organisation."""


@dataclass(frozen=True, slots=True)
class DestinationRef:
    """The fields of a destination on which the status of its waiting events depends.

    `throttled_until` is the time until which its lane sends nothing after a 429.
    """

    id: DestinationId
    number: DestinationNumber
    name: str
    state: str
    sign_in_reason: str | None
    throttled_until: datetime | None
    suspended: bool = False  # its organisation is suspended


@dataclass(frozen=True, slots=True)
class MappingRef:
    """A mapping, also an archived one, and its destination."""

    id: MappingId
    name: str
    destination: DestinationId


Mappings = Mapping[MappingNumber, MappingRef]


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch's state and the metadata of its events (`shapes`), which is None when unreadable."""

    id: BatchId
    destination: DestinationNumber
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


STATE = """s.batch AS id, s.destination, s.day, s.accepted_at, s.due_at, s.tries, s.first_event,
  s.disposition, s.settled_at, s.reason, s.attempts, coalesce(s.replays, '{}') AS replays"""


async def destinations(
    connection: PipelineConnection,
    *,
    numbers: Collection[DestinationNumber] | None = None,
    ids: Collection[str] | None = None,
) -> dict[DestinationNumber, DestinationRef]:
    """Return the organisation's destinations with these numbers and these ids; None means any."""
    rows = await connection.fetch(SQL["destinations"], numbers, ids)
    return {DestinationNumber(row["number"]): read_row(DestinationRef, row) for row in rows}


async def destination(connection: PipelineConnection, id: DestinationId) -> DestinationRef | None:
    """Return a destination of the acting organisation, or None."""
    return next(iter((await destinations(connection, ids=[id])).values()), None)


async def mappings(
    connection: PipelineConnection, only: Collection[str] | None = None
) -> dict[MappingNumber, MappingRef]:
    """Return the organisation's mappings by number, archived ones included.

    `only` limits them to these destinations.
    """
    rows = await connection.fetch(SQL["mappings"], only)
    return {MappingNumber(row["number"]): read_row(MappingRef, row) for row in rows}


async def batches(
    connection: PipelineConnection, destination: DestinationNumber, ids: Collection[BatchId]
) -> list[BatchRow]:
    """Return a destination's batches with these ids, without those whose partition was dropped.

    Damage can have caused several batches with one id, on different days. The caller compares the event id.
    """
    rows = await connection.fetch(SQL["batches"], destination, ids)
    # One call per day: `with_shapes` assigns shapes by id, which rows of different days can share.
    by_day = groupby(rows, key=itemgetter("day"))
    return [batch for _, of_day in by_day for batch in await with_shapes(connection, list(of_day))]


async def has_content(connection: PipelineConnection, id: BatchId) -> bool:
    """Return whether a batch's content is stored, with or without a state."""
    return await fetch_scalar(connection, bool, "SELECT EXISTS (SELECT FROM batches WHERE id = $1)", id)


async def newest(
    connection: PipelineConnection,
    numbers: Numbers,
    *,
    wanted: str | None,
    before: BatchId | None,
    limit: int,
    after: int = 0,
) -> list[BatchRow]:
    """Return batches of these destinations, newest first, with ids from `after` to `before`, if given.

    The batches of a single destination are only those that may contain events of a status (None: any).
    """
    if numbers is not None and len(numbers) == 1:
        # Compare the destination too: an id used twice must not show another destination's events.
        source = f"({_candidates(wanted)}) c {_OF_CANDIDATES}"
        given: object = numbers[0]
    else:
        source = _OF_FEW if numbers is not None and len(numbers) <= _FEW else _OF_MANY
        given = numbers
    statement = (
        f"SELECT {STATE} FROM {source} WHERE s.batch >= $4 AND {partitions.STORED} "
        "ORDER BY s.batch DESC LIMIT (SELECT $3::int)"
    )
    below = MAX_BIGINT if before is None else before
    return await with_shapes(connection, await connection.fetch(statement, given, below, limit, after))


_OF_CANDIDATES: Final = """
    CROSS JOIN LATERAL (SELECT * FROM batch_states
       WHERE batch = c.batch AND day = c.day AND destination = $1 OFFSET 0) s"""
_OF_FEW: Final = """
    (SELECT number FROM destinations
       WHERE organisation_id = acting_organisation() AND number = ANY($1)) d
    CROSS JOIN LATERAL (SELECT * FROM batch_states
       WHERE destination = d.number AND batch <= $2
       ORDER BY batch DESC LIMIT (SELECT $3::int)) s"""
# `+ 0`: the newest batches of all organisations are read by id, not all batches of each destination.
_OF_MANY: Final = """
    (SELECT * FROM batch_states WHERE destination + 0 = ANY(ARRAY(
       SELECT number FROM destinations WHERE organisation_id = acting_organisation()
         AND ($1::integer[] IS NULL OR number = ANY($1))))
     AND batch <= $2) s"""


async def exceptions(
    connection: PipelineConnection, destinations: Collection[DestinationNumber], ids: Sequence[BatchId]
) -> dict[BatchId, dict[int, ExceptionRow]]:
    """Return the exceptions of these batches by batch and place, if they belong to these destinations.

    A batch without exceptions has no entry.
    """
    rows = await connection.fetch(SQL["exceptions"], list(ids), list(destinations))
    by_batch: dict[BatchId, dict[int, ExceptionRow]] = {}
    for row in rows:
        by_batch.setdefault(BatchId(row["batch"]), {})[row["place"]] = read_row(ExceptionRow, row)
    return by_batch


async def with_shapes(connection: PipelineConnection, rows: Sequence[Record]) -> list[BatchRow]:
    """Return a batch for each of these rows of `STATE`, with its shapes.

    Shapes are read separately, so that a damaged batch still has its state.
    """
    shapes = await damage.read_shapes_of(connection, {row["id"]: row["day"] for row in rows})
    return [read_row(BatchRow, row, shapes=shapes.get(row["id"])) for row in rows]


# The newest batches of one kind. For a rare kind Postgres uses an index; for a frequent kind it scans from
# the newest batch. It chooses well only if each kind is a separate query: with OR it would scan a million
# batches to find three expired ones. The start of a page is compared without OR too. Otherwise a generic plan
# could not use it as an index condition, and each page would read all newer batches again. For the same
# reason it is no `coalesce`, which a role with row-level security may not compare in an index.
#
# `LIMIT (SELECT …)`, here and in the other statements for pages: without statistics Postgres expects fewer
# rows than a page has, and would read and sort all. With an unknown limit it expects to need a tenth of them.
_BATCHES_THAT = """
  SELECT s.batch, s.day FROM batch_states s WHERE s.destination = $1 AND {} AND s.batch <= $2
  ORDER BY s.batch DESC LIMIT (SELECT $3::int)
"""
_BATCHES_WITH = """
  SELECT e.batch, e.day FROM exceptions e
  WHERE e.destination = $1 AND e.status = '{}' AND e.batch <= $2
    AND e.day >= '2000-01-01'  -- as the index says
  GROUP BY e.batch, e.day
  -- Once for each batch, by its id.
  HAVING (SELECT true FROM batch_states s
    WHERE s.batch = e.batch AND s.day = e.day AND s.destination = $1 LIMIT 1)
  ORDER BY e.batch DESC, e.day DESC LIMIT (SELECT $3::int)
"""


_OPEN: Final = _BATCHES_THAT.format("s.settled_at IS NULL")
# The queries that together return the batches which may contain events of a status.
_OF_STATUS: Final[Mapping[str | None, Sequence[str]]] = {
    None: [_BATCHES_THAT.format("true")],
    "queued": [_OPEN],
    **{status: [_OPEN, _BATCHES_WITH.format("retrying")] for status in ("retrying", "held", "parked")},
    "delivered": [_BATCHES_THAT.format("s.disposition = 'sent'"), _BATCHES_WITH.format("delivered")],
    "dead": [_BATCHES_THAT.format("s.disposition = 'discarded'"), _BATCHES_WITH.format("dead")],
    "expired": [_BATCHES_THAT.format("s.disposition = 'expired'"), _BATCHES_WITH.format("expired")],
    "erased": [_BATCHES_WITH.format("erased")],
}


def _candidates(status: str | None) -> str:
    """Return the SQL that selects the batches which may contain events of a status."""
    return " UNION ".join(f"({query})" for query in _OF_STATUS[status])
