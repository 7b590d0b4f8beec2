"""What telling a repeat from a new event costs: the digests at the door, and the row in the ledger.

Two flushes of the same size are interleaved, one that enters its 500 keys and one that enters none; their
difference is the ledger's, Python and Postgres together. The digests are timed by themselves.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import msgspec

from app.domain.event import content_digest
from app.domain.ids import DestinationId, DestinationNumber, MappingId
from app.domain.ledger_keys import event_key
from app.store import batches, flush, ledger
from bench.events import bodies
from bench.stage import Stage

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor microseconds an event: of its two digests, and of its ledger row."""

    digests: float
    row: float


def measure(stage: Stage, events: int = 20_000) -> Cost:
    """Return what deduplication costs an event in flushes of 500."""
    return Cost(_digests(events), asyncio.run(_rows(stage, events)))


def _digests(events: int) -> float:
    made = [one for post in bodies("dedupe", events, _AT_ONCE, ["dst"]) for one in _read(post)]
    pepper, destination, mapping = os.urandom(32), DestinationId("dst"), MappingId("map")
    began = time.process_time()
    for one in made:
        content_digest(one, pepper)
        event_key(destination, mapping, one["event_id"])
    return (time.process_time() - began) / events * 1e6


def _read(post: bytes) -> list[dict]:
    events: list[dict] = msgspec.json.decode(post)["events"]
    return events


async def _rows(stage: Stage, events: int) -> float:
    """Measure flushes as the door makes them, with the ledger and without."""
    with_it, without = [await asyncpg.connect(stage.dsn) for _ in range(2)]
    try:
        await flush.prepare(with_it)
        await flush.prepare(without, enters=False)
        generation = await ledger.current_generation(with_it)
        spent = {with_it: 0.0, without: 0.0}
        for _ in range(events // _AT_ONCE):
            keys = [(os.urandom(16), os.urandom(16)) for _ in range(_AT_ONCE)]
            for connection in spent:
                before = time.process_time() + stage.postgres_seconds()
                # Postgres counts its processor time in hundredths of a second: only the sum says anything.
                await _flush(connection, generation, keys)
                spent[connection] += time.process_time() + stage.postgres_seconds() - before
        await with_it.execute("DELETE FROM batch_states WHERE destination = 0")
        return (spent[with_it] - spent[without]) / events * 1e6
    finally:
        await with_it.close()
        await without.close()


async def _flush(
    connection: asyncpg.Connection, generation: int, keys: Sequence[tuple[bytes, bytes]]
) -> None:
    now = datetime.now(UTC)
    [number] = await batches.reserve_ids(connection, 1)
    made = batches.NewBatch(number, DestinationNumber(0), b"c", b"s", len(keys), 1, now, now, b"k")
    outcome = await flush.store(
        connection, [made], [keys], generation=generation, versions={}, writer=0, deltas={}
    )
    assert outcome is flush.FlushOutcome.STORED
