"""The newest sequence of the audit's chain, on the driver's own connection: workers load no SQLAlchemy."""

from app.domain.audit_chain import ChainHead
from app.store import PipelineConnection


async def read(connection: PipelineConnection) -> ChainHead | None:
    """Return the number and the hash of the newest sequence, or None for an audit without rows."""
    row = await connection.fetchrow(
        "SELECT sequence, hash FROM audit WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1"
    )
    return None if row is None else ChainHead(row["sequence"], row["hash"])
