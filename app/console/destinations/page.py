"""A destination's page.

It shows setup steps at first, then the diagnosis, counts and charts, updated live.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
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
from app.admin.destinations.overview import DiagnosisFacts, read_diagnosis_facts, read_overview
from app.admin.destinations.preflight import check_setup
from app.admin.destinations.settings import change_destination
from app.admin.destinations.stats import DestinationStats, read_stats
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.mappings.drafts import list_mappings
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.console import confirmations, pages
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
    form_version,
)
from app.console.destinations import view as present
from app.console.destinations.chart_view import charts
from app.console.destinations.diagnosis_view import Diagnosis, DiagnosisInput, diagnose
from app.console.destinations.setup_view import check_views, steps
from app.console.time_range import RangeName, RangeParameter, time_range
from app.console.wording import REGIONS, STATES, state_key
from app.domain.destination import Region, State
from app.domain.outcomes.reasons import REASONS
from app.store.destinations import amazon_accounts
from app.store.destinations import destinations as stored
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

PAGE = "/console/destinations/{destination_id}"
_MAPPINGS = 50


@router.get(PAGE, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentVisit,
    found: CurrentDestination,
    alike: bool = False,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """Show the overview of a destination."""
    preflight = await check_setup(visit.context, visit.caller, found.id)
    mappings = await list_mappings(visit.context, visit.caller, found.id, limit=_MAPPINGS)
    panel = await panel_of(visit, found, range_name)
    return pages.show(
        visit.request,
        "destination.html",
        leads_to=sign_in_origin(visit.context, found.region),
        **content_of(visit, found, "overview"),
        alike=alike,
        configured=visit.context.amazon_configured,
        steps=steps(found, mappings, panel["stats"].counts.accepted),
        checks=check_views(preflight.checks),
        ready=preflight.ready,
        mappings=mappings,
        **panel,
    )


def content_of(visit: Visit, found: Destination, tab: str) -> dict[str, Any]:
    """Return the content of the header that every page of a destination has."""
    return {
        "destination": found,
        "state": STATES[
            state_key(found.state, is_suspended=found.suspended, sign_in_reason=found.sign_in_reason)
        ],
        "region": REGIONS[found.region],
        "tab": tab,
        "may_write": visit.caller.may(Scope.DESTINATIONS_WRITE) and found.state is not State.ARCHIVED,
        "may_replay": visit.caller.may(Scope.REPLAY) and found.state is not State.ARCHIVED,
        "may_read_events": visit.caller.may(Scope.EVENTS_READ),
        "development": visit.context.development,
        "amazon": sign_in_origin(visit.context, found.region),
    }


async def panel_of(visit: Visit, found: Destination, range_name: RangeName) -> dict[str, Any]:
    """Return the part of the page that is updated live: diagnosis, tiles, gauges and charts."""
    now = datetime.now(UTC)
    chosen = time_range(range_name, now)
    overview = await read_overview(
        visit.context, visit.caller, found.id, since=chosen.since, bucket=chosen.bucket
    )
    stats, facts = overview.stats, overview.facts
    return {
        "stats": stats,
        "chosen": chosen,
        "tiles": present.tiles(stats.counts, stats.dead_open, overview.history, chosen.name),
        "rejections": present.causes(overview.rejections),
        "dead_letters": present.causes(
            [
                (REASONS[reason].code if reason in REASONS else "", reason, count)
                for reason, count in facts.open_dead_letters
            ]
        ),
        "diagnosis": _diagnosis(found, stats, facts, now),
        "gauges": present.lane(
            present.LaneInput(
                state_key(found.state, is_suspended=found.suspended, sign_in_reason=found.sign_in_reason),
                stats,
                facts.about,
                facts.requests,
                facts.failures,
                now,
            )
        ),
        "charts": charts(overview.history, overview.response_times, chosen),
        "coverage": present.coverage(overview.samples),
        "sampled": sum(len(sample.shapes) for sample in overview.samples),
        "sampled_days": [sample.day for sample in overview.samples if sample.shapes],
        # Rejected events do not show in Events manager.
        "viewing": present.events_manager_hint(
            overview.first_answer if stats.counts.delivered else None, now
        ),
        "about": facts.about,
    }


async def diagnosis_of(visit: Visit, found: Destination) -> Diagnosis:
    """Return the diagnosis of a destination. Pages without the overview use this function."""
    stats = await read_stats(visit.context, visit.caller, found.id)
    facts = await read_diagnosis_facts(visit.context, found.number)
    return _diagnosis(found, stats, facts, datetime.now(UTC))


def _diagnosis(
    found: Destination, stats: DestinationStats, facts: DiagnosisFacts, now: datetime
) -> Diagnosis:
    return diagnose(
        DiagnosisInput(
            found,
            stats,
            facts.requests,
            facts.failures,
            facts.about,
            now,
            facts.open_dead_letters,
            facts.recent_rejections,
            facts.recent,
        )
    )


def sign_in_origin(context: AppContext, region: Region) -> str:
    """Return the origin of Amazon's sign-in page. The connect button redirects to this page."""
    parts = urlsplit(context.sign_in.authorize_url(region, state="-", code_verifier="-" * 43))
    return f"{parts.scheme}://{parts.netloc}"


@router.post(PAGE + "/connect", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def connect(visit: CurrentVisit, destination_id: str) -> Response:
    """Redirect to Amazon's sign-in (R8)."""
    if not visit.context.amazon_configured:
        raise Refusal(
            ErrorCode.SIGN_IN_FAILED,
            "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET are not set. Ask the operator to set them.",
        )
    return RedirectResponse(await begin_connection(visit.context, visit.caller, destination_id), 303)


@router.post(PAGE + "/pause", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def pause(visit: CurrentVisit, destination_id: str) -> Response:
    """Pause delivery."""
    await pause_destination(visit.context, visit.caller, destination_id)
    return _back(visit.context, destination_id, "paused")


@router.post(PAGE + "/resume", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def resume(visit: CurrentVisit, destination_id: str) -> Response:
    """Resume delivery."""
    resumed = await resume_destination(visit.context, visit.caller, destination_id)
    done = "pause_ended" if resumed.suspended else "resumed"
    return _back(visit.context, destination_id, done)


@router.post(PAGE + "/currency", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def follow_account_currency(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Set the destination's currency to the currency of the Amazon account."""
    async with visit.context.engine.connect() as connection:
        account = await amazon_accounts.find(connection, found.id)
    if account is None or account.currency is None:
        raise Refusal(ErrorCode.INVALID, "Amazon did not report the account's currency.")
    body = DestinationUpdate.model_validate({"currency": account.currency})
    await change_destination(visit.context, visit.caller, found.id, body, form_version(form))
    return _back(visit.context, found.id, "currency_changed")


@router.post(PAGE + "/disconnect", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(visit: CurrentVisit, destination_id: str) -> Response:
    """Delete the Amazon tokens."""
    await disconnect_destination(visit.context, visit.caller, destination_id)
    return _back(visit.context, destination_id, "disconnected")


@router.post(PAGE + "/delete", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Archive the destination if the form repeats its name."""
    async with visit.context.engine.connect() as connection:
        found = await stored.find(connection, destination_id)
    if found is None or form_text(form, "name") != found.name.strip():
        raise Refusal(
            ErrorCode.INVALID, "Type the exact name of the destination to delete it. Nothing was deleted."
        )
    discard = form_text(form, "discard") == "on"
    await archive_destination(visit.context, visit.caller, destination_id, discard=discard)
    return confirmations.redirect(visit.context, "/console", "deleted")


def _back(context: AppContext, destination_id: str, done: str) -> Response:
    return confirmations.redirect(context, f"/console/destinations/{destination_id}", done)
