"""The form for a new destination (R7)."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.amazon_connection import begin_connection
from app.admin.context import AppContext
from app.admin.destination_settings import create_destination
from app.admin.field_problems import field_problems
from app.admin.inputs import NewDestination
from app.admin.refusals import Refusal
from app.api.errors import status_of
from app.api.secured_route import Context, requires
from app.console import confirmations, form_view, pages
from app.console.destination import sign_in_origin
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.domain.destination import Region, advertiser_id_problem

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

NEW = "/console/destinations/new"
_TEXT_FIELDS = ("name", "advertiser_id", "region", "currency", "identity_profile", "dataset_name")
# Region and currency have no preselected value: users would submit it without checking.
DEFAULTS = {"identity_profile": "amazon"}
# The sandbox's built-in advertisers.
SANDBOX_ADVERTISERS = (
    ("1000000001", "North America"),
    ("2000000001", "Europe"),
    ("3000000001", "Far East"),
)


@router.get(NEW, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def page(request: Request, context: Context) -> Response:
    """Show help and an empty form."""
    return _show(request, context, DEFAULTS, {})


@router.post(NEW, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def create(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Create the destination and redirect to its page, or show the form again with its problems."""
    values = {name: form_text(form, name) for name in (*_TEXT_FIELDS, "requests_per_second", "burst")}
    try:
        body = NewDestination.model_validate(body_of(form))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(errors, field_problems(errors))
        return _show(request, context, values, problems, status=422)
    try:
        created = await create_destination(context, visitor.caller, body)
    except Refusal as refusal:
        problems = form_view.of_fields(refusal.problem.fields) or {"": refusal.problem.detail or ""}
        return _show(request, context, values, problems, status=status_of(refusal.problem))
    if form_text(form, "then") == "connect" and context.amazon_configured and not created.similar:
        # Warn about a similar name before Amazon's sign-in: the destination may be a duplicate.
        return RedirectResponse(await begin_connection(context, visitor.caller, created.destination.id), 303)
    query = "?alike=1" if created.similar else ""
    return confirmations.redirect(
        context, f"/console/destinations/{created.destination.id}{query}", "created"
    )


@router.get("/console/hints/advertiser-id", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def advertiser_hint(advertiser_id: str = "") -> Response:
    """Return the problem of an advertiser id while it is typed, or nothing."""
    typed = advertiser_id.strip()
    problem = advertiser_id_problem(typed) if typed else None
    return HTMLResponse(pages.part("hint_part.html", problem=problem))


def body_of(form: FormData) -> dict[str, object]:
    """Return the form as the API's request body, without blank fields."""
    body = {name: form_text(form, name) for name in _TEXT_FIELDS if form_text(form, name)}
    rate = {
        name: _number(form_text(form, name))
        for name in ("requests_per_second", "burst")
        if form_text(form, name)
    }
    return {**body, **({"rate_limit": rate} if rate else {})}


def _number(text: str) -> float | int | str:
    # Anything else stays a string, which the model refuses.
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _show(
    request: Request,
    context: AppContext,
    values: Mapping[str, str],
    problems: Mapping[str, str],
    *,
    status: int = 200,
) -> Response:
    kind = catalog.AMAZON
    return pages.show(
        request,
        "create.html",
        status=status,
        leads_to=" ".join(sorted({sign_in_origin(context, region) for region in Region})),
        configured=context.amazon_configured,
        kind=kind,
        fields={field.name: field for field in kind.fields},
        values=values,
        problems=problems,
        sandbox=SANDBOX_ADVERTISERS if _has_sandbox(request.app.state.context) else (),
    )


def _has_sandbox(context: AppContext) -> bool:
    return context.development and "amazon.com" not in sign_in_origin(context, Region.NA)
