"""Run statements of the configuration through SQLAlchemy.

A statement is made of tables, or is SQL with numbered parameters (`arguments`).
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import Row

Statement: TypeAlias = str | Executable
T = TypeVar("T")


async def _run(
    connection: AsyncConnection, statement: Statement, arguments: tuple[object, ...]
) -> CursorResult[Any]:
    if isinstance(statement, str):
        return await connection.exec_driver_sql(statement, arguments)
    assert not arguments
    return await connection.execute(statement)


async def fetch(
    connection: AsyncConnection, statement: Statement, *arguments: object
) -> list[Mapping[str, Any]]:
    """Return all rows of a statement, each with its columns by name."""
    result = await _run(connection, statement, arguments)
    # SQLAlchemy's names of columns are a subclass of `str`, which msgspec refuses.
    names = [str(name) for name in result.keys()]  # noqa: SIM118 - it is no dictionary
    return [dict(zip(names, row, strict=True)) for row in result]


async def fetch_value(connection: AsyncConnection, statement: Statement, *arguments: object) -> Any:
    """Return the first column of the only row, or None if there is no row."""
    return (await _run(connection, statement, arguments)).scalar_one_or_none()


async def execute(connection: AsyncConnection, statement: Statement, *arguments: object) -> int:
    """Run a statement and return the number of rows that it changed."""
    return (await _run(connection, statement, arguments)).rowcount


async def read_all(
    connection: AsyncConnection, read: Callable[[Row], T], statement: Statement, *arguments: object
) -> list[T]:
    """Return all rows of a statement, each converted by `read`."""
    return [read(row) for row in await fetch(connection, statement, *arguments)]


async def read_one(
    connection: AsyncConnection, read: Callable[[Row], T], statement: Statement, *arguments: object
) -> T | None:
    """Return the only row of a statement, converted by `read`, or None if it has no row."""
    rows = await read_all(connection, read, statement, *arguments)
    assert len(rows) <= 1
    return rows[0] if rows else None


async def read_written(connection: AsyncConnection, read: Callable[[Row], T], statement: Statement) -> T:
    """Return the row that a statement writes in any case, converted by `read`."""
    [row] = await read_all(connection, read, statement)
    return row
