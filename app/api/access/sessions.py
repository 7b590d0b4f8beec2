"""List and end console sessions over HTTP."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.access.sessions import end_session, list_sessions
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, split_page, time_and_id_of

router = APIRouter(route_class=SecuredRoute, tags=["sessions"])


class PersonView(ResponseBody):
    """Who uses a session."""

    sub: str = Field(description="The id at the sign-in provider. For a session of a key, the id of the key.")
    name: str


class SessionView(ResponseBody):
    """A session of the console."""

    id: str
    person: PersonView
    roles: list[str]
    organisation_id: str
    started_at: datetime
    last_seen_at: datetime
    current: bool = Field(False, description="Whether the request belongs to this session. A key has none.")


class SessionPage(Page[SessionView]):
    """A page of sessions."""


@router.get("/sessions", summary="List sessions")
@requires(Scope.KEYS_ADMIN)
async def list_all(
    caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> SessionPage:
    """List the console sessions of the organisation, oldest first. Expired sessions are not listed."""
    rows = await list_sessions(context, caller, limit=limit + 1, after=time_and_id_of(cursor))
    items, next_cursor = split_page(rows, limit, lambda row: (row.started_at.isoformat(), row.id))
    return SessionPage(items=[SessionView.model_validate(item) for item in items], next_cursor=next_cursor)


@router.delete("/sessions/{session_id}", summary="End a session")
@requires(Scope.KEYS_ADMIN)
async def end(session_id: str, caller: CurrentCaller, context: Context) -> SessionView:
    """End a session: its next request leads to the sign-in. The person can sign in again.

    To lock a person out, remove its role at the sign-in provider first.
    """
    return SessionView.model_validate(await end_session(context, caller, session_id))
