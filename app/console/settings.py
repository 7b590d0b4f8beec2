"""The settings pages: of this instance and session, and of a destination."""

import sys

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.alerting_input import DestinationUpdate
from app.admin.context import AppContext
from app.admin.destination_settings import change_destination
from app.admin.destinations import find_visible
from app.admin.field_problems import field_problems
from app.admin.refusals import Refusal
from app.admin.roles import ROLES
from app.api.errors import status_of
from app.api.secured_route import Context, requires
from app.console import confirmations, form_view, pages
from app.console.create_destination import body_of
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, form_version
from app.console.sessions import Visitor
from app.console.wording import age
from app.domain.destination import State
from app.store import sessions

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_FIELDS = ("name", "advertiser_id", "region", "currency", "identity_profile", "dataset_name")


@router.get("/console/settings", response_model=None)
@requires(*Scope)
async def page(request: Request, context: Context, visitor: CurrentVisitor) -> Response:
    """Show the configuration of this instance and the permissions of the session."""
    facts = (
        ("Address", context.public_url),
        ("Mode", "Development" if context.development else "Production"),
        ("Amazon application", "set" if context.amazon_configured else "missing: connecting is unavailable"),
        ("Max event age", age(context.max_event_age.total_seconds())),
        ("Warning age", age(context.warn_event_age.total_seconds())),
        ("TCF vendor", str(context.consent.tcf_vendor)),
        ("TCF purposes", ", ".join(map(str, sorted(context.consent.tcf_purposes)))),
        ("Python", sys.version.split()[0]),
    )
    limits = (age(sessions.IDLE.total_seconds()), age(sessions.ABSOLUTE.total_seconds()))
    return pages.show(
        request,
        "settings.html",
        facts=facts,
        limits=limits,
        roles=[(name, sorted(scopes)) for name, scopes in ROLES.items()],
        scopes=sorted(visitor.caller.scopes),
    )


@router.get(PAGE + "/settings", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def destination_page(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Show the destination's settings in a form."""
    return await _show(request, destination_id, context, visitor)


@router.post(PAGE + "/settings", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Apply the form to the destination. The form omits fixed fields."""
    try:
        body = DestinationUpdate.model_validate({"dataset_name": None, **body_of(form)})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(found, field_problems(found))
        return await _show(
            request, destination_id, context, visitor, form=form, problems=problems, status=422
        )
    try:
        await change_destination(context, visitor.caller, destination_id, body, form_version(form))
    except Refusal as refusal:
        problems = form_view.of_fields(refusal.problem.fields) or {
            "": refusal.problem.detail
            or "Someone changed this destination after you opened the page. Reload the page."
        }
        status = status_of(refusal.problem)
        return await _show(
            request, destination_id, context, visitor, form=form, problems=problems, status=status
        )
    return confirmations.redirect(
        context, f"/console/destinations/{destination_id}/settings", "settings_saved"
    )


async def _show(
    request: Request,
    destination_id: str,
    context: AppContext,
    visitor: Visitor,
    *,
    form: FormData | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    content = content_of(context, found, visitor, "settings")
    values = {
        **{name: str(getattr(found, name) or "") for name in _FIELDS},
        "requests_per_second": f"{found.rate.requests_per_second:g}",
        "burst": str(found.rate.burst),
    }
    if form is not None:
        values |= {name: form_text(form, name) for name in values if name in form}
    return pages.show(
        request,
        "destination_settings.html",
        status=status,
        **content,
        values=values,
        problems=problems or {},
        fields={field.name: field for field in catalog.AMAZON.fields},
        # The API decides. The form offers these fields while the destination is a draft.
        editable=content["may_write"] and found.state is State.DRAFT,
    )
