"""Flush: one transaction that stores the events of many requests.

There are two ways to write the same rows. `store_in_one_round_trip` calls a database function that each
flushing session creates (ADR 0029). It serves the usual case: unchanged configuration versions and no
duplicate keys. Otherwise separate statements are used: `transaction`, `read_preconditions`,
`app.store.ledger`, `append`.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from app.domain.ids import DestinationId, DestinationNumber
from app.store import PipelineConnection, columns_of, counts
from app.store.batches import NewBatch
from app.store.database.partitions import FLUSH_LOCK
from app.store.destinations.cache import CACHED_VERSION
from app.store.ledger import SHORT_CONTENT, SHORT_KEY

# The parameters of the statement of `append`, in order. They are also the first parameters of the function.
_APPEND_PARAMETERS: Final = {
    "ids": "bigint[]",
    "destinations": "integer[]",
    "contents": "bytea[]",
    "shapes": "bytea[]",
    "events": "smallint[]",
    "sizes": "integer[]",
    "first_events": "timestamptz[]",
    "last_events": "timestamptz[]",
    "data_keys": "bytea[]",
    "queues": "smallint[]",
    # The journey nodes of each batch, as the text of an array.
    "nodes": "text[]",
    # Counts: one row per destination.
    "writer": "smallint",
    "counted": "integer[]",
    "accepted": "bigint[]",
    "duplicates": "bigint[]",
    "rejected": "bigint[]",
}
_FUNCTION_PARAMETERS: Final = _APPEND_PARAMETERS | {
    "generation": "integer",
    "used_destinations": "text[]",
    "used_versions": "bigint[]",
    "nodes_day": "date",
    # The ledger keys of all events, 16 bytes each, and their content digests in the same form.
    "keys": "bytea",
    "digests": "bytea",
    # The index of each batch's first event in both.
    "starts": "integer[]",
}

_APPEND_SQL: Final = """
    WITH new AS (
      -- One row per batch. Days are UTC; partitions are named by them.
      SELECT (now() AT TIME ZONE 'UTC')::date AS day, id, destination, content, shapes, events, bytes,
        first_event, last_event, data_key, queue, nodes::smallint[]
      FROM unnest(:ids, :destinations, :contents, :shapes, :events, :sizes, :first_events, :last_events,
        :data_keys, :queues, :nodes)
        AS n (id, destination, content, shapes, events, bytes, first_event, last_event, data_key, queue,
          nodes)
    ), new_batches AS (
      -- Values that never change.
      INSERT INTO batches (day, id, destination, content, shapes)
      SELECT day, id, destination, content, shapes FROM new
    ), new_states AS (
      -- By the defaults of the table, the batches are open and due now.
      INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event,
        data_key, queue, nodes)
      SELECT id, day, destination, events, bytes, first_event, last_event, data_key, queue, nodes FROM new
    ), figures AS (
      -- The accepted events of each journey node. Triggers count their later statuses. No other session adds
      -- to the rows of this one.
      INSERT INTO journey_figures AS f (destination, day, node, writer, accepted)
      SELECT destination, day, node, pg_backend_pid(),
        -- A single node stands for all events of its batch.
        sum(CASE WHEN cardinality(nodes) = 1 THEN events ELSE 1 END)
      -- No number: a place without an event.
      FROM new, unnest(nodes) AS node WHERE node > 0 GROUP BY 1, 2, 3
      ON CONFLICT (destination, day, node, writer) DO UPDATE SET accepted = f.accepted + excluded.accepted
    )
    INSERT INTO counts AS c (destination, day, writer, accepted, duplicates, rejected)
    SELECT d.destination, (now() AT TIME ZONE 'UTC')::date, :writer, d.accepted, d.duplicates, d.rejected
    FROM unnest(:counted, :accepted, :duplicates, :rejected)
      AS d (destination, accepted, duplicates, rejected)
    -- In order of destination, so that two writers that share rows cannot deadlock.
    ORDER BY d.destination
    ON CONFLICT (destination, day, writer) DO UPDATE SET accepted = c.accepted + excluded.accepted,
      duplicates = c.duplicates + excluded.duplicates, rejected = c.rejected + excluded.rejected
"""


# The ledger keys in the form of an earlier generation.
_KEYS: Final = (
    f"ARRAY(SELECT ledger_digest(substr(:keys, 16 * n + 1, 16), {SHORT_KEY}, :generation - {{}}) "
    "FROM generate_series(0, length(:keys) / 16 - 1) AS n)"
)
_FUNCTION_SQL: Final = f"""
    CREATE OR REPLACE FUNCTION pg_temp.store_flush({", ".join(_FUNCTION_PARAMETERS.values())})
    RETURNS boolean LANGUAGE plpgsql AS $body$
    BEGIN
      -- A separate statement, so that the snapshots of the following statements are not older than the lock.
      PERFORM pg_advisory_xact_lock_shared({FLUSH_LOCK});
      -- The ledger generation and the configuration versions that the events were evaluated with, and the day
      -- to which the numbers of the journey nodes belong.
      IF (SELECT max(generation) FROM ledger_generations) <> :generation
        OR :nodes_day <> (now() AT TIME ZONE 'UTC')::date OR EXISTS (
        SELECT FROM unnest(:used_destinations, :used_versions) AS used (id, version)
        LEFT JOIN destinations d ON d.id = used.id
        -- The version NULL stands for a destination that does not exist.
        WHERE {CACHED_VERSION} IS DISTINCT FROM used.version)
      THEN RETURN false; END IF;
      -- Duplicates in the two earlier generations; the INSERT below finds those in the current one.
      IF EXISTS (SELECT FROM ledger WHERE generation = :generation - 1 AND key = ANY({_KEYS.format(1)}))
        OR EXISTS (SELECT FROM ledger WHERE generation = :generation - 2 AND key = ANY({_KEYS.format(2)}))
      THEN RETURN false; END IF;
      INSERT INTO ledger (generation, key, content, batch, place)
        SELECT :generation,
          ledger_digest(substr(:keys, 16 * (start + place) + 1, 16), {SHORT_KEY}, :generation) AS key,
          ledger_digest(substr(:digests, 16 * (start + place) + 1, 16), {SHORT_CONTENT}, :generation),
          p.id, place
        FROM unnest(:ids, :events, :starts) AS p (id, events, start), generate_series(0, events - 1) AS place
        -- In order of keys: two flushes with the same keys in opposite order would deadlock.
        ORDER BY key;
{_APPEND_SQL};
      RETURN true;
    END $body$
"""


def _numbered(sql: str) -> str:
    """Replace each `:name` by the number and type of the parameter: Postgres has no named parameters."""
    numbers = {name: n for n, name in enumerate(_FUNCTION_PARAMETERS, start=1)}
    return re.sub(r"(?<!:):([a-z]\w*)", lambda m: f"${numbers[m[1]]}::{_FUNCTION_PARAMETERS[m[1]]}", sql)


_APPEND: Final = _numbered(_APPEND_SQL)
_CREATE: Final = _numbered(_FUNCTION_SQL)
_CALL: Final = (
    f"SELECT pg_temp.store_flush({', '.join(f'${n + 1}' for n in range(len(_FUNCTION_PARAMETERS)))})"
)


@dataclass(frozen=True, slots=True)
class FlushPreconditions:
    """The current ledger generation, the version of each destination that exists, and the day (UTC)."""

    generation: int
    day: date
    versions: dict[DestinationId, int]


@asynccontextmanager
async def transaction(connection: PipelineConnection) -> AsyncIterator[None]:
    """Begin a transaction and take the shared flush lock. Commit at the end, or roll back on an exception.

    Actions that take the lock exclusively, such as archiving a destination, wait for running flushes. The
    lock is a separate statement, so that the next snapshot is not older than the lock.
    """
    try:
        # Inside the try block: if the lock fails, the transaction has begun and must be rolled back.
        await connection.execute("BEGIN")
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", FLUSH_LOCK)
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def read_preconditions(
    connection: PipelineConnection, ids: Collection[DestinationId]
) -> FlushPreconditions:
    """Read the ledger generation and the versions of these destinations. Call it under the flush lock."""
    statement = f"""
        SELECT g.generation, (now() AT TIME ZONE 'UTC')::date AS day, d.id, {CACHED_VERSION} AS version
        FROM (SELECT max(generation) AS generation FROM ledger_generations) g
        -- LEFT JOIN: the generation is needed even if no destination exists.
        LEFT JOIN destinations d ON d.id = ANY($1)
        """
    rows = await connection.fetch(statement, list(ids))
    versions = {DestinationId(row["id"]): row["version"] for row in rows if row["id"] is not None}
    return FlushPreconditions(rows[0]["generation"], rows[0]["day"], versions)


async def append(
    connection: PipelineConnection,
    batches: Sequence[NewBatch],
    *,
    writer: int = 0,
    deltas: Mapping[DestinationNumber, counts.IngestCounts] = MappingProxyType({}),
) -> None:
    """Store these batches, open and due now, and add `deltas` to the counts of `writer`."""
    await connection.execute(_APPEND, *_append_arguments(batches, writer, deltas))


async def create_function(connection: asyncpg.Connection) -> None:
    """Create the database function that `store_in_one_round_trip` calls in this session.

    Raises PostgresError when this is not possible, for example without the TEMPORARY privilege.
    """
    await connection.execute(_CREATE)


async def store_in_one_round_trip(
    connection: asyncpg.Connection,
    batches: Sequence[NewBatch],
    keys: bytes,
    digests: bytes,
    *,
    generation: int,
    versions: Mapping[DestinationId, int | None],
    nodes_day: date,
    writer: int,
    deltas: Mapping[DestinationNumber, counts.IngestCounts],
) -> bool:
    """Store a flush in its own transaction with one statement.

    Return False and write nothing if a configuration version changed, or if a key is not free.

    `keys` has the ledger keys of all events in the order of the batches, and `digests` the digests of their
    contents. `versions` are the configuration versions with which the events were evaluated, None for a
    destination that does not exist. `nodes_day` is the day of the numbers of journey nodes.
    """
    preconditions = (generation, list(versions), list(versions.values()), nodes_day)
    starts = [0, *accumulate([batch.events for batch in batches])][:-1]
    try:
        is_stored: bool = await connection.fetchval(
            _CALL, *_append_arguments(batches, writer, deltas), *preconditions, keys, digests, starts
        )
    except asyncpg.UniqueViolationError as error:
        if not str(error.table_name).startswith("ledger"):
            raise
        return False
    return is_stored


def _append_arguments(
    batches: Sequence[NewBatch], writer: int, deltas: Mapping[DestinationNumber, counts.IngestCounts]
) -> list[Any]:
    """Return the values of `_APPEND_PARAMETERS`, in order."""
    return [
        *columns_of(batches, "id", "destination", "content", "shapes", "events", "size"),
        *columns_of(batches, "first_event", "last_event", "data_key", "queue"),
        [f"{{{','.join(map(str, batch.nodes))}}}" for batch in batches],
        writer,
        list(deltas),
        *columns_of(list(deltas.values()), "accepted", "duplicates", "rejected"),
    ]
