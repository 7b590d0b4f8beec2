"""Sign-ins: the encrypted tokens of each connected destination."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId
from app.store.statements import execute, fetch_value


async def store_connection(
    connection: AsyncConnection,
    destination: DestinationId,
    *,
    sealed_refresh: bytes,
    sealed_access: bytes,
    lifetime_s: int,
    connected_by: str,
) -> None:
    """Store the encrypted tokens of a completed sign-in in place of earlier tokens.

    The generation grows, so that a refresh that began with the old tokens cannot overwrite the new ones. The
    first generation is the number of seconds since 1970, so that it also grows when a destination is
    disconnected and connected again.
    """
    await execute(
        connection,
        "INSERT INTO sign_ins AS s (organisation_id, destination, refresh_token, access_token, "
        "access_until, "
        "issued_at, lifetime_s, generation, connected_by) VALUES (acting_organisation(), "
        ":destination, :refresh, :access, "
        "now() + make_interval(secs => CAST(:lifetime_s AS integer)), now(), "
        "CAST(:lifetime_s AS integer), CAST(extract(epoch FROM now()) AS bigint), :by) "
        "ON CONFLICT (destination) DO UPDATE SET refresh_token = excluded.refresh_token, "
        "access_token = excluded.access_token, access_until = excluded.access_until, "
        "issued_at = excluded.issued_at, lifetime_s = excluded.lifetime_s, "
        "generation = greatest(s.generation + 1, excluded.generation), "
        "forced_at = NULL, refresh_owner = NULL, refresh_until = NULL, "
        "connected_at = now(), connected_by = excluded.connected_by",
        destination=destination,
        refresh=sealed_refresh,
        access=sealed_access,
        lifetime_s=lifetime_s,
        by=connected_by,
    )


async def access_token(connection: AsyncConnection, destination: DestinationId) -> bytes | None:
    """Return the encrypted access token of a destination, or None if no token is valid for another minute."""
    token: bytes | None = await fetch_value(
        connection,
        "SELECT access_token FROM sign_ins WHERE organisation_id = acting_organisation() "
        "AND destination = :destination "
        "AND access_token IS NOT NULL AND access_until > now() + interval '1 minute'",
        destination=destination,
    )
    return token


async def delete(connection: AsyncConnection, destination: DestinationId) -> None:
    """Delete the tokens of a destination."""
    await execute(
        connection,
        "DELETE FROM sign_ins WHERE organisation_id = acting_organisation() AND destination = :id",
        id=destination,
    )
