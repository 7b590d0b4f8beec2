"""Read the newest row of the audit chain over asyncpg, because workers run without SQLAlchemy."""

from app.domain.audit_chain import ChainHead
from app.store import PipelineConnection, fetch_row


async def read(connection: PipelineConnection) -> ChainHead | None:
    """Return the sequence and the hash of the newest row, or None for an empty audit."""
    newest = "SELECT sequence AS rows, hash FROM audit WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1"
    return await fetch_row(connection, ChainHead, newest)
