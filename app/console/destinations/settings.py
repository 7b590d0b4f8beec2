"""The form of a destination: to create it (R7), and to change its settings."""

from starlette.responses import RedirectResponse, Response

from app.admin import Scope, catalog
from app.admin.destinations.amazon_connection import begin_connection
from app.admin.destinations.settings import (
    DestinationUpdate,
    NewDestination,
    change_destination,
    create_destination,
)
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, CurrentVisit, Form, PageRouter
from app.domain.destination import DEFAULT_RATE, Region, State, advertiser_id_problem

router = PageRouter()

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


@router.get(NEW, Scope.DESTINATIONS_WRITE)
async def page(visit: CurrentVisit) -> Response:
    """Show help and an empty form."""
    problems, _ = visit.problems
    origins = {visit.sign_in_origin(region) for region in Region}
    has_sandbox = visit.context.development and not any("amazon.com" in origin for origin in origins)
    return await visit.show(
        "create.html",
        leads_to=" ".join(sorted(origins)),
        kind=catalog.AMAZON,
        optional_problem=any(name and name.partition(".")[0] not in _REQUIRED for name in problems),
        values={**_DEFAULTS, **visit.typed},
        sandbox=SANDBOX_ADVERTISERS if has_sandbox else (),
    )


@router.post(NEW, Scope.DESTINATIONS_WRITE)
async def create(visit: CurrentVisit, form: Form) -> Response:
    """Create the destination and redirect to its page.

    If the input is invalid, show the form again with its problems.
    """
    try:
        body = NewDestination.model_validate(body_of(form))
        created = await create_destination(visit.context, body)
    except FORM_ERRORS as error:
        return await page(visit.refused(error))
    if form.text("then") == "connect" and visit.context.amazon_configured:
        return RedirectResponse(await begin_connection(visit.context, created.id), 303)
    return visit.done("created", f"/console/destinations/{created.id}")


@router.get("/console/hints/advertiser-id", Scope.DESTINATIONS_READ)
async def advertiser_hint(visit: CurrentVisit, advertiser_id: str = "") -> Response:
    """Return the problem of an advertiser id while the user types it. Return nothing for a valid id."""
    typed = advertiser_id.strip()
    problem = advertiser_id_problem(typed) if typed else None
    return visit.part("hint_part.html", problem=problem)


def body_of(form: Form) -> dict[str, object]:
    """Return the form as the API's request body, without blank fields."""
    body = {name: form.text(name) for name in TEXTS if form.text(name)}
    rate = {name: form.number(name) for name in RATE if form.text(name)}
    return {**body, **({"rate_limit": rate} if rate else {})}


_FIXED = ("advertiser_id", "region")  # as soon as the destination is connected or has accepted an event
_EMPTY = {field.name: None for field in catalog.AMAZON.fields if not field.required and field.default is None}


@router.get(PAGE + "/settings", Scope.DESTINATIONS_READ)
async def settings_page(visit: CurrentDestination) -> Response:
    """Show the destination's settings in a form."""
    found = visit.destination
    # The API decides whether a change is allowed. The form offers the fixed fields only of a draft.
    is_draft = visit.caller.may(Scope.DESTINATIONS_WRITE) and found.state is State.DRAFT
    return await visit.show(
        "destination_settings.html",
        values={
            **{name: str(getattr(found, name) or "") for name in TEXTS},
            "requests_per_second": f"{found.rate_limit.requests_per_second:g}",
            "burst": str(found.rate_limit.burst),
            **visit.typed,
        },
        changeable=[field for field in catalog.AMAZON.fields if is_draft or field.name not in _FIXED],
        editable=is_draft,
    )


@router.post(PAGE + "/settings", Scope.DESTINATIONS_WRITE)
async def change(visit: CurrentDestination, form: Form) -> Response:
    """Apply the form to the destination. The form omits fixed fields."""
    try:
        body = DestinationUpdate.model_validate({**_EMPTY, **body_of(form)})
        await change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await settings_page(visit.refused(error))
    return visit.done("settings_saved", PAGE + "/settings")


@router.post(PAGE + "/currency", Scope.DESTINATIONS_WRITE)
async def follow_account_currency(visit: CurrentDestination, form: Form) -> Response:
    """Set the destination's currency to the currency of the Amazon account, which the button names."""
    try:
        body = DestinationUpdate.model_validate({"currency": form.text("currency")})
        await change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await settings_page(visit.refused(error))
    return visit.done("currency_changed", PAGE)
