"""Read around damaged pages of the database, and find the batches that cannot be read.

One unreadable page fails a complete statement. Readers therefore first try one statement for many batches.
Only if it meets damage do they read batch by batch.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Final

import asyncpg

from app.domain.batch import read_shapes
from app.domain.ids import BatchId, DestinationNumber
from app.store import PipelineConnection, fetch_map, read_sql

SQL: Final = read_sql(__file__)

# I/O error, and missing file. Corruption and internal errors have codes of class XX.
_FILE_ERRORS = ("58030", "58P01")
MISSING = "missing"


def is_damage(error: BaseException) -> bool:
    """Return whether a statement failed because stored data cannot be read."""
    # SQLAlchemy wraps the driver's error.
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    if isinstance(state, str):
        return state.startswith("XX") or state in _FILE_ERRORS
    # The driver cannot represent the value: a time beyond the year 9999, text that is not UTF-8.
    return isinstance(error, OverflowError | UnicodeDecodeError)


def name_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error, or its class name if it has none."""
    return getattr(error, "sqlstate", None) or type(error).__name__


@asynccontextmanager
async def savepoint(connection: PipelineConnection) -> AsyncIterator[None]:
    """If a transaction is open, keep it usable when a statement in the block fails."""
    if connection.is_in_transaction():
        async with connection.transaction():
            yield
    else:
        yield


class tolerated:
    """Leave the block, and continue after it, if a statement in it fails because of damage.

    An open transaction stays usable.
    """

    def __init__(self, connection: PipelineConnection) -> None:
        self._savepoint = savepoint(connection)

    async def __aenter__(self) -> None:
        await self._savepoint.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        await self._savepoint.__aexit__(kind, error, traceback)
        return error is not None and is_damage(error)


@dataclass(frozen=True, slots=True, repr=False)
class StoredBatchPart:
    """The stored values of one batch. A value that cannot be read is None; `problem` is then the reason."""

    content: bytes | None
    shapes: bytes | None
    problem: str | None = None


async def read_singly(
    connection: PipelineConnection,
    places: Sequence[tuple[BatchId, date]],
    destination: DestinationNumber | None = None,
) -> dict[BatchId, StoredBatchPart]:
    """Read the values of these batches with one statement per value, and return an entry for each batch.

    `places` gives each batch with its day. A batch of another `destination` counts as missing.
    """
    found = {}
    for batch, day in places:
        shapes, shapes_problem = await _value(connection, "shapes", batch, day, destination)
        content, problem = await _value(connection, "content", batch, day, destination)
        found[batch] = StoredBatchPart(content, shapes, problem or shapes_problem)
    return found


async def _value(
    connection: PipelineConnection, column: str, batch: BatchId, day: date, of: DestinationNumber | None
) -> tuple[bytes | None, str | None]:
    """Return (value, None), or (None, the reason why the value cannot be read)."""
    try:
        async with savepoint(connection):
            value = await connection.fetchval(SQL["value"], batch, day, of, column)
    except Exception as error:
        if not is_damage(error):
            raise
        return None, name_of(error)
    return value, MISSING if value is None else None


async def read_shapes_of(
    connection: PipelineConnection, days: Mapping[BatchId, date]
) -> dict[BatchId, bytes | None]:
    """Return the shapes of these batches by id. `days` gives the day of each batch.

    Shapes on a damaged page are None. A batch without a row has no entry.
    """
    async with tolerated(connection):
        return await fetch_map(connection, SQL["read_shapes_of"], list(days), list(days.values()))
    found = {}
    for batch, day in days.items():
        shapes, problem = await _value(connection, "shapes", batch, day, None)
        if problem != MISSING:
            found[batch] = shapes
    return found


@dataclass(frozen=True, slots=True)
class RangeRows:
    """The rows of a range of batch ids. `unreadable` has the error of each id that cannot be read."""

    rows: list[asyncpg.Record]
    unreadable: dict[BatchId, str]


async def read_range(
    connection: PipelineConnection, statement: str, *arguments: object, first: int, last: int
) -> RangeRows:
    """Return the rows of a statement for the batch ids `first` to `last`, without ids that cannot be read.

    The two ids are the last parameters of the statement. On damage, the range is halved until each unreadable
    id is found.
    """
    async with tolerated(connection):
        return RangeRows(await connection.fetch(statement, *arguments, first, last), {})
    async with connection.transaction():
        # A sequential scan would meet the damaged page for every id.
        await connection.execute("SET LOCAL enable_seqscan = off")
        return await _halved(connection, statement, arguments, first, last)


async def _halved(
    connection: PipelineConnection, statement: str, arguments: tuple[object, ...], first: int, last: int
) -> RangeRows:
    try:
        async with savepoint(connection):
            return RangeRows(await connection.fetch(statement, *arguments, first, last), {})
    except Exception as error:
        if not is_damage(error):
            raise
        if first == last:
            return RangeRows([], {BatchId(first): name_of(error)})
    middle = (first + last) // 2
    lower = await _halved(connection, statement, arguments, first, middle)
    upper = await _halved(connection, statement, arguments, middle + 1, last)
    return RangeRows(lower.rows + upper.rows, lower.unreadable | upper.unreadable)


@dataclass(frozen=True, slots=True)
class DamagedBatch:
    """A batch that cannot be read, with the reason: a code, or the SQLSTATE of the error.

    'missing': the batch has a state and no content. 'state_missing': it has content and no state. 'shapes':
    its event metadata is invalid. 'not_opened': its content or its data key cannot be decrypted.
    """

    batch: BatchId
    reason: str


Opens = Callable[[BatchId, bytes, bytes], object | None]


async def newest_batch(connection: PipelineConnection) -> BatchId:
    """Return the last reserved batch id. It bounds a scan even if an index cannot be read."""
    return BatchId(await connection.fetchval("SELECT last_value FROM batch_ids"))


async def check(
    connection: PipelineConnection, *, first: int = 1, limit: int = 100, opens: Opens | None = None
) -> tuple[list[DamagedBatch], int]:
    """Read every stored batch with an id of `first` or more, in steps of `limit` ids.

    Returns the damaged batches and the number of batches read. `opens` decrypts a content with its encrypted
    data key, or returns None. Without `opens`, contents are only read. Call it outside a transaction, so that
    no transaction stays open between two steps.
    """
    damaged: list[DamagedBatch] = []
    checked = 0
    last = await newest_batch(connection)
    while first <= last:
        to = min(first + limit - 1, last)
        states = await read_range(connection, SQL["states"], first=first, last=to)
        alone = await read_range(connection, SQL["without_state"], first=first, last=to)
        found = states.unreadable | alone.unreadable
        found |= {row["id"]: "state_missing" for row in alone.rows if row["id"] not in found}
        found |= {row["id"]: why for row in states.rows if (why := _reason(row, opens)) is not None}
        damaged += [DamagedBatch(BatchId(id_), found[id_]) for id_ in sorted(found)]
        checked += len({row["id"] for row in states.rows} | set(found))
        first = to + 1
    return damaged, checked


def _reason(row: asyncpg.Record, opens: Opens | None) -> str | None:
    if row["content"] is None:
        return MISSING
    if read_shapes(row["shapes"]) is None:
        return "shapes"
    # Without a data key the content was deleted as intended.
    if opens is None or row["data_key"] is None:
        return None
    return "not_opened" if opens(row["id"], row["data_key"], row["content"]) is None else None
