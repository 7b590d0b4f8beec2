"""Incident pages: the list, and one incident with its cause, its remedy, and the buttons for it."""

from datetime import timedelta
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin import incidents as use_cases
from app.admin.access import Scope
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.paging import PAGE_SIZE, Cursor, record_id_of
from app.console import pages
from app.console.access.secured_page import CurrentVisit, Form, page_router
from app.console.destinations.chart_view import charts
from app.console.incidents import view
from app.console.time_range import range_since
from app.domain.incidents.machine import IncidentState
from app.store.incidents import IncidentFilter

router = page_router()

PAGE = "/console/incidents"


@router.get(PAGE)
@requires(Scope.DESTINATIONS_READ)
async def list_page(
    visit: CurrentVisit,
    state: Annotated[str, Query(max_length=20)] = "",
    destination: Annotated[str, Query(max_length=64)] = "",
    cursor: Cursor = None,
) -> Response:
    """List the incidents of all destinations or of one, newest first."""
    chosen = IncidentState(state) if state in set(IncidentState) else None
    wanted = IncidentFilter(chosen, destination or None)
    found = await use_cases.list_incidents(
        visit.context, wanted, limit=PAGE_SIZE + 1, below=record_id_of(visit.context, cursor)
    )
    content = pages.listed(visit.context, found, lambda row: (row.number,), cursor)
    return visit.show(
        "incidents.html",
        **content,
        now=visit.context.now(),
        present=view.present,
        state=state,
        destination=destination,
        name=(await visit.names([destination])).get(destination, destination),
        states=view.STATES,
    )


@router.get(PAGE + "/{incident_id}")
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, incident_id: str) -> Response:
    """Show an incident."""
    found = await use_cases.find_incident(visit.context, incident_id)
    by, now = found.acknowledged_by, visit.context.now()
    names = await visit.names([by])
    chosen = range_since(found.incident.opened_at, now)
    history = await use_cases.read_incident_history(
        visit.context, found, since=chosen.since, bucket=chosen.bucket
    )
    return visit.show(
        "incident.html",
        view=view.present(
            found,
            now,
            may_write=visit.caller.may(Scope.DESTINATIONS_WRITE),
            may_replay=visit.caller.may(Scope.REPLAY),
            suspended=history.suspended,
        ),
        timeline=view.timeline(found, history.messages, names.get(by or "", by)),
        last_answer=view.last_answer(history.requests),
        charts=charts(history.outcomes, (), chosen),
        states=view.STATES,
        hours=view.MUTE_HOURS,
    )


@router.post(PAGE + "/acknowledge")
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge_chosen(visit: CurrentVisit, form: Form) -> Response:
    """Acknowledge the chosen incidents of the list. Those that are acknowledged already stay as they are."""
    for incident_id in form.getlist("incident")[:PAGE_SIZE]:
        await use_cases.acknowledge_incident(visit.context, str(incident_id), note=None)
    return visit.done("acknowledged", PAGE)


@router.post(PAGE + "/{incident_id}/acknowledge")
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Acknowledge an incident, with an optional note."""
    note = form.text("note").strip() or None
    if note is not None and len(note) > 1_000:
        raise Refusal(ErrorCode.INVALID, "A note has at most 1,000 characters.")
    await use_cases.acknowledge_incident(visit.context, incident_id, note=note)
    return visit.done("acknowledged", PAGE + "/{incident_id}")


@router.post(PAGE + "/{incident_id}/mute")
@requires(Scope.DESTINATIONS_WRITE)
async def mute(visit: CurrentVisit, incident_id: str, form: Form) -> Response:
    """Mute an incident for some hours; 0 ends the mute."""
    hours = form.text("hours")
    if hours not in {str(number) for number in (0, *view.MUTE_HOURS)}:
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed times.")
    until = visit.context.now() + timedelta(hours=int(hours)) if int(hours) else None
    await use_cases.mute_incident(visit.context, incident_id, until=until)
    if until is None:
        return visit.done("incident_unmuted", PAGE + "/{incident_id}")
    return visit.done("incident_muted", PAGE + "/{incident_id}", int(hours))
