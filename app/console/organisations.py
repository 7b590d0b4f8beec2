"""Organisations page of the platform: list, create, rename, limit, suspend, resume, and act for one."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.admin import organisations
from app.admin.access import Scope
from app.admin.field_problems import field_problems
from app.admin.inputs import NewOrganisation, OrganisationChange
from app.admin.refusals import ErrorCode, Refusal
from app.api.errors import status_of
from app.api.paging import Cursor, cursor_of, split_page, time_and_id_of
from app.api.secured_route import Context, requires
from app.console import confirmations, form_view, pages, sessions
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_A_PAGE = 50
_ADDRESS = "/console/organisations"


@router.get("/console/organisations", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def page(request: Request, context: Context, cursor: Cursor = None) -> Response:
    """List organisations next to the form for a new one."""
    return await _page(request, context, cursor=cursor)


@router.post("/console/organisations", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def create(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Create an organisation."""
    given = {name: value for name in ("id", "name") if (value := form_text(form, name))}
    try:
        await organisations.create_organisation(
            context, visitor.caller, NewOrganisation.model_validate(given)
        )
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(found, field_problems(found))
        return await _page(request, context, given=given, problems=problems, status=422)
    except Refusal as refusal:
        problems = form_view.of_fields(refusal.problem.fields)
        return await _page(
            request, context, given=given, problems=problems, status=status_of(refusal.problem)
        )
    return confirmations.redirect(context, _ADDRESS, "organisation_created")


@router.post("/console/organisations/{id}", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def change(id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Change the name and the limits of an organisation; an empty limit is none."""
    limits = {name: _number(form_text(form, name)) for name in ("destinations", "events_per_second")}
    try:
        body = OrganisationChange.model_validate({"name": form_text(form, "name"), "limits": limits})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(found, field_problems(found))
        detail = " ".join(f"{name}: {sentence}" for name, sentence in problems.items())
        raise Refusal(ErrorCode.INVALID, detail) from None
    await organisations.change_organisation(context, visitor.caller, id, body)
    return confirmations.redirect(context, _ADDRESS, "organisation_changed")


@router.post("/console/organisations/{id}/switch", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def switch(
    request: Request, id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Act for an organisation until the session ends or another is chosen."""
    chosen = await organisations.find_organisation(context, id)
    await sessions.act_for(context, request, chosen.id)
    return confirmations.redirect(context, _ADDRESS, "organisation_switched")


@router.post("/console/organisations/{id}/suspend", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def suspend(id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Suspend an organisation."""
    await organisations.suspend_organisation(context, visitor.caller, id)
    return confirmations.redirect(context, _ADDRESS, "organisation_suspended")


@router.post("/console/organisations/{id}/resume", response_model=None)
@requires(Scope.ORGANISATIONS_ADMIN)
async def resume(id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Resume an organisation."""
    await organisations.resume_organisation(context, visitor.caller, id)
    return confirmations.redirect(context, _ADDRESS, "organisation_resumed")


def _number(text: str) -> int | str | None:
    # Anything else stays a string, which the model refuses.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None


async def _page(
    request: Request,
    context: Context,
    *,
    cursor: str | None = None,
    given: Mapping[str, str] | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    rows = await organisations.list_organisations(context, limit=_A_PAGE + 1, after=time_and_id_of(cursor))
    items, has_more = split_page(rows, _A_PAGE)
    return pages.show(
        request,
        "organisations.html",
        status=status,
        organisations=items,
        next_cursor=cursor_of(items[-1].created_at.isoformat(), items[-1].id) if has_more else None,
        given=given or {},
        problems=problems or {},
    )
