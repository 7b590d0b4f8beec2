"""Making a destination (R7): the catalogue's page for a type, with its form."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin.access import Scope
from app.admin.field_problems import field_problems
from app.admin.inputs import NewDestination
from app.admin.refusals import Refusal
from app.api import catalog, destinations
from app.api.errors import status_of
from app.api.secured_route import Context, requires
from app.console import form_view, pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.domain.destination import advertiser_id_problem

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

NEW = "/console/destinations/new"
_PLAIN = ("name", "advertiser_id", "region", "currency", "identity_profile", "dataset_name")
DEFAULTS = {"region": "NA", "currency": "USD", "identity_profile": "amazon"}


@router.get(NEW, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def page(request: Request) -> Response:
    """Show help on the left and an empty form on the right."""
    return _show(request, DEFAULTS, {})


@router.post(NEW, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def create(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Make the destination and go on to connecting it; or show the form again with what is wrong."""
    values = {name: form_text(form, name) for name in (*_PLAIN, "requests_per_second", "burst")}
    try:
        body = NewDestination.model_validate(body_of(form))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return _show(request, values, form_view.of_errors(found, field_problems(found)), status=422)
    try:
        made = await destinations.create(body, visitor.caller, context, Response())
    except Refusal as refusal:
        told = form_view.of_fields(refusal.problem.fields) or {"": refusal.problem.detail or ""}
        return _show(request, values, told, status=status_of(refusal.problem))
    alike = "?alike=1" if made["warnings"] else ""
    return RedirectResponse(f"/console/destinations/{made['id']}{alike}", 303)


@router.get("/console/hints/advertiser-id", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def advertiser_hint(advertiser_id: str = "") -> Response:
    """Say what is wrong with an advertiser id that is being typed, or nothing."""
    typed = advertiser_id.strip()
    problem = advertiser_id_problem(typed) if typed else None
    return HTMLResponse(pages.part("hint_part.html", problem=problem))


def body_of(form: FormData) -> dict[str, Any]:
    """Return what a form says, in the shape and types of the API's body; blank fields are left out."""
    body: dict[str, Any] = {name: form_text(form, name) for name in _PLAIN if form_text(form, name)}
    rate = {
        name: _number(form_text(form, name))
        for name in ("requests_per_second", "burst")
        if form_text(form, name)
    }
    return {**body, **({"rate_limit": rate} if rate else {})}


def _number(written: str) -> float | int | str:
    # What is no number stays a text, which the model refuses with its own word.
    try:
        return int(written)
    except ValueError:
        pass
    try:
        return float(written)
    except ValueError:
        return written


def _show(
    request: Request, values: Mapping[str, str], problems: Mapping[str, str], *, status: int = 200
) -> Response:
    kind = catalog.amazon()
    return pages.show(
        request,
        "create.html",
        status=status,
        kind=kind,
        fields={field["name"]: field for field in kind["fields"]},
        values=values,
        problems=problems,
    )
