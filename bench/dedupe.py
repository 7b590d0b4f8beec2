"""What telling a repeat from a new event costs: the digests at the door, and the row in the ledger.

Two transactions of the same size are interleaved, one that claims 500 keys and one that claims none; their
difference is the ledger's, Python and Postgres together. The digests are timed by themselves.
"""

import asyncio
import os
import time
from dataclasses import dataclass

import asyncpg
import msgspec

from app.domain.event import content_digest
from app.domain.ids import DestinationId, MappingId, ParcelId
from app.intake.judging import event_key
from app.store import flushes, ledger
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
    connection = await asyncpg.connect(stage.dsn)
    try:
        spent = {True: 0.0, False: 0.0}
        for flush in range(events // _AT_ONCE):
            entries = [
                ledger.Entry(os.urandom(16), os.urandom(16), ParcelId(flush + 1), place)
                for place in range(_AT_ONCE)
            ]
            for claims in (True, False):
                before = time.process_time() + stage.postgres_seconds()
                # Postgres counts its processor time in hundredths of a second: only the sum says anything.
                await _flush(connection, entries if claims else [])
                spent[claims] += time.process_time() + stage.postgres_seconds() - before
        return (spent[True] - spent[False]) / events * 1e6
    finally:
        await connection.close()


async def _flush(connection: asyncpg.Connection, entries: list[ledger.Entry]) -> None:
    async with flushes.transaction(connection):
        generation = (await flushes.terms(connection, [])).generation
        if entries:
            assert not await ledger.claim(connection, generation, entries)
