"""Run the statements of the configuration through SQLAlchemy, with named parameters."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def fetch(connection: AsyncConnection, statement: str, **values: object) -> Sequence[RowMapping]:
    """Return all rows of a statement."""
    return (await connection.execute(text(statement), values)).mappings().all()


async def fetch_one(connection: AsyncConnection, statement: str, **values: object) -> RowMapping | None:
    """Return the only row of a statement, or None if it has no row."""
    return (await connection.execute(text(statement), values)).mappings().one_or_none()


async def fetch_value(connection: AsyncConnection, statement: str, **values: object) -> Any:
    """Return the first column of the only row, or None if there is no row."""
    return (await connection.execute(text(statement), values)).scalar_one_or_none()


async def execute(connection: AsyncConnection, statement: str, **values: object) -> int:
    """Run a statement and return the number of rows that it changed."""
    return (await connection.execute(text(statement), values)).rowcount
