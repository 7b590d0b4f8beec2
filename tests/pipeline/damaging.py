"""Damage to what is stored, done to a real database: each function spoils one batch and nothing beside it."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

Damage = Callable[[asyncpg.Connection, int], Awaitable[Any]]


def spoiled(statement: str) -> Damage:
    """A damage that one statement does to the batch in $1."""

    async def do(connection: asyncpg.Connection, batch: int) -> None:
        status = await connection.execute(statement, batch)
        assert status.endswith(" 1"), status

    return do


def flipped(table: str, column: str, key: str = "batch") -> Damage:
    """A bit in the middle of a value."""
    where = f"WHERE {key} = $1"
    return spoiled(
        f"UPDATE {table} SET {column} = set_bit({column}, length({column}) * 4, "
        f"1 - get_bit({column}, length({column}) * 4)) {where}"
    )


async def lose_toasted(connection: asyncpg.Connection, batch: int) -> None:
    """Take the chunks of a large value away: reading it raises XX001, as from a damaged page.

    Real damage: Postgres itself misses the chunks. Only a batch of many events is stored in chunks, and those
    of all batches of its day are taken. A catalogue row is changed for a moment, or no role could do it.
    """
    toast = await connection.fetchrow(
        "SELECT c.reltoastrelid AS id, c.reltoastrelid::regclass::text AS name "
        "FROM batches p JOIN pg_class c ON c.oid = p.tableoid WHERE p.id = $1",
        batch,
    )
    assert toast is not None
    async with connection.transaction():
        await connection.execute("SET LOCAL allow_system_table_mods = on")
        await connection.execute("UPDATE pg_class SET relkind = 'r' WHERE oid = $1", toast["id"])
        await connection.execute(f"TRUNCATE {toast['name']}")
        await connection.execute("UPDATE pg_class SET relkind = 't' WHERE oid = $1", toast["id"])
    with pytest.raises(asyncpg.DataCorruptedError):
        await connection.fetchval("SELECT length(content || '') FROM batches WHERE id = $1", batch)


async def raise_on_update(connection: asyncpg.Connection, batch: int) -> None:
    """Let every update of the batch's state fail with XX001, as where its row lies on a damaged page."""
    await connection.execute(
        f"""
        CREATE OR REPLACE FUNCTION damaged_page() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = 'XX001'; END $$;
        CREATE TRIGGER damaged_page BEFORE UPDATE ON batch_states FOR EACH ROW
          WHEN (OLD.batch = {batch:d}) EXECUTE FUNCTION damaged_page()
        """
    )


async def heal_updates(connection: asyncpg.Connection) -> None:
    """Take the trigger of `raise_on_update` away."""
    await connection.execute("DROP TRIGGER damaged_page ON batch_states")


UNREADABLE: dict[str, Damage] = {
    "content: a flipped bit": flipped("batches", "content", "id"),
    "content: cut short": spoiled("UPDATE batches SET content = substring(content FOR 20) WHERE id = $1"),
    "content: empty": spoiled("UPDATE batches SET content = '' WHERE id = $1"),
    "data key: a flipped bit": flipped("batch_states", "data_key"),
    "data key: cut short": spoiled(
        "UPDATE batch_states SET data_key = substring(data_key FOR 5) WHERE batch = $1"
    ),
    "data key: empty": spoiled("UPDATE batch_states SET data_key = '' WHERE batch = $1"),
    "batches: row missing": spoiled("DELETE FROM batches WHERE id = $1"),
    "number of events: one too many": spoiled("UPDATE batch_states SET events = events + 1 WHERE batch = $1"),
    "content and shapes: both empty": spoiled("UPDATE batches SET content = '', shapes = '' WHERE id = $1"),
    "page: chunks missing (XX001)": lose_toasted,
}
"""What makes exactly that batch unreadable."""

HARMLESS: dict[str, Damage] = {
    "shapes: a flipped bit": flipped("batches", "shapes", "id"),
    "shapes: cut short": spoiled("UPDATE batches SET shapes = substring(shapes FOR 5) WHERE id = $1"),
    "shapes: empty": spoiled("UPDATE batches SET shapes = '' WHERE id = $1"),
    "size: far too large": spoiled("UPDATE batch_states SET bytes = 2000000000 WHERE batch = $1"),
}
"""What delivery does without: the batch is sent all the same."""
