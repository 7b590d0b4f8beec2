"""Incident pages: the list, and one incident with its cause, its remedy, and the buttons for it."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.admin import incidents as use_cases
from app.admin.access import Scope
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.paging import Cursor, number_of, split_page
from app.console import confirmations, pages
from app.console.access.secured_page import CurrentVisit, Form, SecuredPage, form_text
from app.console.destinations.chart_view import charts
from app.console.incidents import view
from app.domain.incidents.machine import IncidentState
from app.store import audit
from app.store.incidents import IncidentFilter

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

PAGE = "/console/incidents"
_ROWS = 50


@router.get(PAGE, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_page(
    visit: CurrentVisit, state: Annotated[str, Query(max_length=20)] = "", cursor: Cursor = None
) -> Response:
    """List incidents, newest first."""
    chosen = IncidentState(state) if state in set(IncidentState) else None
    found = await use_cases.list_incidents(
        visit.context, visit.caller, IncidentFilter(chosen), limit=_ROWS + 1, below=number_of(cursor)
    )
    items, next_cursor = split_page(found, _ROWS, lambda row: (row.number,))
    return pages.show(
        visit.request,
        "incidents.html",
        incidents=[view.present(item, visit.context.now()) for item in items],
        may_change=visit.caller.may(Scope.DESTINATIONS_WRITE),
        state=state,
        states=view.STATES,
        next_cursor=next_cursor,
    )


@router.get(PAGE + "/{incident_id}", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, incident_id: str) -> Response:
    """Show an incident."""
    found = await use_cases.find_incident(visit.context, visit.caller, incident_id)
    by = found.acknowledged_by
    async with visit.context.engine.connect() as connection:
        names = await audit.names(connection, filter(None, [by]))
    now = visit.context.now()
    chosen = view.range_of(found.incident, now)
    history = await use_cases.read_incident_history(
        visit.context, visit.caller, found, since=chosen.since, bucket=chosen.bucket
    )
    return pages.show(
        visit.request,
        "incident.html",
        view=view.present(found, now),
        timeline=view.timeline(found, history.messages, names.get(by or "", by)),
        last_answer=view.last_answer(history.requests),
        charts=charts(history.outcomes, (), chosen),
        may_read_events=visit.caller.may(Scope.EVENTS_READ),
        may_change=visit.caller.may(Scope.DESTINATIONS_WRITE),
        hours=view.MUTE_HOURS,
    )


@router.post(PAGE + "/acknowledge", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge_chosen(visit: CurrentVisit, form: Form) -> Response:
    """Acknowledge the chosen incidents of the list. Those that are acknowledged already stay as they are."""
    for incident_id in form.getlist("incident")[:_ROWS]:
        await use_cases.acknowledge_incident(visit.context, visit.caller, str(incident_id), note=None)
    return confirmations.redirect(visit.context, PAGE, "acknowledged")


@router.post(PAGE + "/{incident_id}/acknowledge", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Acknowledge an incident, with an optional note."""
    note = form_text(form, "note").strip() or None
    if note is not None and len(note) > 1_000:
        raise Refusal(ErrorCode.INVALID, "A note has at most 1,000 characters.")
    await use_cases.acknowledge_incident(visit.context, visit.caller, incident_id, note=note)
    return confirmations.redirect(visit.context, f"{PAGE}/{incident_id}", "acknowledged")


@router.post(PAGE + "/{incident_id}/mute", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def mute(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Mute an incident for some hours; 0 ends the mute."""
    hours = form_text(form, "hours")
    if hours not in {str(number) for number in (0, *view.MUTE_HOURS)}:
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed times.")
    until = visit.context.now() + timedelta(hours=int(hours)) if int(hours) else None
    await use_cases.mute_incident(visit.context, visit.caller, incident_id, until=until)
    if until is None:
        return confirmations.redirect(visit.context, f"{PAGE}/{incident_id}", "incident_unmuted")
    return confirmations.redirect(visit.context, f"{PAGE}/{incident_id}", "incident_muted", int(hours))
