"""All SQL, one file or folder per stored noun. Functions take a connection and never commit.

Two kinds of connection (ADR 0003):

* configuration (destinations, mappings, keys, sign-ins, audit) uses a SQLAlchemy `AsyncConnection`;
* the event pipeline (ledger, batches, lanes, attempts, exceptions, counts) uses an asyncpg `Connection`:
  its statements carry hundreds of events as arrays, and their overhead delays every flush.

A statement of more than a line stands in the `.sql` file beside its module (`sql.py`). The migrations
describe the schema. Tables of the configuration (`tables.py`) follow from the types of their rows; a test
compares them with the schema.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

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
