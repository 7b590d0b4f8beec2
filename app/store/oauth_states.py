"""States of sign-ins under way: each works once, for ten minutes, for one destination and one key."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that has come back: what it was begun for, and the sealed verifier that its code needs."""

    destination: DestinationId
    key: KeyId
    sealed_verifier: bytes


def verifier_place(state_hash: bytes) -> str:
    """Name where a code verifier is kept, for sealing."""
    return f"oauth_states.code_verifier/{state_hash.hex()}"


async def begin(
    connection: AsyncConnection,
    *,
    state_hash: bytes,
    destination: DestinationId,
    key: KeyId,
    sealed_verifier: bytes,
) -> None:
    """Write a state good for ten minutes on the database's clock, and forget those of days past."""
    await connection.execute(text("DELETE FROM oauth_states WHERE expires_at < now() - interval '1 day'"))
    await connection.execute(
        text(
            "INSERT INTO oauth_states (state_hash, destination, key_id, code_verifier, expires_at) "
            "VALUES (:state_hash, :destination, :key, :verifier, now() + interval '10 minutes')"
        ),
        {"state_hash": state_hash, "destination": destination, "key": key, "verifier": sealed_verifier},
    )


async def spend(connection: AsyncConnection, state_hash: bytes) -> PendingSignIn | None:
    """Spend a state, or return None when it is unknown, spent or expired.

    Commit before the code is exchanged: of callers that come at once, one alone gets the row, and
    a code that is asked for twice may be revoked at Amazon.
    """
    row = (
        await connection.execute(
            text(
                "UPDATE oauth_states SET used_at = now() "
                "WHERE state_hash = :state_hash AND used_at IS NULL AND expires_at > now() "
                "RETURNING destination, key_id, code_verifier"
            ),
            {"state_hash": state_hash},
        )
    ).one_or_none()
    if row is None:
        return None
    return PendingSignIn(DestinationId(row.destination), KeyId(row.key_id), bytes(row.code_verifier))
