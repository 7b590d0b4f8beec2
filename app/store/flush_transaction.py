"""A flush: one transaction for many posts, in as few round trips as its promises allow."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.domain.ids import DestinationId
from app.store import PipelineConnection
from app.store.partitions import FLUSH_LOCK


@dataclass(frozen=True, slots=True)
class FlushPreconditions:
    """What holds for a flush: the ledger's generation, and the version of each destination that exists."""

    generation: int
    versions: dict[DestinationId, int]


@asynccontextmanager
async def transaction(connection: PipelineConnection) -> AsyncIterator[None]:
    """Hold a transaction and, shared, the flush lock; commit at the end, roll back when anything is raised.

    Rotating the ledger and archiving a destination take that lock alone: they wait for flushes, a flush for
    nobody else. Locking is a statement of its own, or the next one's snapshot could be older than the lock;
    it travels with BEGIN, in one message of two statements.
    """
    try:
        # Within: where the lock fails, the transaction has begun all the same.
        await connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock_shared({FLUSH_LOCK})")
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def preconditions(connection: PipelineConnection, ids: Collection[DestinationId]) -> FlushPreconditions:
    """Read what holds now for a flush that names these destinations. Must run under the flush lock."""
    rows = await connection.fetch(
        """
        SELECT g.generation, d.id, d.version
        FROM (SELECT max(generation) AS generation FROM ledger_generations) g
        LEFT JOIN destinations d ON d.id = ANY($1)
        """,
        list(ids),
    )
    versions = {DestinationId(row["id"]): row["version"] for row in rows if row["id"] is not None}
    return FlushPreconditions(rows[0]["generation"], versions)
