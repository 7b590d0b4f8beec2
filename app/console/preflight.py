"""The preflight as a page: every line, Amazon asked again, and what people confirm."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import Wiring
from app.admin.destinations import find_visible
from app.admin.inputs import Confirm
from app.admin.refusals import Refusal, Word
from app.api import preflight
from app.api.secured_route import Wired, needs
from app.console import pages
from app.console.destination import PAGE, content_of, sign_in_origin
from app.console.secured_page import Entrance, Form, Visiting, text
from app.console.sessions import Visitor
from app.console.setup_view import CONFIRMED_BY_PEOPLE, lines

router = APIRouter(route_class=Entrance, include_in_schema=False)


@router.get(PAGE + "/preflight", response_model=None)
@needs(Scope.DESTINATIONS_READ)
async def page(request: Request, destination_id: str, wired: Wired, visitor: Visiting) -> Response:
    """Show the checklist from what is remembered."""
    found = await preflight.preflight(destination_id, visitor.caller, wired)
    return await _show(request, destination_id, wired, visitor, found, asked=False)


@router.post(PAGE + "/preflight/ask", response_model=None)
@needs(Scope.DESTINATIONS_READ)
async def ask(request: Request, destination_id: str, wired: Wired, visitor: Visiting, form: Form) -> Response:
    """Ask Amazon now whether it shows the advertiser; a form, since it costs Amazon a request."""
    found = await preflight.preflight(destination_id, visitor.caller, wired, ask=True)
    return await _show(request, destination_id, wired, visitor, found, asked=True)


@router.post(PAGE + "/preflight/confirm", response_model=None)
@needs(Scope.DESTINATIONS_WRITE)
async def confirm(destination_id: str, wired: Wired, visitor: Visiting, form: Form) -> Response:
    """Record that the visitor looked, or take it back."""
    check = text(form, "check")
    if check not in CONFIRMED_BY_PEOPLE:
        raise Refusal(Word.INVALID, "This line is not one that people confirm.")
    body = Confirm.model_validate({"check": check, "confirmed": text(form, "confirmed") == "yes"})
    await preflight.confirm(destination_id, body, visitor.caller, wired)
    return RedirectResponse(f"/console/destinations/{destination_id}/preflight", 303)


async def _show(
    request: Request,
    destination_id: str,
    wired: Wiring,
    visitor: Visitor,
    told: dict[str, Any],
    *,
    asked: bool,
) -> Response:
    async with wired.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    ready = pages.plain(told)
    return pages.show(
        request,
        "preflight.html",
        leads_to=sign_in_origin(wired, found.region),
        **content_of(wired, found, visitor, "overview"),
        checks=lines(ready["checks"]),
        ready=ready["ready"],
        asked=asked,
    )
