"""Use cases of console sessions: list them, end them, and record refused sign-ins."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from app.admin import BOOTSTRAP, Caller, Scope, require_found, require_id
from app.admin.access.people import role_of, subject_of
from app.admin.context import AppContext
from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.domain.sign_in import Logout
from app.store import audit
from app.store.access import sessions
from app.store.audit import AuditAction
from app.store.organisations.scope import EVERY

logger = logging.getLogger("app.console")

UNKNOWN: Final = "unknown"
PROVIDER: Final = "identity provider"


@dataclass(frozen=True, slots=True)
class PersonOfSession:
    """Who uses a session."""

    sub: Annotated[
        str, Field(description="The id at the sign-in provider. For a session of a key, the id of the key.")
    ]
    name: str


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session of the console."""

    id: str
    person: PersonOfSession
    roles: Sequence[str]
    organisation_id: OrganisationId
    started_at: datetime
    last_seen_at: datetime
    current: Annotated[
        bool, Field(description="Whether the request belongs to this session. A key has none.")
    ] = False


async def list_sessions(
    context: AppContext, *, limit: int, after: tuple[datetime, str] | None = None, session: str | None = None
) -> list[ConsoleSession]:
    """Return up to `limit` sessions of the caller's organisation, oldest first, begun after (time, id).

    `session` selects a single session. Only platform keys see sessions of platform keys. A key that is
    limited to destinations sees none.
    """
    if context.caller.destination_ids is not None:
        return []
    if context.caller.is_platform:
        wanted = sessions.SessionFilter(session, context.bootstrap_key_digest, None)
    else:
        wanted = sessions.SessionFilter(session, None, Scope.ORGANISATIONS_ADMIN)
    async with context.engine.connect() as connection:
        found = await sessions.page(connection, wanted, limit=limit, after=after)
    return [view_of(each) for each in found]


async def end_session(context: AppContext, session_id: str) -> ConsoleSession:
    """End a session and return it. Raises Refusal (404) if `list_sessions` does not show it to the caller."""
    require_id("ses_", session_id)
    listed = await list_sessions(context, limit=1, session=session_id)
    found = require_found(next(iter(listed), None))
    selection, reason = sessions.SessionSelection(id=session_id), sessions.SessionEnd.ENDED_BY_ADMIN
    async with context.engine.begin() as connection:
        await sessions.end(connection, selection, actor=context.caller.actor, reason=reason)
    return found


async def end_signed_out(context: AppContext, logout: Logout) -> bool:
    """End the sessions that the provider signed out. Return False if the logout token was used before."""
    digest = hashlib.sha256(logout.id.encode()).digest()
    selection = sessions.SessionSelection(
        subject=None if logout.subject is None else subject_of(logout.subject),
        provider_session=logout.session,
    )
    async with context.within(EVERY).engine.begin() as connection:
        if not await sessions.spend_logout_token(connection, digest):
            return False
        await sessions.end(connection, selection, actor=PROVIDER, reason=sessions.SessionEnd.PROVIDER)
    return True


async def record_refusal(context: AppContext, reason: str, caller: Caller | None = None) -> None:
    """Record a refused sign-in in the log and in the audit. `caller` is None if no person was identified.

    Anybody can cause such a refusal, and audit rows are never deleted. So the audit gets 60 of them a minute.
    """
    logger.warning("sign_in.refused", extra={"fields": {"reason": reason}})
    if caller is None and not context.refusals.allows(context.monotonic()):
        return
    organisation = DEFAULT_ORGANISATION if caller is None else caller.organisation
    actor, action = UNKNOWN if caller is None else caller.actor, AuditAction.SIGN_IN_REFUSED
    async with context.within(organisation).engine.begin() as connection:
        await audit.record(connection, actor, action, "console", after={"reason": reason})


def view_of(session: sessions.StoredSession) -> ConsoleSession:
    """Return a session with the name and the roles of its person or key."""
    if session.subject is not None:
        person, roles = PersonOfSession(session.subject, session.name or session.subject), session.roles
    else:
        key = session.key or BOOTSTRAP
        person = PersonOfSession(key, session.key_name or "bootstrap key")
        role = role_of(session.scopes if session.key else Scope)
        roles = () if role is None else (role,)
    return ConsoleSession(
        session.id, person, roles, session.organisation, session.created_at, session.seen_at
    )
