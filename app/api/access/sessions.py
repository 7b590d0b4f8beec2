"""List and end console sessions over HTTP."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.access.sessions import ConsoleSession, end_session, list_sessions
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.paging import Page, Paging

router = APIRouter(route_class=SecuredRoute, tags=["sessions"])


class SessionPage(Page[ConsoleSession]):
    """A page of sessions."""


@router.get("/sessions", summary="List sessions")
@requires(Scope.KEYS_ADMIN)
async def list_all(caller: CurrentCaller, context: Context, paging: Paging) -> SessionPage:
    """List the console sessions of the organisation, oldest first. Expired sessions are not listed."""
    rows = await list_sessions(context, caller, limit=paging.most, after=paging.time_and_id)
    return paging.page(SessionPage, rows, lambda row: (row.started_at.isoformat(), row.id))


@router.delete("/sessions/{session_id}", summary="End a session")
@requires(Scope.KEYS_ADMIN)
async def end(session_id: str, caller: CurrentCaller, context: Context) -> ConsoleSession:
    """End a session: its next request leads to the sign-in. The person can sign in again.

    To lock a person out, remove its role at the sign-in provider first.
    """
    return await end_session(context, caller, session_id)
