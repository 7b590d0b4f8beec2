"""OAuth states of sign-ins in progress. Each state is valid once and for ten minutes."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Column, LargeBinary, Text, delete, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId, OrganisationId
from app.store.rows import read_row
from app.store.statements import execute, fetch_one
from app.store.tables import INSTANT, columns_of, insert_own, table


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that a user began. `sealed_verifier` is the encrypted PKCE code verifier."""

    organisation: OrganisationId
    destination: DestinationId
    key: KeyId
    sealed_verifier: bytes


OAUTH_STATES = table(
    "oauth_states",
    PendingSignIn,
    Column("organisation_id", Text, nullable=False),
    Column("state_hash", LargeBinary, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("key_id", Text, nullable=False, key="key"),
    Column("code_verifier", LargeBinary, nullable=False, key="sealed_verifier"),
    Column("created_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("used_at", INSTANT),
    without=("organisation",),
)
_COLUMN = OAUTH_STATES.c
_COLUMNS = (_COLUMN.organisation_id.label("organisation"), *columns_of(OAUTH_STATES, PendingSignIn))


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
    await execute(connection, delete(OAUTH_STATES).where(_COLUMN.expires_at < func.now() - timedelta(days=1)))
    statement = insert_own(
        OAUTH_STATES,
        state_hash=state_hash,
        destination=destination,
        key=key,
        sealed_verifier=sealed_verifier,
        expires_at=func.now() + timedelta(minutes=10),
    )
    await execute(connection, statement)


async def spend(connection: AsyncConnection, state_hash: bytes) -> PendingSignIn | None:
    """Mark a state as used and return its sign-in, or return None if it is unknown, used or expired.

    Only one of several concurrent callers gets the sign-in. The caller commits before it exchanges the code,
    because Amazon may revoke a code that is exchanged twice.
    """
    is_valid = (_COLUMN.used_at.is_(None), _COLUMN.expires_at > func.now())
    statement = update(OAUTH_STATES).where(_COLUMN.state_hash == state_hash, *is_valid)
    spent = statement.values(used_at=func.now()).returning(*_COLUMNS)
    row = await fetch_one(connection, spent)
    return None if row is None else read_row(PendingSignIn, row)
