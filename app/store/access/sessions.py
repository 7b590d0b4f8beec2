"""Console sessions. Only the digests of their cookies are stored, so a reader of the table gets no access."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.store import audit, read_row, read_sql
from app.store.audit import AuditAction
from app.store.statements import execute, fetch_value, read_all, read_one

SQL: Final = read_sql(__file__)

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
    organisation_name: str = ""  # of the organisation for which it acts


_read = partial(read_row, StoredSession)


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


_OF_PERSON: Final = attrgetter("subject", "name", "roles", "provider_session", "authenticated_at")


async def begin(connection: AsyncConnection, new: NewSession) -> None:
    """Write a new session and its audit row, and delete expired sessions."""
    await execute(connection, SQL["delete_expired"], IDLE, ABSOLUTE)
    of_person = (None,) * 5 if new.person is None else _OF_PERSON(new.person)
    id_ = await fetch_value(
        connection, SQL["begin"], new.organisation, new.digest, new.key_digest, *of_person
    )
    after = {"roles": list(new.roles)}
    await audit.record(connection, new.actor, AuditAction.SIGN_IN, id_, after=after)


async def find(connection: AsyncConnection, digest: bytes, *, note: bool = True) -> StoredSession | None:
    """Return a session that has not expired, with the current permissions of its key, or None.

    With `note`, the time of use is recorded, at most once a minute. The commit does not wait for the disk: if
    a crash loses a use, the session only ends a minute early.
    """
    found = await read_one(connection, _read, SQL["find"], IDLE, ABSOLUTE, digest)
    if found is not None and note:
        await execute(connection, "SET LOCAL synchronous_commit = off")
        await execute(connection, SQL["note"], digest, _NOTED_EVERY)
    return found


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions a list has: all, or only `session`.

    `bootstrap` is the digest of the bootstrap key if its sessions are listed too. Sessions of keys with
    `without_scope` are left out.
    """

    session: str | None
    bootstrap: bytes | None = field(repr=False)
    without_scope: str | None


async def page(
    connection: AsyncConnection, wanted: SessionFilter, *, limit: int, after: tuple[datetime, str] | None
) -> list[StoredSession]:
    """Return up to `limit` valid sessions of the acting organisation, oldest first."""
    position = after or (None, None)
    arguments = (IDLE, ABSOLUTE, wanted.bootstrap, wanted.without_scope, *position, wanted.session, limit)
    return await read_all(connection, _read, SQL["page"], *arguments)


async def act_for(connection: AsyncConnection, digest: bytes, organisation: OrganisationId) -> None:
    """Let a session of a platform caller act for an organisation."""
    statement = "UPDATE console_sessions SET acting_for = $1 WHERE digest = $2"
    await execute(connection, statement, organisation, digest)


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


_SELECTORS: Final = attrgetter("digest", "id", "subject", "provider_session")


async def end(
    connection: AsyncConnection, selection: SessionSelection, *, actor: str, reason: SessionEnd
) -> int:
    """Delete sessions, so that their cookies become invalid. Each gets an audit row in its organisation."""
    assert selection != SessionSelection()
    other = selection.unlike
    unlike = (other.organisation, list(other.roles)) if other else (None, None)
    audit_row = (actor, AuditAction.SESSION_ENDED, reason)
    return await execute(connection, SQL["end"], *_SELECTORS(selection), *unlike, *audit_row)


async def spend_logout_token(connection: AsyncConnection, digest: bytes) -> bool:
    """Record the use of a logout token. Return False if it was used before."""
    await execute(connection, SQL["delete_logout_tokens"], _LOGOUT_TOKENS_FOR)
    statement = "INSERT INTO logout_tokens (digest) VALUES ($1) ON CONFLICT DO NOTHING"
    return await execute(connection, statement, digest) == 1
