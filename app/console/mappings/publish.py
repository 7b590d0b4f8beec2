"""Publish page of a mapping: its changes and its impact on recent events, before the button."""

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mappings.backtest import backtest_draft, needs_confirmation
from app.admin.mappings.drafts import MappingDetails, change_draft, read_mapping
from app.admin.mappings.event_names import find_name_conflict, rename_event
from app.admin.mappings.publishing import publish_draft
from app.admin.refusals import ErrorCode, FieldProblem, Problem, Refusal
from app.api.access.secured_route import requires
from app.api.errors import status_of
from app.console import confirmations, pages
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
    form_version,
)
from app.console.destinations.activate import show_after_publish
from app.console.destinations.page import content_of
from app.console.mappings import MAPPING, address_of
from app.console.mappings.preview_view import backtest_view
from app.console.mappings.problem_view import problem_views
from app.console.mappings.statements import statement_changes
from app.console.mappings.view import warning_lines
from app.console.wording import event_type_label
from app.domain.destination import State
from app.domain.observed.backtest import Backtest
from app.store.destinations.destinations import Destination
from app.store.mappings import StoredMapping

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAX_NOTE = 1000
_NAME_REQUIRED = (
    "The draft would reject recent events or lose match keys. Type the exact name of the mapping to publish "
    "it. Nothing was published."
)
_NOTE_TOO_LONG = f"A note has at most {MAX_NOTE:,} characters. Nothing was published."
_STALE = "Someone else changed this mapping after you opened this page. Review the changes and try again."


@router.get(MAPPING + "/publish", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, destination: CurrentDestination, mapping_id: str) -> Response:
    """Show what publishing would change."""
    return await _page(
        visit,
        destination,
        mapping_id,
    )


@router.post(MAPPING + "/publish", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def publish(
    visit: CurrentVisit, destination: CurrentDestination, mapping_id: str, form: Form
) -> Response:
    """Publish the draft, or show why it cannot be published."""
    note = form_text(form, "note")
    try:
        await _require_answers(visit, destination.id, mapping_id, form)
        published = await publish_draft(
            visit.context, visit.caller, destination.id, mapping_id, form_version(form), note
        )
    except Refusal as refusal:
        problem = refusal.problem
        return await _page(visit, destination, mapping_id, problem=problem, note=note)
    return await landing(visit, published.mapping)


async def landing(visit: Visit, published: StoredMapping, sample: str = "") -> Response:
    """Redirect after a publish: a first version leads to the next setup step.

    In development, `sample` becomes the test event there.
    """
    here = f"/console/destinations/{published.destination}"
    address = f"{address_of(published.destination, published.id)}/publish"
    if published.published_version == 1:
        async with visit.context.engine.connect() as connection:
            found = await find_visible(connection, visit.caller, published.destination)
        if sample and visit.context.development and found.state is State.ACTIVE:
            return await show_after_publish(visit, found, sample)
        address = f"{here}/activate" if found.state is State.ACTIVE else here
    return confirmations.redirect(visit.context, address, "published", published.published_version)


async def _require_answers(visit: Visit, destination_id: str, mapping_id: str, form: FormData) -> None:
    """Raise Refusal if the note is too long.

    Also raise Refusal if the draft harms recent events and the form does not repeat the mapping's name.
    """
    if len(form_text(form, "note")) > MAX_NOTE:
        raise Refusal(ErrorCode.INVALID, _NOTE_TOO_LONG, FieldProblem("note", "too_long"))
    details = await read_mapping(visit.context, visit.caller, destination_id, mapping_id)
    backtest = await _backtest(visit, details)
    mapping = details.mapping
    if (
        backtest
        and needs_confirmation(mapping.draft, backtest)
        and form_text(form, "name") != mapping.name.strip()
    ):
        raise Refusal(ErrorCode.INVALID, _NAME_REQUIRED, FieldProblem("name", "invalid"))


async def _backtest(visit: Visit, details: MappingDetails) -> Backtest | None:
    """Compare a changed, valid draft with the published version. None if there is nothing to compare."""
    mapping = details.mapping
    if mapping.published_version is None or not details.unpublished_changes or details.problems:
        return None
    _, result = await backtest_draft(visit.context, visit.caller, mapping.destination, mapping.id)
    return result


@router.post(MAPPING + "/take-name", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def take_name(visit: CurrentVisit, destination_id: str, mapping_id: str, form: Form) -> Response:
    """Set the draft's event name to the pinned name."""
    members = {"event_name": form_text(form, "name")}
    await change_draft(visit.context, visit.caller, destination_id, mapping_id, members, form_version(form))
    return _back(visit.context, destination_id, mapping_id, "name_changed")


@router.post(MAPPING + "/rename-pin", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rename_pin(visit: CurrentVisit, found: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    await rename_event(
        visit.context,
        visit.caller,
        found.advertiser_id,
        form_text(form, "event_type"),
        form_text(form, "name"),
    )
    return _back(visit.context, found.id, mapping_id, "renamed")


def _back(context: AppContext, destination_id: str, mapping_id: str, done: str) -> Response:
    return confirmations.redirect(context, f"{address_of(destination_id, mapping_id)}/publish", done)


async def _page(
    visit: Visit, destination: Destination, mapping_id: str, *, problem: Problem | None = None, note: str = ""
) -> Response:
    details = await read_mapping(visit.context, visit.caller, destination.id, mapping_id)
    conflict = await find_name_conflict(visit.context, visit.caller, destination.id, mapping_id)
    mapping = details.mapping
    backtest = await _backtest(visit, details)
    is_conflict = problem is not None and problem.code is ErrorCode.EVENT_NAME_CONFLICT
    return pages.show(
        visit.request,
        "publish.html",
        status=200 if problem is None else status_of(problem),
        **content_of(visit, destination, "mappings"),
        here=address_of(destination.id, mapping_id),
        details=details,
        mapping=mapping,
        changes=statement_changes(mapping.published, mapping.draft),
        problems=problem_views((each.path, each.sentence) for each in details.problems),
        warnings=warning_lines(details.warnings),
        backtest=None if backtest is None else backtest_view(backtest),
        needs_name=backtest is not None and needs_confirmation(mapping.draft, backtest),
        conflict=conflict,
        type_label=event_type_label(conflict.event_type) if conflict else "",
        note=note,
        max_note=MAX_NOTE,
        refused=(problem.detail or _STALE) if problem and not is_conflict else None,
    )
