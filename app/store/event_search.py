"""Read destinations, batches and requests of an organisation, for the search of events."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import PipelineConnection
from app.store.database.partitions import STORED
from app.store.event_history import STATE, BatchRow, DestinationRef, with_shapes
from app.store.rows import MAX_BIGINT, read_row

# Up to this number, each destination is read by an index. For more, the newest batches are scanned.
_FEW: Final = 64

Numbers = Sequence[DestinationNumber] | None
"""The destinations to search; None means all destinations of the acting organisation."""


@dataclass(frozen=True, slots=True)
class NamedDestination:
    """A destination with its name."""

    ref: DestinationRef
    name: str


_DESTINATION: Final = """d.id AS destination_id, d.number, d.state, d.sign_in_reason, d.name,
  CASE WHEN l.blocked_until > now() THEN l.blocked_until END AS throttled_until"""
_OURS: Final = """JOIN lanes l ON l.id = d.lane
  WHERE d.organisation_id = acting_organisation()"""


def _named(row: Record) -> NamedDestination:
    return NamedDestination(read_row(DestinationRef, row, id=row["destination_id"]), row["name"])


async def destinations(
    connection: PipelineConnection,
    *,
    numbers: Collection[DestinationNumber] | None = None,
    ids: Collection[str] | None = None,
) -> dict[DestinationNumber, NamedDestination]:
    """Return the organisation's destinations with these numbers and these ids; None means any."""
    rows = await connection.fetch(
        f"SELECT {_DESTINATION} FROM destinations d {_OURS} "
        "AND ($1::integer[] IS NULL OR d.number = ANY($1)) AND ($2::text[] IS NULL OR d.id = ANY($2))",
        None if numbers is None else list(numbers),
        None if ids is None else list(ids),
    )
    return {DestinationNumber(row["number"]): _named(row) for row in rows}


async def mappings(
    connection: PipelineConnection, only: Collection[str] | None
) -> dict[MappingNumber, tuple[MappingId, DestinationId]]:
    """Return (id, destination) of the organisation's mappings by number, archived ones included.

    `only` limits them to these destinations.
    """
    rows = await connection.fetch(
        "SELECT number, id, destination FROM mappings WHERE organisation_id = (SELECT acting_organisation()) "
        "AND ($1::text[] IS NULL OR destination = ANY($1))",
        None if only is None else list(only),
    )
    return {number: (id_, destination) for number, id_, destination in rows}


async def newest(
    connection: PipelineConnection, numbers: Numbers, *, before: BatchId | None, limit: int
) -> list[tuple[NamedDestination, BatchRow]]:
    """Return the batches of these destinations with ids up to `before`, newest first."""
    batches_ = _OF_FEW if numbers is not None and len(numbers) <= _FEW else _OF_MANY
    rows = await connection.fetch(
        f"SELECT {STATE}, {_DESTINATION} FROM {batches_} s JOIN destinations d ON d.number = s.destination "
        f"{_OURS} AND {STORED} ORDER BY s.batch DESC LIMIT $3",
        None if numbers is None else list(numbers),
        before,
        limit,
    )
    found = await with_shapes(connection, rows)
    return [(_named(row), batch) for row, batch in zip(rows, found, strict=True)]


_OF_FEW: Final = f"""
    (SELECT n.* FROM unnest($1::integer[]) AS given (number), LATERAL (SELECT * FROM batch_states
       WHERE destination = given.number AND batch <= coalesce($2, {MAX_BIGINT})
       ORDER BY batch DESC LIMIT $3) n)"""
_OF_MANY: Final = f"""
    (SELECT * FROM batch_states WHERE ($1::integer[] IS NULL OR destination = ANY($1))
     AND batch <= coalesce($2, {MAX_BIGINT}))"""


@dataclass(frozen=True, slots=True)
class CarriedBatches:
    """The events of one request to Amazon: complete batches, or single events of them.

    For single events, `places` has the position of the event in the batch with the same index.
    """

    destination: DestinationNumber
    batches: tuple[BatchId, ...]
    places: tuple[int, ...] | None


async def find_request(
    connection: PipelineConnection, numbers: Numbers, request_id: str
) -> CarriedBatches | None:
    """Return the events of the request that Amazon gave this id, or None if no stored request has it."""
    row = await connection.fetchrow(
        """
        SELECT destination, batches, places FROM attempts
        WHERE request_id = $2 AND ($1::integer[] IS NULL OR destination = ANY($1))
          AND destination IN (SELECT number FROM destinations WHERE organisation_id = acting_organisation())
        LIMIT 1
        """,
        None if numbers is None else list(numbers),
        request_id,
    )
    return None if row is None else read_row(CarriedBatches, row)


async def names(
    connection: PipelineConnection, only: Collection[str] | None, *, limit: int
) -> list[tuple[str, str]]:
    """Return (id, name) of destinations in order of name, without archived ones.

    `only` limits them to these ids.
    """
    rows = await connection.fetch(
        "SELECT id, name FROM destinations WHERE organisation_id = acting_organisation() "
        "AND archived_at IS NULL AND ($1::text[] IS NULL OR id = ANY($1)) ORDER BY name, id LIMIT $2",
        None if only is None else list(only),
        limit,
    )
    return [(row["id"], row["name"]) for row in rows]
