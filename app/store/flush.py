"""A flush in one round trip, for the usual case: what it was judged by still holds, and its keys are free.

A flush takes several statements, each of which must see what was committed before it. One by one they cost a
round trip each, and on a busy event loop each answer waits for its turn. So they stand in a function, which
the session that flushes makes for itself: it is written beside the other SQL, and two versions of the program
that share a database never share it (ADR 0029).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import asyncpg

from app.domain.ids import DestinationId, DestinationNumber
from app.store import batches, counts
from app.store.batches import NewBatch
from app.store.partitions import FLUSH_LOCK


class FlushOutcome(StrEnum):
    """What became of a flush: stored, or nothing of it, since a version is old or since a key is held."""

    STORED = "stored"
    STALE = "stale"
    HELD = "held"


# What `batches.APPEND` takes ($1 to $15); then generation, ids of destinations and their versions; keys and
# contents in one value each, 16 bytes an event, and where in them each batch begins.
_TYPES: Final = (
    "bigint[]", "integer[]", "bytea[]", "bytea[]", "smallint[]", "integer[]",
    "timestamptz[]", "timestamptz[]", "bytea[]", "smallint[]",
    "smallint", "integer[]", *["bigint[]"] * len(counts.columns(counts.IngestCounts)),
    "integer", "text[]", "bigint[]", "bytea", "bytea", "integer[]",
)  # fmt: skip

_ENTER: Final = f"""
      asked := ARRAY(SELECT substr($19, 16 * n + 1, 16) FROM generate_series(0, length($19) / 16 - 1) AS n);
      IF EXISTS (SELECT FROM ledger WHERE generation = $16 - 1 AND key = ANY(asked))
        OR EXISTS (SELECT FROM ledger WHERE generation = $16 - 2 AND key = ANY(asked))
      THEN RETURN '{FlushOutcome.HELD}'; END IF;
      -- In order of key: two flushes with the same keys in opposite order would wait for each other.
      INSERT INTO ledger (generation, key, content, batch, place)
        SELECT $16, substr($19, 16 * (start + place) + 1, 16) AS key,
          substr($20, 16 * (start + place) + 1, 16), p.id, place
        FROM unnest($1, $5, $21) AS p (id, events, start), generate_series(0, events - 1) AS place
        ORDER BY key;
"""
_MAKE: Final = f"""
    CREATE OR REPLACE FUNCTION pg_temp.store_flush({", ".join(_TYPES)})
    RETURNS text LANGUAGE plpgsql AS $body$
    DECLARE asked bytea[];
    BEGIN
      PERFORM pg_advisory_xact_lock_shared({FLUSH_LOCK});
      IF (SELECT max(generation) FROM ledger_generations) <> $16 OR EXISTS (
        SELECT FROM unnest($17, $18) AS judged (id, version) LEFT JOIN destinations d ON d.id = judged.id
        WHERE d.version IS DISTINCT FROM judged.version)
      THEN RETURN '{FlushOutcome.STALE}'; END IF;
{_ENTER}      {batches.APPEND};
      RETURN '{FlushOutcome.STORED}';
    END $body$
"""
_CALL: Final = f"SELECT pg_temp.store_flush({', '.join(f'${n}' for n in range(1, len(_TYPES) + 1))})"


async def prepare(connection: asyncpg.Connection, *, enters: bool = True) -> None:
    """Make the function in this session. Raises PostgresError, as where the account lacks TEMPORARY.

    One that `enters` nothing into the ledger is there to measure by.
    """
    await connection.execute(_MAKE if enters else _MAKE.replace(_ENTER, ""))


async def store(
    connection: asyncpg.Connection,
    batches_made: Sequence[NewBatch],
    keys: Sequence[Sequence[tuple[bytes, bytes]]],
    *,
    generation: int,
    versions: Mapping[DestinationId, int | None],
    writer: int,
    deltas: Mapping[DestinationNumber, counts.IngestCounts],
) -> FlushOutcome:
    """Store a flush in a transaction of its own, committed when this returns STORED; otherwise nothing of it.

    `keys` are (key, content) of the events of each batch, one an event, in order of place. `versions` are
    those that its events were judged by, None for what does not exist.
    """
    starts, at = [], 0
    for members in keys:
        starts.append(at)
        at += len(members)
    try:
        told = await connection.fetchval(
            _CALL,
            *batches.appending(batches_made, writer, deltas),
            generation,
            list(versions),
            list(versions.values()),
            b"".join([key for members in keys for key, _ in members]),
            b"".join([content for members in keys for _, content in members]),
            starts,
        )
    except asyncpg.UniqueViolationError as error:
        if not str(error.table_name).startswith("ledger"):
            raise
        return FlushOutcome.HELD
    return FlushOutcome(told)
