"""Console sessions. Only the digests of their cookies are stored, so a reader of the table gets no access."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import OrganisationId
from app.store.rows import read_row
from app.store.statements import execute, fetch_one

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)

_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A valid session of an API key or of a person.

    A session of a key has a `key_digest`. The field `key` is None if the key is not valid any more. A session
    of a person has `subject`, `name` and `role`. `acting_for` is the organisation that a platform caller has
    chosen.
    """

    key_digest: bytes | None
    created_at: datetime
    organisation: OrganisationId | None
    key: str | None
    key_name: str | None
    scopes: tuple[str, ...]
    destination_ids: tuple[str, ...] | None
    subject: str | None
    name: str | None
    role: str | None
    signed_in_at: datetime
    acting_for: OrganisationId | None = None
    acting_for_name: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person whom an identity provider authenticated. `subject` is the provider's id of the person."""

    organisation: OrganisationId
    subject: str
    name: str
    role: str


async def begin_for_person(connection: AsyncConnection, digest: bytes, person: Person) -> None:
    """Write a new session of a person and delete expired ones."""
    await _delete_expired(connection)
    await execute(
        connection,
        "INSERT INTO console_sessions (organisation_id, digest, subject, display_name, role) "
        "VALUES (:organisation, :digest, :subject, :name, :role)",
        organisation=person.organisation,
        digest=digest,
        subject=person.subject,
        name=person.name,
        role=person.role,
    )


async def begin(connection: AsyncConnection, digest: bytes, key_digest: bytes) -> None:
    """Write a new session of a key and delete expired ones."""
    await _delete_expired(connection)
    await execute(
        connection,
        "INSERT INTO console_sessions (digest, key_digest) VALUES (:digest, :key_digest)",
        digest=digest,
        key_digest=key_digest,
    )


async def _delete_expired(connection: AsyncConnection) -> None:
    await execute(
        connection,
        "DELETE FROM console_sessions WHERE seen_at < now() - CAST(:idle AS interval) "
        "OR created_at < now() - CAST(:absolute AS interval)",
        idle=IDLE,
        absolute=ABSOLUTE,
    )


async def find(connection: AsyncConnection, digest: bytes, *, note: bool = True) -> StoredSession | None:
    """Return a session that has not expired, with the current permissions of its key, or None.

    With `note`, the time of use is recorded, at most once a minute. The commit does not wait for the disk: if
    a crash loses a use, the session only ends a minute early.
    """
    row = await fetch_one(
        connection,
        "SELECT s.key_digest, s.subject, s.display_name AS name, s.role, s.signed_in_at, "
        "s.created_at, s.seen_at < now() - CAST(:every AS interval) AS stale, "
        "CASE WHEN s.subject IS NULL THEN k.organisation_id ELSE s.organisation_id END AS "
        "organisation, k.id AS key, k.name AS key_name, coalesce(k.scopes, '{}') AS scopes, "
        "k.destination_ids, o.id AS acting_for, o.name AS acting_for_name "
        "FROM console_sessions s LEFT JOIN organisations o ON o.id = s.acting_for "
        "  LEFT JOIN api_keys k ON k.digest = s.key_digest "
        "  AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) "
        "WHERE s.digest = :digest AND s.seen_at >= now() - CAST(:idle AS interval) "
        "  AND s.created_at >= now() - CAST(:absolute AS interval)",
        digest=digest,
        idle=IDLE,
        absolute=ABSOLUTE,
        every=_NOTED_EVERY,
    )
    if row is None:
        return None
    if row["stale"] and note:
        await execute(connection, "SET LOCAL synchronous_commit = off")
        await execute(
            connection, "UPDATE console_sessions SET seen_at = now() WHERE digest = :digest", digest=digest
        )
    return read_row(StoredSession, row)


async def act_for(connection: AsyncConnection, digest: bytes, organisation: OrganisationId) -> None:
    """Let a session of a platform caller act for an organisation."""
    await execute(
        connection,
        "UPDATE console_sessions SET acting_for = :organisation WHERE digest = :digest",
        organisation=organisation,
        digest=digest,
    )


async def end(connection: AsyncConnection, digest: bytes) -> None:
    """Delete a session, so that its cookie becomes invalid."""
    await execute(connection, "DELETE FROM console_sessions WHERE digest = :digest", digest=digest)
