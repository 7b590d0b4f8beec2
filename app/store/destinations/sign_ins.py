"""Sign-ins: OAuth states of those in progress, and the encrypted tokens and the account of each destination.

Each state is valid once and for ten minutes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Column, LargeBinary, Text, delete, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId, OrganisationId
from app.store import read_row, read_sql
from app.store.statements import execute, fetch_value, read_one
from app.store.tables import INSTANT, columns_of, insert_own, select_own, table

SQL: Final = read_sql(__file__)


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
    Column("state_hash", LargeBinary, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("key_id", Text, nullable=False, key="key"),
    Column("code_verifier", LargeBinary, nullable=False, key="sealed_verifier"),
    Column("created_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("used_at", INSTANT),
)
_COLUMN = OAUTH_STATES.c
_COLUMNS = columns_of(OAUTH_STATES, PendingSignIn)


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
    return await read_one(connection, partial(read_row, PendingSignIn), spent)


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


AMAZON_ACCOUNTS = table("amazon_accounts", AmazonAccount, Column("destination", Text, primary_key=True))


async def save_account(
    connection: AsyncConnection, destination: DestinationId, *, name: str | None, currency: str | None
) -> None:
    """Store the name and currency that Amazon reported, in place of earlier values."""
    statement = insert_own(AMAZON_ACCOUNTS, destination=destination, name=name, currency=currency)
    newer = {"name": name, "currency": currency, "seen_at": func.now()}
    await execute(connection, statement.on_conflict_do_update(index_elements=["destination"], set_=newer))


async def find_account(connection: AsyncConnection, destination: str) -> AmazonAccount | None:
    """Return what Amazon last reported about a destination's account, or None before the first sign-in."""
    columns = columns_of(AMAZON_ACCOUNTS, AmazonAccount)
    statement = select_own(AMAZON_ACCOUNTS, columns, AMAZON_ACCOUNTS.c.destination == destination)
    return await read_one(connection, partial(read_row, AmazonAccount), statement)
