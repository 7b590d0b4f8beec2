"""The settings pages. One shows this instance and the session; the other shows a destination."""

import sys

from pydantic import ValidationError
from starlette.responses import Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.access.roles import ROLES
from app.admin.destinations.settings import change_destination
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.console import form_view
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.create import TEXTS, body_of
from app.console.destinations.page import PAGE, content_of
from app.console.wording import age
from app.domain.destination import State
from app.store.access import sessions
from app.store.destinations.destinations import Destination

router = page_router()

_STALE = "Someone changed this destination after you opened the page. Reload the page."
_FIXED = ("advertiser_id", "region")  # as soon as the destination is connected or has accepted an event
_EMPTY = {field.name: None for field in catalog.AMAZON.fields if not field.required and field.default is None}


@router.get("/console/settings")
@requires(*Scope)
async def page(visit: CurrentVisit) -> Response:
    """Show the configuration of this instance and the permissions of the session."""
    context = visit.context
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
    return visit.show(
        "settings.html",
        facts=facts,
        limits=limits,
        roles=[(name, sorted(scopes)) for name, scopes in ROLES.items()],
        scopes=sorted(visit.caller.scopes),
    )


@router.get(PAGE + "/settings")
@requires(Scope.DESTINATIONS_READ)
async def destination_page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show the destination's settings in a form."""
    return await _show(visit, found)


@router.post(PAGE + "/settings")
@requires(Scope.DESTINATIONS_WRITE)
async def change(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Apply the form to the destination. The form omits fixed fields."""
    try:
        body = DestinationUpdate.model_validate({**_EMPTY, **body_of(form)})
        await change_destination(visit.context, visit.caller, found.id, body, form.version)
    except (ValidationError, Refusal) as error:
        problems, status = form_view.problems_of(error)
        if isinstance(error, Refusal) and error.problem.code is ErrorCode.STALE:
            problems = {"": _STALE}
        return await _show(visit, found, form=form, problems=problems, status=status)
    return visit.done("settings_saved", PAGE + "/settings")


async def _show(
    visit: Visit,
    found: Destination,
    *,
    form: Form | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    content = await content_of(visit, found, "settings")
    # The API decides whether a change is allowed. The form offers the fixed fields only of a draft.
    is_draft = content["may_write"] and found.state is State.DRAFT
    values = {
        **{name: str(getattr(found, name) or "") for name in TEXTS},
        "requests_per_second": f"{found.rate_limit.requests_per_second:g}",
        "burst": str(found.rate_limit.burst),
    }
    if form is not None:
        values |= {name: form.text(name) for name in values if name in form}
    return visit.show(
        "destination_settings.html",
        status=status,
        **content,
        values=values,
        problems=problems or {},
        changeable=[field for field in catalog.AMAZON.fields if is_draft or field.name not in _FIXED],
        editable=is_draft,
    )
