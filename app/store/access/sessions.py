"""Console sessions. Only the digests of their cookies are stored, so a reader of the table gets no access."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.store import audit
from app.store.audit import AuditAction
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)

_NOTED_EVERY = timedelta(minutes=1)
_LOGOUT_TOKENS_FOR = timedelta(hours=1)  # longer than a logout token is accepted


class SessionEnd(StrEnum):
    """The reason in the audit row of an ended session."""

    SIGNED_OUT = "signed_out"
    REPLACED = "replaced"
    """Another sign-in in the same browser, or a sign-in of the same person with other roles."""
    REFUSED = "sign_in_refused"
    ENDED_BY_ADMIN = "ended_by_admin"
    PROVIDER = "signed_out_at_provider"


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A valid session of an API key or of a person.

    A session of a key has a `key_digest`. The field `key` is None if the key is not valid any more. A session
    of a person has `subject`, `name` and `roles`. `acting_for` is the organisation that a platform caller has
    chosen.
    """

    id: str
    key_digest: bytes | None
    created_at: datetime
    seen_at: datetime
    organisation: OrganisationId
    key: str | None
    key_name: str | None
    scopes: tuple[str, ...]
    destination_ids: tuple[str, ...] | None
    subject: str | None
    name: str | None
    roles: tuple[str, ...]
    signed_in_at: datetime
    acting_for: OrganisationId | None = None
    acting_for_name: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person whom an identity provider authenticated. `subject` is the provider's id of the person.

    `authenticated_at` is the time, in seconds since 1970, at which the provider authenticated the person.
    """

    organisation: OrganisationId
    subject: str
    name: str
    roles: Sequence[str]
    authenticated_at: float = 0.0
    provider_session: str | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to begin: of a person, or of the key with this digest. The audit names the actor."""

    digest: bytes = field(repr=False)
    actor: str
    roles: Sequence[str]
    organisation: OrganisationId = DEFAULT_ORGANISATION
    key_digest: bytes | None = field(default=None, repr=False)
    person: Person | None = None


async def begin(connection: AsyncConnection, new: NewSession) -> None:
    """Write a new session and its audit row, and delete expired sessions."""
    await execute(
        connection,
        "DELETE FROM console_sessions WHERE seen_at < now() - CAST(:idle AS interval) "
        "OR created_at < now() - CAST(:absolute AS interval)",
        idle=IDLE,
        absolute=ABSOLUTE,
    )
    person = new.person
    row = await fetch_one(
        connection,
        # The previous release reads only `role`.
        "INSERT INTO console_sessions (organisation_id, digest, key_digest, subject, display_name, role, "
        "roles, signed_in_at, provider_session) "
        "VALUES (:organisation, :digest, :key_digest, :subject, :name, :role, :roles, "
        "greatest(to_timestamp(:at), timestamptz '2000-01-01+00'), :provider_session) RETURNING id",
        organisation=new.organisation,
        digest=new.digest,
        key_digest=new.key_digest,
        subject=person and person.subject,
        name=person and person.name,
        role=person and person.roles[0],
        roles=person and list(person.roles),
        at=0.0 if person is None else person.authenticated_at,
        provider_session=person and person.provider_session,
    )
    assert row is not None
    after = {"roles": list(new.roles)}
    await audit.record(connection, new.actor, AuditAction.SIGN_IN, row["id"], after=after)


_SESSIONS = (
    "SELECT s.id, s.key_digest, s.subject, s.display_name AS name, s.signed_in_at, "
    "coalesce(s.roles, array_remove(ARRAY[s.role], NULL)) AS roles, s.created_at, s.seen_at, "
    # The previous release writes sessions of keys without their organisation.
    "coalesce(k.organisation_id, s.organisation_id) AS organisation, "
    "k.id AS key, k.name AS key_name, coalesce(k.scopes, '{}') AS scopes, k.destination_ids, "
    "o.id AS acting_for, o.name AS acting_for_name "
    "FROM console_sessions s LEFT JOIN organisations o ON o.id = s.acting_for "
    "  LEFT JOIN api_keys k ON k.digest = s.key_digest "
    "  AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) "
    "WHERE s.seen_at >= now() - CAST(:idle AS interval) "
    "  AND s.created_at >= now() - CAST(:absolute AS interval) "
)


async def find(connection: AsyncConnection, digest: bytes, *, note: bool = True) -> StoredSession | None:
    """Return a session that has not expired, with the current permissions of its key, or None.

    With `note`, the time of use is recorded, at most once a minute. The commit does not wait for the disk: if
    a crash loses a use, the session only ends a minute early.
    """
    row = await fetch_one(
        connection, _SESSIONS + "AND s.digest = :digest", digest=digest, idle=IDLE, absolute=ABSOLUTE
    )
    if row is not None and note:
        await execute(connection, "SET LOCAL synchronous_commit = off")
        await execute(
            connection,
            "UPDATE console_sessions SET seen_at = now() "
            "WHERE digest = :digest AND seen_at < now() - CAST(:every AS interval)",
            digest=digest,
            every=_NOTED_EVERY,
        )
    return None if row is None else read_row(StoredSession, row)


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    after: tuple[datetime, str] | None,
    session: str | None,
    bootstrap: bytes | None,
    without_scope: str | None,
) -> list[StoredSession]:
    """Return up to `limit` valid sessions of the acting organisation, oldest first, or only `session`.

    `bootstrap` is the digest of the bootstrap key if its sessions are listed too. Sessions of keys with
    `without_scope` are left out.
    """
    at, previous = after or (None, None)
    rows = await fetch(
        connection,
        _SESSIONS + "AND s.organisation_id = acting_organisation() "
        "AND (s.subject IS NOT NULL OR k.id IS NOT NULL OR s.key_digest = :bootstrap) "
        "AND (CAST(:without AS text) IS NULL OR NOT :without = ANY (coalesce(k.scopes, '{}'))) "
        "AND (CAST(:at AS timestamptz) IS NULL "
        "  OR (s.created_at, s.id) > (CAST(:at AS timestamptz), :previous)) "
        "AND (CAST(:session AS text) IS NULL OR s.id = :session) "
        "ORDER BY s.created_at, s.id LIMIT :limit",
        idle=IDLE,
        absolute=ABSOLUTE,
        bootstrap=bootstrap,
        without=without_scope,
        at=at,
        previous=previous,
        session=session,
        limit=limit,
    )
    return [read_row(StoredSession, row) for row in rows]


async def act_for(connection: AsyncConnection, digest: bytes, organisation: OrganisationId) -> None:
    """Let a session of a platform caller act for an organisation."""
    await execute(
        connection,
        "UPDATE console_sessions SET acting_for = :organisation WHERE digest = :digest",
        organisation=organisation,
        digest=digest,
    )


@dataclass(frozen=True, slots=True)
class SessionSelection:
    """Sessions to end: those that match each member that is not None. At least one member is given."""

    digest: bytes | None = field(default=None, repr=False)
    id: str | None = None
    subject: str | None = None
    # Also matches sessions for which the provider named no session.
    provider_session: str | None = None
    # Matches sessions of another organisation or with other roles.
    unlike: Person | None = None


async def end(
    connection: AsyncConnection, selection: SessionSelection, *, actor: str, reason: SessionEnd
) -> int:
    """Delete sessions, so that their cookies become invalid. Each gets an audit row in its organisation."""
    assert selection != SessionSelection()
    other = selection.unlike
    return await execute(
        connection,
        "WITH ended AS (DELETE FROM console_sessions "
        "  WHERE (CAST(:digest AS bytea) IS NULL OR digest = :digest) "
        "  AND (CAST(:id AS text) IS NULL OR id = :id) "
        "  AND (CAST(:subject AS text) IS NULL OR subject = :subject) "
        "  AND (CAST(:session AS text) IS NULL OR provider_session = :session "
        "    OR (provider_session IS NULL AND CAST(:subject AS text) IS NOT NULL)) "
        "  AND (CAST(:organisation AS text) IS NULL OR organisation_id <> :organisation "
        "    OR roles IS DISTINCT FROM CAST(:roles AS text[])) "
        "  RETURNING organisation_id, id, subject, display_name) "
        "INSERT INTO audit (organisation_id, actor, action, subject, after) "
        "SELECT organisation_id, :actor, :action, id, jsonb_strip_nulls(jsonb_build_object("
        "  'reason', CAST(:reason AS text), 'sub', subject, 'name', display_name)) FROM ended",
        digest=selection.digest,
        id=selection.id,
        subject=selection.subject,
        session=selection.provider_session,
        organisation=other and other.organisation,
        roles=other and list(other.roles),
        actor=actor,
        action=AuditAction.SESSION_ENDED,
        reason=reason,
    )


async def spend_logout_token(connection: AsyncConnection, digest: bytes) -> bool:
    """Record the use of a logout token. Return False if it was used before."""
    await execute(
        connection,
        "DELETE FROM logout_tokens WHERE received_at < now() - CAST(:age AS interval)",
        age=_LOGOUT_TOKENS_FOR,
    )
    written = await execute(
        connection,
        "INSERT INTO logout_tokens (digest) VALUES (:digest) ON CONFLICT DO NOTHING",
        digest=digest,
    )
    return written == 1
