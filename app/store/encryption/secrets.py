"""Secrets that the service generates for itself once and stores encrypted."""

from app.store import PipelineConnection, fetch_optional


async def keep_first(connection: PipelineConnection, name: str, sealed: bytes) -> bytes:
    """Store an encrypted secret, unless a secret with this name is stored. Return the stored secret."""
    await connection.execute(
        "INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, sealed
    )
    stored = await read(connection, name)
    assert stored is not None
    return stored


async def read(connection: PipelineConnection, name: str) -> bytes | None:
    """Return the encrypted secret with this name, or None."""
    return await fetch_optional(connection, bytes, "SELECT sealed FROM secrets WHERE name = $1", name)
