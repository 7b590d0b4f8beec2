"""Run statements of the configuration through SQLAlchemy: on its tables, or SQL with named parameters."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy import CursorResult, Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

Statement: TypeAlias = str | Executable


async def _run(
    connection: AsyncConnection, statement: Statement, values: dict[str, object]
) -> CursorResult[Any]:
    executable = text(statement) if isinstance(statement, str) else statement
    return await connection.execute(executable, values or None)


async def fetch(
    connection: AsyncConnection, statement: Statement, **values: object
) -> list[Mapping[str, Any]]:
    """Return all rows of a statement, each with its columns by name."""
    result = await _run(connection, statement, values)
    # SQLAlchemy's names of columns are a subclass of `str`, which msgspec refuses.
    names = [str(name) for name in result.keys()]  # noqa: SIM118 - it is no dictionary
    return [dict(zip(names, row, strict=True)) for row in result]


async def fetch_one(
    connection: AsyncConnection, statement: Statement, **values: object
) -> Mapping[str, Any] | None:
    """Return the only row of a statement, or None if it has no row."""
    rows = await fetch(connection, statement, **values)
    assert len(rows) <= 1
    return rows[0] if rows else None


async def fetch_value(connection: AsyncConnection, statement: Statement, **values: object) -> Any:
    """Return the first column of the only row, or None if there is no row."""
    return (await _run(connection, statement, values)).scalar_one_or_none()


async def execute(connection: AsyncConnection, statement: Statement, **values: object) -> int:
    """Run a statement and return the number of rows that it changed."""
    return (await _run(connection, statement, values)).rowcount
