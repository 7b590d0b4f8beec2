"""Replay page: a dry run with counts and duration, then the button that confirms it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.refusals import ErrorCode, Refusal
from app.admin.replay import replay_events
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.wording import STATUSES, age, number
from app.store.replays import ReplayFilter

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def page(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    status: Literal["dead", "expired"] = "dead",
    reason: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show what a replay would do. Nothing is changed."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    wanted = ReplayFilter(status, reason or None)
    result = await replay_events(context, visitor.caller, destination_id, wanted, dry_run=True)
    return pages.show(
        request,
        "replay.html",
        **content_of(context, found, visitor, "events"),
        chosen=status,
        label=STATUSES[status].label,
        reason=reason,
        result=result,
        number=number,
        duration="immediately" if result.seconds < 1 else f"in {age(result.seconds)}",
    )


@router.post(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def action(destination_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Replay the events and show how many were queued."""
    status = form_text(form, "status")
    if status not in ("dead", "expired"):
        raise Refusal(ErrorCode.INVALID, "Choose dead or expired events.")
    wanted = ReplayFilter(status, form_text(form, "reason") or None)
    result = await replay_events(context, visitor.caller, destination_id, wanted)
    return confirmations.redirect(
        context, f"/console/destinations/{destination_id}", "replayed", result.replayed
    )
