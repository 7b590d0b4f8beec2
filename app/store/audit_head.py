"""The newest link of the audit's chain, on the driver's own connection: workers load no SQLAlchemy."""

from app.domain.audit_chain import ChainHead
from app.store import PipelineConnection


async def read(connection: PipelineConnection) -> ChainHead | None:
    """Return the number and the hash of the newest link, or None for an audit without rows."""
    row = await connection.fetchrow(
        "SELECT link, hash FROM audit WHERE link IS NOT NULL ORDER BY link DESC LIMIT 1"
    )
    return None if row is None else ChainHead(row["link"], row["hash"])
