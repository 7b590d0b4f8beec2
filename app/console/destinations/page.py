"""A destination's page.

It shows setup steps at first, then the diagnosis, counts and charts, updated live.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import (
    archive_destination,
    disconnect_destination,
    pause_destination,
    resume_destination,
)
from app.admin.destinations.amazon_connection import begin_connection
from app.admin.destinations.overview import read_diagnosis_facts, read_overview
from app.admin.destinations.preflight import Preflight, check_setup
from app.admin.destinations.settings import change_destination
from app.admin.destinations.stats import read_stats
from app.admin.incidents import list_incidents
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.mappings.drafts import list_mappings
from app.admin.operations_home import read_condition
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.console.access import sessions
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations import view as present
from app.console.destinations.chart_view import charts
from app.console.destinations.diagnosis_view import Diagnosis, DiagnosisInput, diagnose
from app.console.time_range import PARAMETER, RangeName, range_since, time_range
from app.console.wording import REGIONS, STATES, health_label, state_key
from app.domain.destination import Region, State
from app.store.destinations import amazon_accounts
from app.store.destinations import destinations as stored
from app.store.destinations.destinations import Destination
from app.store.incidents import IncidentFilter

router = page_router()

PAGE = "/console/destinations/{destination_id}"
_INCIDENTS: Final = 20  # the newest ones, for the range


@router.get(PAGE)
@requires(Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentVisit,
    found: CurrentDestination,
    range_name: Annotated[RangeName | None, Query(alias=PARAMETER)] = None,
) -> Response:
    """Show the overview of a destination. While an incident is open, the range begins before it."""
    preflight = await check_setup(visit.context, found.id)
    return await show_page(
        visit,
        found,
        "destination.html",
        leads_to=sign_in_origin(visit.context, found.region),
        configured=visit.context.amazon_configured,
        checks=preflight.checks,
        ready=preflight.ready,
        mappings=await list_mappings(visit.context, found.id, limit=1),
        **await panel_of(visit, found, range_name or await _default_range(visit, found)),
    )


async def _default_range(visit: Visit, found: Destination) -> RangeName:
    wanted = IncidentFilter(destination=found.id)
    listed = await list_incidents(visit.context, wanted, limit=_INCIDENTS)
    begins = [each.incident.opened_at for each in listed if each.incident.is_open]
    return range_since(min(begins), visit.context.now()).name if begins else RangeName.DAY


async def content_of(visit: Visit, found: Destination) -> dict[str, Any]:
    """Return the content of the header that every page of a destination has. Its template sets `tab`."""
    may_change = found.state is not State.ARCHIVED
    condition = await read_condition(visit.context, found.id) if may_change else None
    return {
        "destination": found,
        "health": health_label(condition) if condition else STATES[state_key(found)],
        "region": REGIONS[found.region],
        "may_write": may_change and visit.caller.may(Scope.DESTINATIONS_WRITE),
        "may_replay": may_change and visit.caller.may(Scope.REPLAY),
        "may_read_events": visit.caller.may(Scope.EVENTS_READ),
        "development": visit.context.development,
        "amazon": sign_in_origin(visit.context, found.region),
    }


async def show_page(visit: Visit, found: Destination, template: str, **content: Any) -> Response:
    """Return a page of a destination, below its header."""
    return visit.show(template, **await content_of(visit, found), **content)


async def panel_of(visit: Visit, found: Destination, range_name: RangeName) -> dict[str, Any]:
    """Return the part of the page that is updated live: diagnosis, funnel, gauges and charts."""
    now = datetime.now(UTC)
    chosen = time_range(range_name, now)
    overview = await read_overview(
        visit.context, found.id, since=chosen.since, bucket=chosen.bucket, previous=chosen.previous
    )
    stats, given = overview.stats, DiagnosisInput(found, overview.stats, overview.facts, now)
    # Rejected events do not show in Events manager.
    first_answer = overview.first_answer if stats.counts.delivered else None
    return {
        "now": now,
        "stats": stats,
        "chosen": chosen,
        "totals": present.totals(overview.history),
        "before": overview.previous and present.totals([overview.previous]),
        "composition": present.composition(stats.counts),
        "rejections": overview.rejections,
        "dead_letters": overview.facts.open_dead_letters,
        "diagnosis": diagnose(given),
        "gauges": present.lane(given),
        "charts": charts(overview.history, overview.response_times, chosen),
        "coverage": present.coverage(overview.samples),
        "sampled": sum(len(sample.shapes) for sample in overview.samples),
        "sampled_days": [sample.day for sample in overview.samples if sample.shapes],
        "viewing": present.events_manager_hint(first_answer, now),
        "first_answer": first_answer,
        "about": overview.facts.about,
    }


async def diagnosis_of(visit: Visit, found: Destination) -> Diagnosis:
    """Return the diagnosis of a destination. Pages without the overview use this function."""
    stats = await read_stats(visit.context, found.id)
    facts = await read_diagnosis_facts(visit.context, found.number)
    return diagnose(DiagnosisInput(found, stats, facts, datetime.now(UTC)))


def sign_in_origin(context: AppContext, region: Region) -> str:
    """Return the origin of Amazon's sign-in page. The connect button redirects to this page."""
    return sessions.origin_of(context.sign_in.authorize_url(region, state="-", code_verifier="-" * 43))


@router.post(PAGE + "/connect")
@requires(Scope.DESTINATIONS_WRITE)
async def connect(visit: CurrentVisit, destination_id: str) -> Response:
    """Redirect to Amazon's sign-in (R8)."""
    if not visit.context.amazon_configured:
        raise Refusal(
            ErrorCode.SIGN_IN_FAILED,
            "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET are not set. Ask the operator to set them.",
        )
    return RedirectResponse(await begin_connection(visit.context, destination_id), 303)


@router.post(PAGE + "/pause")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(visit: CurrentVisit, destination_id: str) -> Response:
    """Pause delivery."""
    await pause_destination(visit.context, destination_id)
    return visit.done("paused", PAGE)


@router.post(PAGE + "/resume")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(visit: CurrentVisit, destination_id: str) -> Response:
    """Resume delivery."""
    resumed = await resume_destination(visit.context, destination_id)
    done = "pause_ended" if resumed.suspended else "resumed"
    return visit.done(done, PAGE)


@router.post(PAGE + "/currency")
@requires(Scope.DESTINATIONS_WRITE)
async def follow_account_currency(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Set the destination's currency to the currency of the Amazon account."""
    async with visit.context.engine.connect() as connection:
        account = await amazon_accounts.find(connection, found.id)
    if account is None or account.currency is None:
        raise Refusal(ErrorCode.INVALID, "Amazon did not report the account's currency.")
    body = DestinationUpdate.model_validate({"currency": account.currency})
    await change_destination(visit.context, found.id, body, form.version)
    return visit.done("currency_changed", PAGE)


@router.post(PAGE + "/disconnect")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(visit: CurrentVisit, destination_id: str) -> Response:
    """Delete the Amazon tokens."""
    await disconnect_destination(visit.context, destination_id)
    return visit.done("disconnected", PAGE)


@router.post(PAGE + "/delete")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Archive the destination if the form repeats its name."""
    async with visit.context.engine.connect() as connection:
        found = await stored.find(connection, destination_id)
    if found is None or form.text("name") != found.name.strip():
        raise Refusal(
            ErrorCode.INVALID, "Type the exact name of the destination to delete it. Nothing was deleted."
        )
    discard = form.text("discard") == "on"
    await archive_destination(visit.context, destination_id, discard=discard)
    return visit.done("deleted", "/console")


@router.get(PAGE + "/preflight")
@requires(Scope.DESTINATIONS_READ)
async def preflight(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show the checklist from stored results."""
    result = await check_setup(visit.context, found.id)
    return await _preflight_page(visit, found, result, rechecked=False)


@router.post(PAGE + "/preflight/ask")
@requires(Scope.DESTINATIONS_READ)
async def ask(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Check the access to the advertiser with Amazon now.

    This is a POST, because it sends a request to Amazon.
    """
    result = await check_setup(visit.context, found.id, ask=True)
    return await _preflight_page(visit, found, result, rechecked=True)


async def _preflight_page(
    visit: Visit, found: Destination, result: Preflight, *, rechecked: bool
) -> Response:
    async with visit.context.engine.connect() as connection:
        account = await amazon_accounts.find(connection, found.id)
    return await show_page(
        visit,
        found,
        "preflight.html",
        leads_to=sign_in_origin(visit.context, found.region),
        checks=result.checks,
        ready=result.ready,
        rechecked=rechecked,
        account_currency=account and account.currency,
    )
