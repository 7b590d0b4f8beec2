"""The tables that the configuration's statements are made of are the tables that the migrations make."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, MetaData, Table, Text
from sqlalchemy.ext.asyncio import AsyncEngine

import app.store.access.keys
import app.store.destinations.destinations
import app.store.destinations.sign_ins
import app.store.mappings.event_names
import app.store.organisations.organisations  # noqa: F401 - each module declares its tables
from app.store.tables import METADATA


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    """Return what alembic would change in the declared tables: columns, their types, and NOT NULL.

    Only the migrations declare indexes, constraints and defaults, because no statement is made of them.
    """

    def is_compared(_: Any, name: str | None, kind: str, __: bool, ___: Any) -> bool:
        return kind == "column" or (kind == "table" and name in metadata.tables)

    settings = {"compare_type": True, "include_object": is_compared}
    return list(compare_metadata(MigrationContext.configure(connection, opts=settings), metadata))


async def test_alembic_finds_no_difference(engine: AsyncEngine) -> None:
    """Neither a column too many nor one too few, nor another type."""
    assert set(METADATA.tables) == {
        "destinations",
        "api_keys",
        "organisations",
        "event_names",
        "amazon_accounts",
        "oauth_states",
    }
    async with engine.connect() as connection:
        assert await connection.run_sync(differences, METADATA) == []


@pytest.mark.parametrize(
    "columns",
    [
        (Column("id", Text, primary_key=True), Column("name", Text, nullable=False)),
        (Column("id", Text, primary_key=True), Column("name", Text), Column("color", Text)),
    ],
)
async def test_a_difference_is_found(engine: AsyncEngine, columns: tuple[Column[Any], ...]) -> None:
    """A missing column, and one that the migrations do not make."""
    metadata = MetaData()
    Table("organisations", metadata, *columns)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences, metadata)
