"""The sessions page: list the sessions of the organisation, and end one."""

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.access.sessions import end_session, list_sessions
from app.api.access.secured_route import requires
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, time_and_id_of
from app.console import pages
from app.console.access.secured_page import CurrentVisit, page_router

router = page_router()

_PAGE = "/console/sessions"


@router.get(_PAGE)
@requires(Scope.KEYS_ADMIN)
async def page(visit: CurrentVisit, cursor: Cursor = None) -> Response:
    """List the sessions, oldest first."""
    rows = await list_sessions(
        visit.context, visit.caller, limit=PAGE_SIZE + 1, after=time_and_id_of(visit.context, cursor)
    )
    content = pages.listed(visit.context, rows, lambda row: (row.started_at.isoformat(), row.id), cursor)
    return visit.show("sessions.html", **content)


@router.post(_PAGE + "/{session_id}/end")
@requires(Scope.KEYS_ADMIN)
async def end(visit: CurrentVisit, session_id: str) -> Response:
    """End a session."""
    await end_session(visit.context, visit.caller, session_id)
    return visit.done("session_ended", _PAGE)
