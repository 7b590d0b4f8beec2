"""Sign-ins: OAuth states of those in progress, and the encrypted tokens and the account of each destination.

Each state is valid once and for ten minutes.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId, OrganisationId
from app.store import read_row, read_sql
from app.store.statements import execute, fetch_value, read_one

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that a user began. `sealed_verifier` is the encrypted PKCE code verifier."""

    organisation: OrganisationId
    destination: DestinationId
    key: KeyId
    sealed_verifier: bytes


async def begin(
    connection: AsyncConnection,
    *,
    state_hash: bytes,
    destination: DestinationId,
    key: KeyId,
    sealed_verifier: bytes,
) -> None:
    """Write a state that is valid for ten minutes, and delete states that expired a day ago."""
    await execute(connection, SQL["delete_expired"])
    await execute(connection, SQL["begin"], state_hash, destination, key, sealed_verifier)


async def spend(connection: AsyncConnection, state_hash: bytes) -> PendingSignIn | None:
    """Mark a state as used and return its sign-in, or return None if it is unknown, used or expired.

    Only one of several concurrent callers gets the sign-in. The caller commits before it exchanges the code,
    because Amazon may revoke a code that is exchanged twice.
    """
    return await read_one(connection, partial(read_row, PendingSignIn), SQL["spend"], state_hash)


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
    arguments = (destination, sealed_refresh, sealed_access, lifetime_s, connected_by)
    await execute(connection, SQL["store_connection"], *arguments)


async def access_token(connection: AsyncConnection, destination: DestinationId) -> bytes | None:
    """Return the encrypted access token of a destination, or None if no token is valid for another minute."""
    token: bytes | None = await fetch_value(connection, SQL["access_token"], destination)
    return token


async def delete_tokens(connection: AsyncConnection, destination: DestinationId) -> None:
    """Delete the tokens of a destination."""
    statement = "DELETE FROM sign_ins WHERE organisation_id = acting_organisation() AND destination = $1"
    await execute(connection, statement, destination)


@dataclass(frozen=True, slots=True)
class AmazonAccount:
    """The advertiser as Amazon reported it to the signed-in user. A field that Amazon left out is None."""

    name: str | None
    currency: str | None
    seen_at: datetime


async def save_account(
    connection: AsyncConnection, destination: DestinationId, *, name: str | None, currency: str | None
) -> None:
    """Store the name and currency that Amazon reported, in place of earlier values."""
    await execute(connection, SQL["save_account"], destination, name, currency)


async def find_account(connection: AsyncConnection, destination: str) -> AmazonAccount | None:
    """Return what Amazon last reported about a destination's account, or None before the first sign-in."""
    return await read_one(connection, partial(read_row, AmazonAccount), SQL["find_account"], destination)
