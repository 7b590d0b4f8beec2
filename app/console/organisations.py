"""Organisations page of the platform: list, create, change, suspend, resume, or act for an organisation."""

from pydantic import ValidationError
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope, organisations
from app.admin.field_problems import field_problems
from app.admin.organisations import NewOrganisation, OrganisationChange
from app.api.lists import ListQuery
from app.console.access import sessions
from app.console.visits import FORM_ERRORS, CurrentVisit, Form, PageRouter, Paging

router = PageRouter()

_ADDRESS = "/console/organisations"


@router.get(_ADDRESS, Scope.ORGANISATIONS_ADMIN)
async def page(visit: CurrentVisit, paging: Paging) -> Response:
    """List organisations next to the form for a new organisation."""
    rows = await organisations.list_organisations(visit.context, limit=paging.most, after=paging.time_and_id)
    return await visit.show(
        "organisations.html",
        **paging.listed(rows, lambda row: (row.created_at.isoformat(), row.id)),
        # The role platform alone may open no page of an organisation.
        may_switch=visit.caller.scopes != {Scope.ORGANISATIONS_ADMIN},
    )


@router.post(_ADDRESS, Scope.ORGANISATIONS_ADMIN)
async def create(visit: CurrentVisit, form: Form) -> Response:
    """Create an organisation."""
    given = {name: value for name in ("id", "name") if (value := form.text(name))}
    try:
        await organisations.create_organisation(visit.context, NewOrganisation.model_validate(given))
    except FORM_ERRORS as error:
        return await page(visit.refused(error), ListQuery(visit.context))
    return visit.done("organisation_created", _ADDRESS)


@router.post(_ADDRESS + "/{id}", Scope.ORGANISATIONS_ADMIN)
async def change(visit: CurrentVisit, id: str, form: Form) -> Response:
    """Change the name and the limits of an organisation. An empty field means no limit."""
    limits = {name: form.number(name) for name in ("destinations", "events_per_second")}
    try:
        body = OrganisationChange.model_validate({"name": form.text("name"), "limits": limits})
    except ValidationError as error:
        raise Refusal(ErrorCode.INVALID, None, *field_problems(error.errors())) from None
    await organisations.change_organisation(visit.context, id, body, form.version)
    return visit.done("organisation_changed", _ADDRESS)


@router.post(_ADDRESS + "/{id}/switch", Scope.ORGANISATIONS_ADMIN)
async def switch(visit: CurrentVisit, id: str) -> Response:
    """Act for an organisation until the session ends or the user chooses another organisation."""
    chosen = await organisations.find_organisation(visit.context, id)
    await sessions.act_for(visit.context, visit.request, chosen.id)
    return visit.done("organisation_switched", _ADDRESS)


@router.post(_ADDRESS + "/{id}/suspend", Scope.ORGANISATIONS_ADMIN)
async def suspend(visit: CurrentVisit, id: str) -> Response:
    """Suspend an organisation."""
    await organisations.set_suspended(visit.context, id, suspended=True)
    return visit.done("organisation_suspended", _ADDRESS)


@router.post(_ADDRESS + "/{id}/resume", Scope.ORGANISATIONS_ADMIN)
async def resume(visit: CurrentVisit, id: str) -> Response:
    """Resume an organisation."""
    await organisations.set_suspended(visit.context, id, suspended=False)
    return visit.done("organisation_resumed", _ADDRESS)
