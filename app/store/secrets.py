"""Sealed secrets that the service generates for itself, each once."""

from app.store import PipelineConnection


async def keep_first(connection: PipelineConnection, name: str, sealed: bytes) -> bytes:
    """Store `sealed` under `name` unless there is a value already; return the stored value."""
    await connection.execute(
        "INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, sealed
    )
    stored = await read(connection, name)
    assert stored is not None
    return stored


async def read(connection: PipelineConnection, name: str) -> bytes | None:
    """Return the value that is stored under a name."""
    sealed: bytes | None = await connection.fetchval("SELECT sealed FROM secrets WHERE name = $1", name)
    return sealed
