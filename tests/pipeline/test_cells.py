"""A second database of the service, set up as docs/cells.md says: own ids, the secrets of the first."""

import asyncio
import re
from pathlib import Path
from typing import Final

import asyncpg

from app.store.database import migrate
from tests.pipeline.world import World, event, make_world

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "cells.md"
CELL: Final = 127  # the last one
IDS: Final = """
    SELECT sequencename AS name, data_type::text, last_value FROM pg_sequences
    WHERE schemaname = current_schema() AND last_value IS NOT NULL
"""


async def test_a_new_cell_has_ids_of_its_own_and_recognises_the_first_ones_events(
    world: World, empty_database_url: str
) -> None:
    """Events pass through it with the highest ids it can have, and digests of contents are the same."""
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    owner = await asyncpg.connect(empty_database_url.replace("+asyncpg", "", 1))
    [block] = re.findall(r"(?ms)^ *```sql\n(.*?)^ *```", PAGE.read_text())
    await owner.execute(block.replace("cell integer := 1;", f"cell integer := {CELL};"))
    await owner.executemany("INSERT INTO secrets VALUES ($1, $2)", await world.fetch("SELECT * FROM secrets"))
    async with make_world(empty_database_url) as cell:
        assert cell.resources.pepper == world.resources.pepper
        dst = await cell.destination()
        events = [event(number) for number in range(30)]
        await cell.post(dst, *events)
        await cell.work_until(dst, delivered=30)
        assert {result.status for result in await cell.post(dst, *events)} == {"duplicate"}
        for row in await owner.fetch(IDS):
            width = 44 if row["data_type"] == "bigint" else 24
            assert row["last_value"] >> width == CELL, row["name"]
            # JSON readers keep integers up to 2^53 exactly.
            assert row["last_value"] + (1 << width) <= (2**53 if width == 44 else 2**31), row["name"]
    first = {row["name"]: row["last_value"] for row in await world.fetch(IDS)}
    assert not any(value >> 44 for value in first.values())
    await owner.close()
