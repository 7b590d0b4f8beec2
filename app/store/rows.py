"""Read rows of the pipeline as values of a type that has a field for each column."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol, TypeVar

import msgspec

from app.store import PipelineConnection

T = TypeVar("T")

read_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode
"""Read stored JSON. Numbers stay exact, so that a mapping does what the preview of its draft showed."""

MAX_BIGINT: Final = 2**63 - 1  # an id above all others: the start of the first page, newest first


class Row(Protocol):
    """A row of asyncpg or of SQLAlchemy."""

    def keys(self) -> Iterable[Any]: ...

    def __getitem__(self, name: Any, /) -> Any: ...


def read_row(type_: type[T], row: Row, **more: object) -> T:
    """Return a value of this type from the columns of a row and the fields in `more`.

    Texts become enums, and lists become tuples. Columns without a field are left out.
    """
    return msgspec.convert({**row, **more}, type_)


async def fetch_rows(
    connection: PipelineConnection, type_: type[T], statement: str, *arguments: object
) -> list[T]:
    """Return the rows of a statement as values of this type."""
    return [read_row(type_, row) for row in await connection.fetch(statement, *arguments)]


async def fetch_row(
    connection: PipelineConnection, type_: type[T], statement: str, *arguments: object
) -> T | None:
    """Return the first row of a statement as a value of this type, or None if it has no row."""
    row = await connection.fetchrow(statement, *arguments)
    return None if row is None else read_row(type_, row)


async def fetch_only(connection: PipelineConnection, type_: type[T], statement: str, *arguments: object) -> T:
    """Return the row of a statement that always has one, as a value of this type."""
    row = await fetch_row(connection, type_, statement, *arguments)
    assert row is not None
    return row


async def fetch_scalar(connection: PipelineConnection, _: type[T], statement: str, *arguments: object) -> T:
    """Return the first column of a statement that always has a row, and a value of this type in it."""
    value: T = await connection.fetchval(statement, *arguments)
    return value


async def fetch_optional(
    connection: PipelineConnection, _: type[T], statement: str, *arguments: object
) -> T | None:
    """Return the first column of the first row of a statement, or None if it has no row or NULL."""
    value: T | None = await connection.fetchval(statement, *arguments)
    return value


def columns_of(rows: Sequence[object], *names: str) -> list[list[Any]]:
    """Return the values of each of these attributes, as parameters for `unnest`."""
    return [[getattr(row, name) for row in rows] for name in names]
