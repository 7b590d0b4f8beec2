"""Read the newest row of the audit chain over asyncpg, because workers run without SQLAlchemy."""

from app.domain.audit_chain import ChainHead
from app.store import PipelineConnection


async def read(connection: PipelineConnection) -> ChainHead | None:
    """Return the sequence and the hash of the newest row, or None for an empty audit."""
    row = await connection.fetchrow(
        "SELECT sequence, hash FROM audit WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1"
    )
    return None if row is None else ChainHead(row["sequence"], row["hash"])
