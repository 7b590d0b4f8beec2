"""The form for a new destination (R7)."""

from collections.abc import Mapping
from contextlib import suppress

from pydantic import ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.destinations.amazon_connection import begin_connection
from app.admin.destinations.settings import create_destination
from app.admin.inputs import NewDestination
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.console import form_view, pages
from app.console.access.secured_page import CurrentVisit, Form, Visit, page_router
from app.console.destinations.page import sign_in_origin
from app.domain.destination import DEFAULT_RATE, Region, advertiser_id_problem

router = page_router()

NEW = "/console/destinations/new"
_FIELDS = catalog.AMAZON.fields
TEXTS = tuple(field.name for field in _FIELDS if field.type != "object")
_REQUIRED = {field.name for field in _FIELDS if field.required}
RATE = ("requests_per_second", "burst")
# Region and currency have no default. Users would submit a default without checking it.
_DEFAULTS = {field.name: field.default for field in _FIELDS if field.type != "object" and field.default} | {
    name: f"{getattr(DEFAULT_RATE, name):g}" for name in RATE
}
# The sandbox's built-in advertisers.
SANDBOX_ADVERTISERS = (("1000000001", "North America"), ("2000000001", "Europe"), ("3000000001", "Far East"))


@router.get(NEW)
@requires(Scope.DESTINATIONS_WRITE)
async def page(visit: CurrentVisit) -> Response:
    """Show help and an empty form."""
    return _show(visit, _DEFAULTS, {})


@router.post(NEW)
@requires(Scope.DESTINATIONS_WRITE)
async def create(visit: CurrentVisit, form: Form) -> Response:
    """Create the destination and redirect to its page.

    If the input is invalid, show the form again with its problems.
    """
    values = {name: form.text(name) for name in (*TEXTS, *RATE)}
    try:
        body = NewDestination.model_validate(body_of(form))
        created = await create_destination(visit.context, visit.caller, body)
    except (ValidationError, Refusal) as error:
        problems, status = form_view.problems_of(error)
        return _show(visit, values, problems, status=status)
    connects = form.text("then") == "connect" and visit.context.amazon_configured
    if connects:
        sign_in = await begin_connection(visit.context, visit.caller, created.id)
        return RedirectResponse(sign_in, 303)
    return visit.done("created", f"/console/destinations/{created.id}")


@router.get("/console/hints/advertiser-id")
@requires(Scope.DESTINATIONS_READ)
async def advertiser_hint(advertiser_id: str = "") -> Response:
    """Return the problem of an advertiser id while the user types it. Return nothing for a valid id."""
    typed = advertiser_id.strip()
    problem = advertiser_id_problem(typed) if typed else None
    return HTMLResponse(pages.part("hint_part.html", problem=problem))


def body_of(form: Form) -> dict[str, object]:
    """Return the form as the API's request body, without blank fields."""
    body = {name: form.text(name) for name in TEXTS if form.text(name)}
    rate = {name: _number(form.text(name)) for name in RATE if form.text(name)}
    return {**body, **({"rate_limit": rate} if rate else {})}


def _number(text: str) -> float | int | str:
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text  # the model refuses a string


def _show(
    visit: Visit, values: Mapping[str, str], problems: Mapping[str, str], *, status: int = 200
) -> Response:
    kind, origins = catalog.AMAZON, {sign_in_origin(visit.context, region) for region in Region}
    has_sandbox = visit.context.development and not any("amazon.com" in origin for origin in origins)
    return visit.show(
        "create.html",
        status=status,
        leads_to=" ".join(sorted(origins)),
        configured=visit.context.amazon_configured,
        kind=kind,
        optional_problem=any(name and name.partition(".")[0] not in _REQUIRED for name in problems),
        values=values,
        problems=problems,
        sandbox=SANDBOX_ADVERTISERS if has_sandbox else (),
    )
