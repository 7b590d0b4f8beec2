"""All SQL, one file per noun that is stored. Functions take a connection and never commit.

Two kinds of connection, by what is stored (ADR 0003):

* configuration (destinations, mappings, keys, sign-ins, audit) takes a SQLAlchemy `AsyncConnection`;
* the road (ledger, batches, lanes, attempts, exceptions, counts) takes an asyncpg `Connection`,
  since there a statement carries hundreds of events as arrays and its overhead is paid per flush.

The migrations are the only description of the schema: there is no metadata beside them that could drift.
A migration is checked by comparing the schema after *up* with the schema after *up, down, up*.
"""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:  # the road does without SQLAlchemy, and so does a worker: 20 MB
    from sqlalchemy.ext.asyncio import AsyncConnection

PipelineConnection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"


async def driver_of(connection: "AsyncConnection") -> asyncpg.Connection:
    """Return the driver's own connection, in the same transaction: for SQL of the road."""
    # Through SQLAlchemy first: it begins the transaction with its first statement.
    await connection.exec_driver_sql("SELECT 1")
    driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection  # type: ignore[assignment]
    return driver
