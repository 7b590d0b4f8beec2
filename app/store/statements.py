"""Run the statements of the configuration through SQLAlchemy, with named parameters."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def fetch(connection: AsyncConnection, statement: str, **values: object) -> Sequence[RowMapping]:
    """Return the rows."""
    return (await connection.execute(text(statement), values)).mappings().all()


async def fetch_one(connection: AsyncConnection, statement: str, **values: object) -> RowMapping | None:
    """Return the row, or None where there is none."""
    return (await connection.execute(text(statement), values)).mappings().one_or_none()


async def fetch_value(connection: AsyncConnection, statement: str, **values: object) -> Any:
    """Return the first column of the row, or None where there is no row."""
    return (await connection.execute(text(statement), values)).scalar_one_or_none()


async def execute(connection: AsyncConnection, statement: str, **values: object) -> int:
    """Return how many rows were changed."""
    return (await connection.execute(text(statement), values)).rowcount
