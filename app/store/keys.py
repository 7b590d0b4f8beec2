"""API keys, stored as digests: reading this table gives no access."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import KeyId, OrganisationId


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key. `hint` is its first characters, to recognise it."""

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


_COLUMNS = (
    "organisation_id, id, name, hint, scopes, destination_ids, created_at, created_by, expires_at, "
    "revoked_at, "
    "last_used_at, replaces"
)
_ALIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


def _read(row: RowMapping) -> ApiKey:
    return ApiKey(
        organisation=OrganisationId(row["organisation_id"]),
        id=KeyId(row["id"]),
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"]),
        destination_ids=None if row["destination_ids"] is None else tuple(row["destination_ids"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        replaces=None if row["replaces"] is None else KeyId(row["replaces"]),
    )


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
    """Write a key. `digest` is the SHA-256 of the key, which is not stored."""
    row = await connection.execute(
        text(
            "INSERT INTO api_keys (organisation_id, id, name, hint, digest, scopes, destination_ids, "
            "expires_at, "
            "created_by, replaces) VALUES (acting_organisation(), :id, :name, :hint, :digest, "
            ":scopes, :destination_ids, :expires_at, "
            ":created_by, :replaces) "
            f"RETURNING {_COLUMNS}"
        ),
        {
            "id": key,
            "name": name,
            "hint": hint,
            "digest": digest,
            "scopes": list(scopes),
            "destination_ids": None if destination_ids is None else list(destination_ids),
            "expires_at": expires_at,
            "created_by": created_by,
            "replaces": replaces,
        },
    )
    return _read(row.mappings().one())


async def find_alive(connection: AsyncConnection, digest: bytes) -> ApiKey | None:
    """Return the key with this digest unless it is revoked or expired, on the database's clock."""
    row = await connection.execute(
        text(f"SELECT {_COLUMNS} FROM api_keys WHERE digest = :digest AND {_ALIVE}"), {"digest": digest}
    )
    found = row.mappings().one_or_none()
    return None if found is None else _read(found)


async def is_alive(connection: AsyncConnection, key: str) -> bool:
    """Return whether the key with this id is still valid."""
    row = await connection.execute(
        text(
            f"SELECT 1 FROM api_keys WHERE organisation_id = acting_organisation() AND id = :id AND {_ALIVE}"
        ),
        {"id": key},
    )
    return row.scalar_one_or_none() is not None


async def note_use(connection: AsyncConnection, key: KeyId) -> None:
    """Record the use of a key, at most once a minute, because readers need only days.

    Losing the record in a crash is harmless, so its commit does not wait for the disk.
    """
    await connection.execute(text("SET LOCAL synchronous_commit = off"))
    await connection.execute(
        text(
            "UPDATE api_keys SET last_used_at = now() WHERE id = :id "
            "AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"
        ),
        {"id": key},
    )


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
    only: Sequence[str] | None = None,
    without_scope: str | None = None,
) -> list[ApiKey]:
    """Return up to `limit` keys in order of creation, revoked ones included, without those of a scope.

    `only` limits the result to keys that are limited to some of these destinations.
    """
    at, key = after or (None, None)
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM api_keys WHERE organisation_id = acting_organisation() "
            "AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) > (CAST(:at AS timestamptz), :key)) "
            "AND (CAST(:only AS text[]) IS NULL OR destination_ids <@ CAST(:only AS text[])) "
            "AND (CAST(:without AS text) IS NULL OR NOT CAST(:without AS text) = ANY (scopes)) "
            "ORDER BY created_at, id LIMIT :limit"
        ),
        {
            "at": at,
            "key": key,
            "only": None if only is None else list(only),
            "without": without_scope,
            "limit": limit,
        },
    )
    return [_read(row) for row in rows.mappings()]


async def find(connection: AsyncConnection, key: str) -> ApiKey | None:
    """Return a key, revoked ones included."""
    row = await connection.execute(
        text(f"SELECT {_COLUMNS} FROM api_keys WHERE organisation_id = acting_organisation() AND id = :id"),
        {"id": key},
    )
    found = row.mappings().one_or_none()
    return None if found is None else _read(found)


async def lock(connection: AsyncConnection, key: str) -> ApiKey | None:
    """Return a key and lock it until the transaction ends, unless it is revoked or expired."""
    row = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM api_keys WHERE organisation_id = acting_organisation() AND id = :id "
            f"AND {_ALIVE} FOR UPDATE"
        ),
        {"id": key},
    )
    found = row.mappings().one_or_none()
    return None if found is None else _read(found)


async def has_successor(connection: AsyncConnection, key: KeyId) -> bool:
    """Return whether a key that replaces this one is still valid."""
    row = await connection.execute(
        text(
            "SELECT 1 FROM api_keys WHERE organisation_id = acting_organisation() AND replaces = :id "
            f"AND {_ALIVE} LIMIT 1"
        ),
        {"id": key},
    )
    return row.scalar_one_or_none() is not None


async def set_expiry(connection: AsyncConnection, key: KeyId, *, seconds: int) -> ApiKey:
    """Let a key expire after this many seconds on the database's clock, or earlier if it already would."""
    row = await connection.execute(
        text(
            "UPDATE api_keys SET expires_at = "
            "least(expires_at, now() + make_interval(secs => CAST(:seconds AS integer))) "
            f"WHERE organisation_id = acting_organisation() AND id = :id RETURNING {_COLUMNS}"
        ),
        {"id": key, "seconds": seconds},
    )
    return _read(row.mappings().one())


async def revoke(connection: AsyncConnection, key: KeyId) -> ApiKey | None:
    """Revoke a key permanently. Return None when it was revoked before."""
    row = await connection.execute(
        text(
            "UPDATE api_keys SET revoked_at = now() "
            "WHERE organisation_id = acting_organisation() AND id = :id AND revoked_at IS NULL "
            f"RETURNING {_COLUMNS}"
        ),
        {"id": key},
    )
    found = row.mappings().one_or_none()
    return None if found is None else _read(found)
