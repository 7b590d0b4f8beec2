"""API keys. Only their digests are stored, so a reader of the table gets no access."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import KeyId, OrganisationId
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one, fetch_value


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. People recognise it by `hint`, its first characters."""

    organisation: OrganisationId
    id: KeyId
    name: str
    hint: str
    scopes: tuple[str, ...]
    destination_ids: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: KeyId | None = None


_COLUMNS = """
  organisation_id AS organisation, id, name, hint, scopes, destination_ids, created_at, created_by,
  expires_at, revoked_at, last_used_at, replaces
"""
_OWN = "organisation_id = acting_organisation()"
_ALIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


async def _key(connection: AsyncConnection, statement: str, **values: object) -> ApiKey | None:
    row = await fetch_one(connection, statement, **values)
    return None if row is None else read_row(ApiKey, row)


async def create(
    connection: AsyncConnection,
    key: KeyId,
    *,
    name: str,
    hint: str,
    digest: bytes,
    scopes: Sequence[str],
    destination_ids: Sequence[str] | None,
    expires_at: datetime | None,
    created_by: str,
    replaces: KeyId | None = None,
) -> ApiKey:
    """Write a new key. `digest` is its SHA-256; the key itself is not stored."""
    created = await _key(
        connection,
        f"""
        INSERT INTO api_keys (organisation_id, id, name, hint, digest, scopes, destination_ids, expires_at,
          created_by, replaces)
        VALUES (acting_organisation(), :id, :name, :hint, :digest, :scopes, :destination_ids, :expires_at,
          :created_by, :replaces)
        RETURNING {_COLUMNS}
        """,
        id=key,
        name=name,
        hint=hint,
        digest=digest,
        scopes=list(scopes),
        destination_ids=None if destination_ids is None else list(destination_ids),
        expires_at=expires_at,
        created_by=created_by,
        replaces=replaces,
    )
    assert created is not None
    return created


async def find_alive(connection: AsyncConnection, digests: Sequence[bytes]) -> dict[bytes, ApiKey]:
    """Return the keys with these digests that are neither revoked nor expired, by digest."""
    rows = await fetch(
        connection,
        f"SELECT digest, {_COLUMNS} FROM api_keys WHERE digest = ANY(:digests) AND {_ALIVE}",
        digests=list(digests),
    )
    return {row["digest"]: read_row(ApiKey, row) for row in rows}


async def is_alive(connection: AsyncConnection, key: str) -> bool:
    """Return whether the key with this id exists and is neither revoked nor expired."""
    statement = f"SELECT 1 FROM api_keys WHERE {_OWN} AND id = :id AND {_ALIVE}"
    return await fetch_value(connection, statement, id=key) is not None


async def note_use(connection: AsyncConnection, used: Sequence[KeyId]) -> None:
    """Record that these keys are in use. The time of use is written at most once a minute per key.

    The commit does not wait for the disk, because losing the time in a crash is harmless.
    """
    await execute(connection, "SET LOCAL synchronous_commit = off")
    await execute(
        connection,
        "UPDATE api_keys SET last_used_at = now() WHERE id IN (SELECT id FROM api_keys WHERE id = ANY(:ids) "
        "AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') "
        # Without SKIP LOCKED, two processes that record the same keys in different orders could deadlock.
        "FOR NO KEY UPDATE SKIP LOCKED)",
        ids=list(used),
    )


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
    only: Sequence[str] | None = None,
    without_scope: str | None = None,
) -> list[ApiKey]:
    """Return up to `limit` keys in order of creation, revoked ones included, after (created_at, id).

    Keys with the scope `without_scope` are left out. `only` selects the keys that may use no destination
    outside this list.
    """
    at, key = after or (None, None)
    rows = await fetch(
        connection,
        f"""
        SELECT {_COLUMNS} FROM api_keys WHERE {_OWN}
          AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) > (CAST(:at AS timestamptz), :key))
          AND (CAST(:only AS text[]) IS NULL OR destination_ids <@ CAST(:only AS text[]))
          AND (CAST(:without AS text) IS NULL OR NOT CAST(:without AS text) = ANY (scopes))
        ORDER BY created_at, id LIMIT :limit
        """,
        at=at,
        key=key,
        only=None if only is None else list(only),
        without=without_scope,
        limit=limit,
    )
    return [read_row(ApiKey, row) for row in rows]


async def find(connection: AsyncConnection, key: str) -> ApiKey | None:
    """Return a key, even if it is revoked, or None."""
    return await _key(connection, f"SELECT {_COLUMNS} FROM api_keys WHERE {_OWN} AND id = :id", id=key)


async def lock(connection: AsyncConnection, key: str) -> ApiKey | None:
    """Return a key and lock it until the transaction ends; None if it is unknown, revoked or expired."""
    statement = f"SELECT {_COLUMNS} FROM api_keys WHERE {_OWN} AND id = :id AND {_ALIVE} FOR UPDATE"
    return await _key(connection, statement, id=key)


async def has_successor(connection: AsyncConnection, key: KeyId) -> bool:
    """Return whether a valid key exists that was created to replace this key."""
    statement = f"SELECT 1 FROM api_keys WHERE {_OWN} AND replaces = :id AND {_ALIVE} LIMIT 1"
    return await fetch_value(connection, statement, id=key) is not None


async def set_expiry(connection: AsyncConnection, key: KeyId, *, seconds: int) -> ApiKey:
    """Let a key expire in this many seconds, unless it expires earlier."""
    changed = await _key(
        connection,
        "UPDATE api_keys SET expires_at = "
        "least(expires_at, now() + make_interval(secs => CAST(:seconds AS integer))) "
        f"WHERE {_OWN} AND id = :id RETURNING {_COLUMNS}",
        id=key,
        seconds=seconds,
    )
    assert changed is not None
    return changed


async def revoke(connection: AsyncConnection, key: KeyId) -> ApiKey | None:
    """Revoke a key permanently. Return None if it was revoked before."""
    return await _key(
        connection,
        "UPDATE api_keys SET revoked_at = now() "
        f"WHERE {_OWN} AND id = :id AND revoked_at IS NULL RETURNING {_COLUMNS}",
        id=key,
    )
