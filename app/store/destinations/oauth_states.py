"""OAuth states of sign-ins in progress. Each state is valid once and for ten minutes."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId, OrganisationId
from app.store.rows import read_row
from app.store.statements import execute, fetch_one


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that a user began. `sealed_verifier` is the encrypted PKCE code verifier."""

    organisation: OrganisationId
    destination: DestinationId
    key: KeyId
    sealed_verifier: bytes


def verifier_place(state_hash: bytes) -> str:
    """Return the context to which the encryption of a code verifier is bound."""
    return f"oauth_states.code_verifier/{state_hash.hex()}"


async def begin(
    connection: AsyncConnection,
    *,
    state_hash: bytes,
    destination: DestinationId,
    key: KeyId,
    sealed_verifier: bytes,
) -> None:
    """Write a state that is valid for ten minutes, and delete states that expired a day ago."""
    await execute(connection, "DELETE FROM oauth_states WHERE expires_at < now() - interval '1 day'")
    await execute(
        connection,
        "INSERT INTO oauth_states (organisation_id, state_hash, destination, key_id, "
        "code_verifier, expires_at) "
        "VALUES (acting_organisation(), :state_hash, :destination, :key, :verifier, now() + "
        "interval '10 minutes')",
        state_hash=state_hash,
        destination=destination,
        key=key,
        verifier=sealed_verifier,
    )


async def spend(connection: AsyncConnection, state_hash: bytes) -> PendingSignIn | None:
    """Mark a state as used and return its sign-in, or return None if it is unknown, used or expired.

    Only one of several concurrent callers gets the sign-in. The caller commits before it exchanges the code,
    because Amazon may revoke a code that is exchanged twice.
    """
    row = await fetch_one(
        connection,
        "UPDATE oauth_states SET used_at = now() "
        "WHERE state_hash = :state_hash AND used_at IS NULL AND expires_at > now() "
        "RETURNING organisation_id AS organisation, destination, key_id AS key, "
        "code_verifier AS sealed_verifier",
        state_hash=state_hash,
    )
    return None if row is None else read_row(PendingSignIn, row)
