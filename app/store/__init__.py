"""All SQL, one file or folder per stored noun. Functions take a connection and never commit.

Two kinds of connection (ADR 0003):

* configuration (destinations, mappings, keys, sign-ins, audit) uses a SQLAlchemy `AsyncConnection`;
* the event pipeline (ledger, batches, lanes, attempts, exceptions, counts) uses an asyncpg `Connection`:
  its statements carry hundreds of events as arrays, and their overhead delays every flush.

A statement of more than a line stands below a line `-- name: …` in the `.sql` file beside its module, where
an editor, `psql` and EXPLAIN can read it without Python. Only a statement that is composed of parts, such as
the conditions of a filter, stands in its module. The migrations describe the schema. Tables of the
configuration (`tables.py`) follow from the types of their rows; a test compares them with the schema.
"""

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy
from pydantic import Field

if TYPE_CHECKING:  # workers run without SQLAlchemy, which takes 20 MB
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

PipelineConnection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"


async def driver_of(connection: "AsyncConnection") -> asyncpg.Connection:
    """Return the asyncpg connection below a SQLAlchemy connection; both share one transaction."""
    # SQLAlchemy begins the transaction with its first statement.
    await connection.exec_driver_sql("SELECT 1")
    driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection  # type: ignore[assignment]
    return driver


@asynccontextmanager
async def transaction(engine: "AsyncEngine") -> "AsyncIterator[tuple[AsyncConnection, PipelineConnection]]":
    """Begin a transaction; yield its connection for the configuration, and the one for the pipeline."""
    async with engine.begin() as connection:
        yield connection, await driver_of(connection)


_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read_sql(module: str) -> Mapping[str, str]:
    """Return the statements of a module by name. `module` is its `__file__`.

    The file of a package has the name of its folder.
    """
    path = Path(module)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    _, *parts = _NAME.split(path.with_name(f"{stem}.sql").read_text("utf-8"))
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


T = TypeVar("T")

INTERNAL: Final = Field(exclude=True)
"""A member that no response has."""

read_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode
"""Read stored JSON. Numbers stay exact, so that a mapping does what the preview of its draft showed."""

MAX_BIGINT: Final = 2**63 - 1  # an id above all others: the start of the first page, newest first


class Row(Protocol):
    """A row of asyncpg or of SQLAlchemy."""

    def keys(self) -> Iterable[Any]: ...

    def __getitem__(self, name: Any, /) -> Any: ...


def read_row(type_: type[T], row: Row, json: Sequence[str] = (), **more: object) -> T:
    """Return a value of this type from the columns of a row and the fields in `more`.

    Texts become enums, and lists become tuples. `json` names columns with JSON as text. Columns without a
    field are left out.
    """
    decoded = {name: read_json(row[name] or "null") for name in json}
    return msgspec.convert({**row, **decoded, **more}, type_)


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
    [row] = await fetch_rows(connection, type_, statement, *arguments)
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


async def fetch_map(connection: PipelineConnection, statement: str, *arguments: object) -> dict[Any, Any]:
    """Return the second column of the rows of a statement by the first column."""
    return {row[0]: row[1] for row in await connection.fetch(statement, *arguments)}


async def execute(connection: PipelineConnection, statement: str, *arguments: object) -> int:
    """Run a statement and return the number of rows that it changed."""
    status: str = await connection.execute(statement, *arguments)
    return int(status.rpartition(" ")[2])


def columns_of(rows: Sequence[object], *names: str) -> list[list[Any]]:
    """Return the values of each of these attributes, as parameters for `unnest`."""
    return [[getattr(row, name) for row in rows] for name in names]


def transposed(rows: Collection[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of tuples with `width` members, as parameters for `unnest`."""
    return [[row[place] for row in rows] for place in range(width)]
