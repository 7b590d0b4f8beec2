"""Publish page of a mapping: changes, event name conflicts, versions and rollback."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.backtest import backtest_draft, needs_confirmation
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.event_names import rename_event
from app.admin.mapping_drafts import MappingDetails, change_draft, read_mapping
from app.admin.mapping_versions import list_versions, publish_draft, roll_back
from app.admin.refusals import ErrorCode, FieldProblem, Problem, Refusal
from app.api.errors import status_of
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import content_of
from app.console.mapping_editor import MAPPING
from app.console.mapping_view import changes
from app.console.preview_view import backtest_view
from app.console.problem_view import problem_views
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, form_version
from app.console.sessions import Visitor
from app.console.wording import person
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.observed.backtest import Backtest
from app.store import audit

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_VERSIONS = 50
_NAME_REQUIRED = (
    "The draft would reject recent events or lose match keys. Type the exact name of the mapping to publish "
    "it. Nothing was published."
)


@router.get(MAPPING + "/publish", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
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
        await _require_name(context, visitor, destination_id, mapping_id, form)
        published = await publish_draft(
            context, visitor.caller, destination_id, mapping_id, form_version(form)
        )
    except Refusal as refusal:
        return await _page(request, destination_id, mapping_id, context, visitor, problem=refusal.problem)
    return _back(context, destination_id, mapping_id, "published", published.mapping.published_version)


async def _require_name(
    context: AppContext, visitor: Visitor, destination_id: str, mapping_id: str, form: FormData
) -> None:
    """Raise Refusal when the draft is harmful and the form does not repeat the mapping's name."""
    details = await read_mapping(context, visitor.caller, destination_id, mapping_id)
    backtest = await _backtest(context, visitor, details)
    mapping = details.mapping
    if (
        backtest
        and needs_confirmation(mapping.draft, backtest)
        and form_text(form, "name") != mapping.name.strip()
    ):
        raise Refusal(ErrorCode.INVALID, _NAME_REQUIRED, FieldProblem("name", "invalid"))


async def _backtest(context: AppContext, visitor: Visitor, details: MappingDetails) -> Backtest | None:
    """Compare the draft with the published version; None without one, or if it cannot be published."""
    mapping = details.mapping
    if mapping.published_version is None or not details.unpublished_changes or details.problems:
        return None
    _, result = await backtest_draft(context, visitor.caller, mapping.destination, mapping.id)
    return result


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
    version = form_text(form, "to")
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed versions.")
    try:
        await roll_back(context, visitor.caller, destination_id, mapping_id, int(version), form_version(form))
    except Refusal as refusal:
        return await _page(request, destination_id, mapping_id, context, visitor, problem=refusal.problem)
    return _back(context, destination_id, mapping_id, "rolled_back", int(version))


@router.post(MAPPING + "/take-name", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def take_name(
    destination_id: str, mapping_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Set the draft's event name to the pinned one."""
    members = {"event_name": form_text(form, "name")}
    await change_draft(context, visitor.caller, destination_id, mapping_id, members, form_version(form))
    return _back(context, destination_id, mapping_id, "name_changed")


@router.post(MAPPING + "/rename-pin", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rename_pin(
    destination_id: str, mapping_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    await rename_event(
        context, visitor.caller, found.advertiser_id, form_text(form, "event_type"), form_text(form, "name")
    )
    return _back(context, destination_id, mapping_id, "renamed")


def _back(
    context: AppContext, destination_id: str, mapping_id: str, done: str, number: int | None = None
) -> Response:
    page_path = f"/console/destinations/{destination_id}/mappings/{mapping_id}/publish"
    return confirmations.redirect(context, page_path, done, number)


async def _page(
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: AppContext,
    visitor: Visitor,
    *,
    problem: Problem | None = None,
) -> Response:
    details = await read_mapping(context, visitor.caller, destination_id, mapping_id)
    versions = await list_versions(context, visitor.caller, destination_id, mapping_id, limit=_VERSIONS)
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
        names = await audit.names(connection, [each.version.published_by for each in versions])
    mapping = details.mapping
    backtest = await _backtest(context, visitor, details)
    conflict = _conflict(problem, mapping.draft) if problem else None
    return pages.show(
        request,
        "publish.html",
        status=200 if problem is None else status_of(problem),
        **content_of(context, found, visitor, "mappings"),
        details=details,
        mapping=mapping,
        versions=[
            (
                each,
                person(each.version.published_by, names),
                changes(each.version.document, mapping.published) if mapping.published else [],
            )
            for each in versions
        ],
        changes=changes(mapping.published, mapping.draft),
        problems=problem_views((each.path, each.sentence) for each in details.problems),
        backtest=None if backtest is None else backtest_view(backtest),
        needs_name=backtest is not None and needs_confirmation(mapping.draft, backtest),
        conflict=conflict,
        refused=_refusal_text(problem) if problem and not conflict else None,
    )


def _refusal_text(problem: Problem) -> str:
    return (
        problem.detail
        or "Someone else changed this mapping after you opened this page. Review the changes and try again."
    )


def _conflict(problem: Problem, draft: Mapping[str, Any]) -> dict[str, str] | None:
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
