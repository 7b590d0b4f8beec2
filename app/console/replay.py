"""Replay page: a dry run with counts and duration, then the button that confirms it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.refusals import ErrorCode, Refusal
from app.api import replay
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.wording import STATUSES, age, number

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
    """Count what would be sent again; nothing is changed."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    asked = replay.Replay(status=status, reason=reason or None, dry_run=True)
    told = await replay.replay(destination_id, asked, visitor.caller, context)
    counts = ("matched", "replayed", "too_old", "forgotten", "remaining", "requests")
    return pages.show(
        request,
        "replay.html",
        **content_of(context, found, visitor, "events"),
        chosen=status,
        word=STATUSES[status],
        reason=reason,
        some=told["replayed"] > 0,
        told={name: number(told[name]) for name in counts},
        left={name: told[name] > 0 for name in counts},
        takes="at once" if told["seconds"] < 1 else f"in {age(told['seconds'])}",
        differ=told["matched"] != told["replayed"],
    )


@router.post(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def action(destination_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Queue the events again."""
    status = form_text(form, "status")
    if status not in ("dead", "expired"):
        raise Refusal(ErrorCode.INVALID, "Choose which events shall be sent again.")
    asked = replay.Replay(status=status, reason=form_text(form, "reason") or None)  # type: ignore[arg-type]
    await replay.replay(destination_id, asked, visitor.caller, context)
    return RedirectResponse(f"/console/destinations/{destination_id}", 303)
