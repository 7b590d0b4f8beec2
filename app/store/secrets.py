"""Secrets that the service makes for itself, sealed; each is made once."""

from app.store import PipelineConnection


async def keep_first(connection: PipelineConnection, name: str, sealed: bytes) -> bytes:
    """Keep `sealed` under `name` unless something is kept there already; return what is kept."""
    await connection.execute(
        "INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, sealed
    )
    kept: bytes = await connection.fetchval("SELECT sealed FROM secrets WHERE name = $1", name)
    return kept
