"""API keys. Only their digests are stored, so a reader of the table gets no access."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Column, LargeBinary, Text, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, KeyId, OrganisationId
from app.store import INTERNAL, read_row, read_sql
from app.store.statements import execute, fetch, fetch_value, read_all, read_one, read_written
from app.store.tables import columns_of, flat, insert_own, paged, select_own, table, update_own

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGrant:
    """What a key is for. Without `destination_ids` it can use every destination."""

    name: Annotated[str, Field(examples=["journey engine"])]
    scopes: Annotated[tuple[str, ...], Field(examples=[["events:write"]])]
    destination_ids: Annotated[
        tuple[str, ...] | None, Field(description="Null: the key can access every destination.")
    ]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(KeyGrant):
    """An API key without its secret. People recognise it by `hint`, its first characters."""

    organisation: Annotated[OrganisationId, INTERNAL]
    id: KeyId
    hint: Annotated[str, Field(description="The first eight characters of the secret.")]
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    last_used_at: datetime | None


API_KEYS = table(
    "api_keys",
    ApiKey,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("replaces", Text),  # written by the last release, which rotates keys
)
_COLUMN = API_KEYS.c
_COLUMNS = columns_of(API_KEYS, ApiKey)
_ALIVE = and_(
    _COLUMN.revoked_at.is_(None), or_(_COLUMN.expires_at.is_(None), _COLUMN.expires_at > func.now())
)


_read = partial(read_row, ApiKey)


async def create(
    connection: AsyncConnection, key: KeyId, grant: KeyGrant, *, hint: str, digest: bytes, created_by: str
) -> ApiKey:
    """Write a new key. `digest` is its SHA-256; the key itself is not stored."""
    statement = insert_own(API_KEYS, id=key, hint=hint, digest=digest, created_by=created_by, **flat(grant))
    return await read_written(connection, _read, statement.returning(*_COLUMNS))


async def find_alive(connection: AsyncConnection, digests: Sequence[bytes]) -> dict[bytes, ApiKey]:
    """Return the keys with these digests that are neither revoked nor expired, by digest."""
    statement = select(_COLUMN.digest, *_COLUMNS).where(_COLUMN.digest.in_(digests), _ALIVE)
    return {row["digest"]: _read(row) for row in await fetch(connection, statement)}


async def is_alive(connection: AsyncConnection, key: str) -> bool:
    """Return whether the key with this id exists and is neither revoked nor expired."""
    statement = select_own(API_KEYS, [_COLUMN.id], _COLUMN.id == key, _ALIVE)
    return await fetch_value(connection, statement) is not None


async def note_use(connection: AsyncConnection, used: Sequence[KeyId]) -> None:
    """Record that these keys are in use. The time of use is written at most once a minute per key.

    The commit does not wait for the disk, because losing the time in a crash is harmless.
    """
    await execute(connection, "SET LOCAL synchronous_commit = off")
    await execute(connection, SQL["note_use"], list(used))


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys a list has.

    Keys with the scope `without_scope` are left out. `only` selects the keys that may use no destination
    outside this list. `usable` selects the keys that can act with a scope on a destination now.
    """

    only: Sequence[str] | None = None
    without_scope: str | None = None
    usable: tuple[str, DestinationId] | None = None


async def page(
    connection: AsyncConnection, wanted: KeyFilter, *, limit: int, after: tuple[datetime, str] | None = None
) -> list[ApiKey]:
    """Return up to `limit` keys in order of creation, revoked ones included, after (created_at, id)."""
    statement = paged(select_own(API_KEYS, _COLUMNS), (_COLUMN.created_at, _COLUMN.id), after, limit)
    if wanted.only is not None:
        statement = statement.where(_COLUMN.destination_ids.contained_by(list(wanted.only)))
    if wanted.without_scope is not None:
        statement = statement.where(~_COLUMN.scopes.contains([wanted.without_scope]))
    if wanted.usable is not None:
        scope, destination = wanted.usable
        reaches = or_(_COLUMN.destination_ids.is_(None), _COLUMN.destination_ids.contains([destination]))
        statement = statement.where(_ALIVE, _COLUMN.scopes.contains([scope]), reaches)
    return await read_all(connection, _read, statement)


async def find(connection: AsyncConnection, key: str) -> ApiKey | None:
    """Return a key, even if it is revoked, or None."""
    return await read_one(connection, _read, select_own(API_KEYS, _COLUMNS, _COLUMN.id == key))


async def revoke(connection: AsyncConnection, key: KeyId) -> ApiKey | None:
    """Revoke a key permanently. Return None if it was revoked before."""
    statement = update_own(API_KEYS, _COLUMN.id == key, _COLUMN.revoked_at.is_(None), revoked_at=func.now())
    return await read_one(connection, _read, statement.returning(*_COLUMNS))
