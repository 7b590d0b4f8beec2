"""Publish page of a mapping: changes, event name conflicts, versions and rollback."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import EventNameChange, RollbackRequest
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.api import advertisers, event_schema, mappings
from app.api.errors import status_of
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import content_of
from app.console.mapping_editor import MAPPING
from app.console.mapping_view import changes
from app.console.preview_view import backtest_view
from app.console.problem_view import problem_views
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, with_if_match
from app.console.sessions import Visitor
from app.console.wording import person
from app.domain.conversion.event_types import EVENT_TYPES
from app.store import audit

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get(MAPPING + "/publish", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(
    request: Request, destination_id: str, mapping_id: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Show what publishing would change, and all versions."""
    return await _page(request, destination_id, mapping_id, context, visitor)


@router.post(MAPPING + "/publish", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def publish(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Publish the draft, or show why it cannot be published."""
    try:
        await mappings.publish(
            destination_id=destination_id,
            mapping_id=mapping_id,
            caller=visitor.caller,
            context=context,
            request=with_if_match(request, form_text(form, "version")),
        )
    except Refusal as refusal:
        return await _page(request, destination_id, mapping_id, context, visitor, refusal.problem)
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{mapping_id}/publish", 303)


@router.post(MAPPING + "/rollback", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rollback(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Roll back to an earlier version."""
    chosen = form_text(form, "to")
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 10):
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed versions.")
    try:
        await mappings.rollback(
            destination_id=destination_id,
            mapping_id=mapping_id,
            body=RollbackRequest(version=int(chosen)),
            caller=visitor.caller,
            context=context,
            request=with_if_match(request, form_text(form, "version")),
        )
    except Refusal as refusal:
        return await _page(request, destination_id, mapping_id, context, visitor, refusal.problem)
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{mapping_id}/publish", 303)


@router.post(MAPPING + "/take-name", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def take_name(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Set the draft's event name to the pinned one."""
    await mappings.change(
        destination_id=destination_id,
        mapping_id=mapping_id,
        body={"event_name": form_text(form, "name")},
        caller=visitor.caller,
        context=context,
        request=with_if_match(request, form_text(form, "version")),
    )
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{mapping_id}/publish", 303)


@router.post(MAPPING + "/rename-pin", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rename_pin(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    to = EventNameChange(to=form_text(form, "name"))
    await advertisers.rename(found.advertiser_id, form_text(form, "event_type"), to, visitor.caller, context)
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{mapping_id}/publish", 303)


async def _page(
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: AppContext,
    visitor: Visitor,
    problem: Problem | None = None,
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    mapping = pages.plain(await mappings.read(destination_id, mapping_id, visitor.caller, context))
    versions = pages.plain(
        await mappings.versions(
            destination_id=destination_id, mapping_id=mapping_id, caller=visitor.caller, context=context
        )
    )["items"]
    current = next((one for one in versions if one["current"]), None)
    draft = _draft(mapping)
    async with context.engine.connect() as connection:
        names = await audit.names(connection, [one["published_by"] for one in versions])
    backtest_result = None
    if current is not None and mapping["unpublished_changes"] and not mapping["problems"]:
        backtest_result = await event_schema.run_backtest(
            destination_id=destination_id, mapping_id=mapping_id, caller=visitor.caller, context=context
        )
    return pages.show(
        request,
        "publish.html",
        status=200 if problem is None else status_of(problem),
        **content_of(context, found, visitor, "mappings"),
        mapping=mapping,
        versions=[
            {
                **one,
                "published_by": person(one["published_by"], names),
                "changes": changes(one["mapping"], current["mapping"]) if current else [],
            }
            for one in versions
        ],
        changes=changes(current["mapping"] if current else None, draft),
        first=current is None,
        lacking=problem_views((one["field"], one["detail"]) for one in mapping["problems"]),
        backtest=None if backtest_result is None else backtest_view(backtest_result),
        conflict=_conflict(problem, draft) if problem else None,
        refused=None
        if problem is None or problem.code is ErrorCode.EVENT_NAME_CONFLICT
        else _refusal_text(problem),
    )


def _refusal_text(problem: Problem) -> str:
    return (
        problem.detail
        or "Someone else changed this mapping after you opened this page. Review the changes and try again."
    )


def _draft(mapping: dict[str, Any]) -> dict[str, Any]:
    response_only = {
        "id",
        "destination_id",
        "state",
        "published_version",
        "unpublished_changes",
        "problems",
        "warnings",
        "version",
        "created_at",
        "updated_at",
    }
    return {name: value for name, value in mapping.items() if name not in response_only}


def _conflict(problem: Problem, draft: dict[str, Any]) -> dict[str, str] | None:
    """Return both names of an event name conflict (R12), or None for another problem."""
    if problem.code is not ErrorCode.EVENT_NAME_CONFLICT:
        return None
    event_type = str(problem.extra["event_type"])
    name = draft.get("event_name")
    return {
        "event_type": event_type,
        "label": EVENT_TYPES[event_type].label,
        "pinned": str(problem.extra["pinned_name"]),
        "yours": str(name.get("const") if isinstance(name, dict) else name),
    }
