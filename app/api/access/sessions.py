"""List and end console sessions over HTTP."""

from app.admin import Scope
from app.admin.access.sessions import ConsoleSession, end_session, list_sessions
from app.api.access.secured_route import Context, SecuredRouter
from app.api.lists import Page, Paging

router = SecuredRouter("sessions")


class SessionPage(Page[ConsoleSession]):
    """A page of sessions."""


@router.get("/sessions", Scope.KEYS_ADMIN, summary="List sessions")
async def list_all(context: Context, paging: Paging) -> SessionPage:
    """List the console sessions of the organisation, oldest first. Expired sessions are not listed."""
    rows = await list_sessions(context, limit=paging.most, after=paging.time_and_id)
    return SessionPage(**paging.listed(rows, lambda row: (row.started_at.isoformat(), row.id)))


@router.delete("/sessions/{session_id}", Scope.KEYS_ADMIN, summary="End a session")
async def end(context: Context, session_id: str) -> ConsoleSession:
    """End a session: its next request leads to the sign-in. The person can sign in again.

    To lock a person out, remove its role at the sign-in provider first.
    """
    return await end_session(context, session_id)
