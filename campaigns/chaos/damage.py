"""Storage faults: one stored batch of events is damaged, and what the service must make of it is known.

A batch is a row of `batches` with its row of `batch_states`. Values are flipped, torn and emptied by SQL,
rows are deleted, and a page of the TOAST table of `batches` gets one wrong bit in its file while the server
is stopped, so that the checksum of the page no longer fits.
"""

import asyncio
import os
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import asyncpg

from app.domain.batch import read_shapes
from campaigns.chaos.stage import Installation

PAGE = 8_192


class Expected(StrEnum):
    """What must become of the events of a damaged batch."""

    UNREADABLE = "dead, reason unreadable"
    SENT_OR_UNREADABLE = "delivered, or dead with reason unreadable"
    DECLARED = "delivered, dead with reason unreadable, or counted by the imbalance check"


UNREADABLE, SENT_OR_UNREADABLE, DECLARED = Expected
# SQL on one batch (`$1`), and what must become of its events. `?` stands for a seeded position.
VALUES: Mapping[str, tuple[str, Expected]] = {
    "content flipped": (
        "UPDATE batches SET content = set_byte(content, ? % length(content), "
        "get_byte(content, ? % length(content)) # 4) WHERE id = $1",
        UNREADABLE,
    ),
    "content torn": (
        "UPDATE batches SET content = substring(content, 1, length(content) / 2) WHERE id = $1",
        UNREADABLE,
    ),
    "content empty": ("UPDATE batches SET content = '' WHERE id = $1", UNREADABLE),
    "data key flipped": (
        "UPDATE batch_states SET data_key = set_byte(data_key, length(data_key) - 1 - ? % 16, "
        "get_byte(data_key, length(data_key) - 1 - ? % 16) # 1) WHERE batch = $1",
        UNREADABLE,
    ),
    "data key torn": (
        "UPDATE batch_states SET data_key = substring(data_key, 1, 3) WHERE batch = $1",
        UNREADABLE,
    ),
    "data key empty": ("UPDATE batch_states SET data_key = '' WHERE batch = $1", UNREADABLE),
    "shapes flipped": (
        "UPDATE batches SET shapes = set_byte(shapes, ? % length(shapes), "
        "get_byte(shapes, ? % length(shapes)) # 16) WHERE id = $1",
        SENT_OR_UNREADABLE,
    ),
    "shapes torn": (r"UPDATE batches SET shapes = '\x0102' WHERE id = $1", SENT_OR_UNREADABLE),
    "shapes empty": ("UPDATE batches SET shapes = '' WHERE id = $1", SENT_OR_UNREADABLE),
    "batch row missing": ("DELETE FROM batches WHERE id = $1", UNREADABLE),
    "state row missing": ("DELETE FROM batch_states WHERE batch = $1", DECLARED),
    "exception row missing": (
        "DELETE FROM exceptions WHERE batch = $1 AND place = "
        "(SELECT min(place) FROM exceptions WHERE batch = $1 AND status = 'retrying')",
        DECLARED,
    ),
}
PAGE_FLIPPED = "page flipped"
KINDS: tuple[str, ...] = (*VALUES, PAGE_FLIPPED)
RETRIED = "exception row missing"  # its batch must have left one event behind for a retry


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a file, with the place of the wrong bit in it."""

    file: Path
    block: int
    at: int

    def flip(self) -> None:
        """Flip one bit; flipping it again repairs the page."""
        descriptor = os.open(self.file, os.O_RDWR)
        try:
            place = self.block * PAGE + self.at
            os.pwrite(descriptor, bytes([os.pread(descriptor, 1, place)[0] ^ 8]), place)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Damage:
    """What was damaged: `batches` holds, by id, the events of each damaged batch by place."""

    kind: str
    destination: str
    expected: Expected
    batches: Mapping[int, Mapping[int, str]]
    page: Page | None = None

    @property
    def events(self) -> set[str]:
        return {event for places in self.batches.values() for event in places.values()}

    def without(self, batches: Collection[int]) -> "Damage":
        """Return this damage without batches that were damaged once more, which is judged there."""
        kept = {batch: places for batch, places in self.batches.items() if batch not in batches}
        return replace(self, batches=kept)


_EVENTS = (
    "SELECT p.id, p.shapes, d.id AS destination FROM batches p JOIN batch_states s ON s.batch = p.id "
    "AND s.day = p.day JOIN destinations d ON d.number = p.destination WHERE (s.settled_at IS NULL OR EXISTS "
    "(SELECT FROM exceptions e WHERE e.batch = p.id AND e.status = 'retrying')) AND "
)


async def open_batches(connection: asyncpg.Connection, destination: str) -> dict[int, dict[int, str]]:
    """Return the open batches of a destination with their events by place; read before the damage."""
    rows = await connection.fetch(f"{_EVENTS} d.id = $1 ORDER BY p.id", destination)
    return {row["id"]: _places(row["shapes"]) for row in rows}


def _places(shapes: bytes) -> dict[int, str]:
    return {shape.place: shape.event_id for shape in read_shapes(shapes) or []}


async def damage(stage: Installation, kind: str, destination: str, luck: random.Random) -> list[Damage]:
    """Damage one waiting batch of a paused destination; a bad page damages its neighbours too."""
    async with stage.office() as connection:
        if kind != PAGE_FLIPPED:
            return [await _value(connection, kind, destination, luck)]
        page, holders = await _page(connection, stage, destination, luck)
        rows = await connection.fetch(f"{_EVENTS} p.id = ANY($1::bigint[])", holders)
        await connection.execute("CHECKPOINT")
    await with_postgres_stopped(stage, page)
    found = []
    for owner in {row["destination"] for row in rows}:
        batches = {row["id"]: _places(row["shapes"]) for row in rows if row["destination"] == owner}
        # The neighbours of other destinations were under way, and may have been read before.
        expected = Expected.UNREADABLE if owner == destination else Expected.SENT_OR_UNREADABLE
        found.append(Damage(kind, owner, expected, batches, page if owner == destination else None))
    return found


async def _value(connection: asyncpg.Connection, kind: str, destination: str, luck: random.Random) -> Damage:
    waiting = await open_batches(connection, destination)
    if kind == RETRIED:
        row = await connection.fetchrow(
            "SELECT e.batch, e.place FROM exceptions e JOIN destinations d ON d.number = e.destination "
            "WHERE d.id = $1 AND e.status = 'retrying' ORDER BY e.batch, e.place LIMIT 1",
            destination,
        )
        assert row is not None, f"no event of {destination} is retried"
        batch = row["batch"]
        places = {row["place"]: waiting[batch][row["place"]]}
    else:
        assert waiting, f"nothing waits in {destination} that could be damaged"
        batch = luck.choice(list(waiting))
        places = waiting[batch]
    statement, expected = VALUES[kind]
    done = await connection.execute(statement.replace("?", str(luck.randrange(1_000))), batch)
    assert done.endswith(" 1"), f"{kind}: {done}"
    return Damage(kind, destination, expected, {batch: places})


async def with_postgres_stopped(stage: Installation, page: Page) -> None:
    """Stop the server in good order, flip the bit, and start it again."""
    async with stage.postgres_turn:
        await asyncio.to_thread(stage.cluster.stop)
        page.flip()
        await asyncio.to_thread(stage.cluster.start)


async def _page(
    connection: asyncpg.Connection, stage: Installation, destination: str, luck: random.Random
) -> tuple[Page, list[int]]:
    """Choose a page that holds a part of a waiting batch; return it with the ids of all its batches."""
    rows = await connection.fetch(
        "SELECT p.id, p.tableoid::int8 AS relation, pg_column_toast_chunk_id(p.content)::int8 AS chunk "
        "FROM batches p JOIN batch_states s ON s.batch = p.id AND s.day = p.day "
        "JOIN destinations d ON d.number = p.destination WHERE d.id = $1 AND s.settled_at IS NULL "
        "AND pg_column_toast_chunk_id(p.content) IS NOT NULL ORDER BY p.id",
        destination,
    )
    assert rows, "no waiting batch is large enough to be stored out of line"
    row = luck.choice(rows)
    toast = await connection.fetchval(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = $1::int8::oid", row["relation"]
    )
    block = luck.choice(
        [
            one["block"]
            for one in await connection.fetch(
                f"SELECT (ctid::text::point)[0]::int AS block FROM {toast} WHERE chunk_id = $1::int8::oid",
                row["chunk"],
            )
        ]
    )
    on_page = await connection.fetch(
        f"SELECT DISTINCT chunk_id::int8 AS chunk FROM {toast} WHERE ctid >= $1::text::tid "
        "AND ctid < $2::text::tid",
        f"({block},0)",
        f"({block + 1},0)",
    )
    holders = await connection.fetch(
        "SELECT id FROM batches WHERE pg_column_toast_chunk_id(content)::int8 = ANY($1::int8[])",
        [one["chunk"] for one in on_page],
    )
    file = await connection.fetchval("SELECT pg_relation_filepath($1::text::regclass)", toast)
    page = Page(stage.folder / "cluster" / "postgres" / file, block, luck.randrange(64, PAGE))
    return page, [one["id"] for one in holders]
