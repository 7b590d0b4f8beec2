"""The cost of deduplication: the digests on receipt, and the row in the ledger.

Two flushes are interleaved: one of a batch with 500 keys, and one of a batch with an event count of zero,
which inserts no key. The difference is the cost of the ledger, in Python and Postgres together. The digests
are timed separately.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from app.domain.event import content_digest, event_key
from app.domain.ids import DestinationId, DestinationNumber, MappingId
from app.store import batches, flush, ledger
from bench.events import bodies
from bench.stage import Stage

_FLUSH_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds per event: of its two digests, and of its ledger row."""

    digests: float
    row: float


def measure(stage: Stage, events: int = 20_000) -> Cost:
    """Return the cost of deduplication per event in flushes of 500."""
    return Cost(_digests(events), asyncio.run(_rows(stage, events)))


def _digests(events: int) -> float:
    contents = [
        content for post in bodies("dedupe", events, _FLUSH_EVENTS, ["dst"]) for content in _read(post)
    ]
    pepper, destination, mapping = os.urandom(32), DestinationId("dst"), MappingId("map")
    began = time.process_time()
    for content in contents:
        content_digest(content, pepper)
        event_key(destination, mapping, content["event_id"])
    return (time.process_time() - began) / events * 1e6


def _read(post: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = msgspec.json.decode(post)["events"]
    return events


async def _rows(stage: Stage, events: int) -> float:
    """Measure flushes with ledger keys and without."""
    async with stage.connected() as connection:
        await flush.create_function(connection)
        generation = await ledger.current_generation(connection)
        spent = {True: 0.0, False: 0.0}
        for _ in range(events // _FLUSH_EVENTS):
            keys = [(os.urandom(16), os.urandom(16)) for _ in range(_FLUSH_EVENTS)]
            for with_keys in spent:
                before = time.process_time() + stage.postgres_seconds()
                # Postgres counts its CPU time in hundredths of a second, so only the sum is meaningful.
                await _flush(connection, generation, keys if with_keys else [])
                spent[with_keys] += time.process_time() + stage.postgres_seconds() - before
        await connection.execute("DELETE FROM batch_states WHERE destination = 0")
        return (spent[True] - spent[False]) / events * 1e6


async def _flush(
    connection: asyncpg.Connection, generation: int, keys: Sequence[tuple[bytes, bytes]]
) -> None:
    now = datetime.now(UTC)
    [number] = await batches.reserve_ids(connection, 1)
    batch = batches.NewBatch(number, DestinationNumber(0), b"c", b"s", len(keys), 1, now, now, b"k")
    assert await flush.store_in_one_round_trip(
        connection,
        [batch],
        b"".join(key for key, _ in keys),
        b"".join(digest for _, digest in keys),
        nodes_day=now.date(),
        generation=generation,
        versions={},
        writer=0,
        deltas={},
    )
