"""The pages of a destination: the form that creates or changes it (R7), its overview, and its setup check.

The overview shows setup steps at first, then the diagnosis, counts and charts, updated live.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, Scope, catalog
from app.admin import destinations as use_cases
from app.admin.destinations import settings
from app.admin.destinations.amazon_connection import begin_connection
from app.admin.destinations.preflight import check_setup, why_unusable
from app.admin.destinations.stats import read_diagnosis_facts, read_overview, read_stats
from app.admin.incidents import list_incidents
from app.admin.mappings.mappings import list_mappings
from app.console.destinations.chart_view import charts
from app.console.destinations.diagnosis_view import Diagnosis, DiagnosisInput, diagnose, lane
from app.console.live_updates import streamed
from app.console.time_range import PARAMETER, RangeName, RangeParameter, range_since, time_range
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, CurrentVisit, Form, PageRouter
from app.console.wording import STATUSES, age, number
from app.domain.destination import DEFAULT_RATE, Region, State, advertiser_id_problem
from app.domain.outcomes.status import EventCounts
from app.store.destinations import sign_ins
from app.store.destinations.outcome_history import OutcomeBucket
from app.store.incidents import IncidentFilter

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


# Before the route of a destination: this address is no id.
@router.get(NEW, Scope.DESTINATIONS_WRITE)
async def new(visit: CurrentVisit) -> Response:
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
        body = settings.NewDestination.model_validate(body_of(form))
        created = await settings.create_destination(visit.context, body)
    except FORM_ERRORS as error:
        return await new(visit.refused(error))
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
_EMPTY = {field.name: None for field in _FIELDS if not field.required and field.default is None}


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
        changeable=[field for field in _FIELDS if is_draft or field.name not in _FIXED],
        editable=is_draft,
    )


@router.post(PAGE + "/settings", Scope.DESTINATIONS_WRITE)
async def change(visit: CurrentDestination, form: Form) -> Response:
    """Apply the form to the destination. The form omits fixed fields."""
    try:
        body = settings.DestinationUpdate.model_validate({**_EMPTY, **body_of(form)})
        await settings.change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await settings_page(visit.refused(error))
    return visit.done("settings_saved", PAGE + "/settings")


@router.post(PAGE + "/currency", Scope.DESTINATIONS_WRITE)
async def follow_account_currency(visit: CurrentDestination, form: Form) -> Response:
    """Set the destination's currency to the currency of the Amazon account, which the button names."""
    try:
        body = settings.DestinationUpdate.model_validate({"currency": form.text("currency")})
        await settings.change_destination(*visit.on, body, form.version)
    except FORM_ERRORS as error:
        return await settings_page(visit.refused(error))
    return visit.done("currency_changed", PAGE)


_INCIDENTS: Final = 20  # the newest ones, for the range


@router.get(PAGE, Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentDestination, range_name: Annotated[RangeName | None, Query(alias=PARAMETER)] = None
) -> Response:
    """Show the overview of a destination. While an incident is open, the range begins before it."""
    return await visit.show(
        "destination.html",
        leads_to=visit.sign_in_origin(visit.destination.region),
        setup=await check_setup(*visit.on),
        mappings=await list_mappings(*visit.on, limit=1),
        **await _panel_of(visit, range_name or await _default_range(visit)),
    )


@router.get(PAGE + "/live", Scope.DESTINATIONS_READ)
async def live(visit: CurrentDestination, range_name: RangeParameter = RangeName.DAY) -> Response:
    """Stream the panel while the page is open."""
    return streamed(visit, "panel_part.html", lambda current: _panel_of(current, range_name))


async def _default_range(visit: CurrentDestination) -> RangeName:
    wanted = IncidentFilter(destination=visit.destination.id)
    listed = await list_incidents(visit.context, wanted, limit=_INCIDENTS)
    begins = [each.incident.opened_at for each in listed if each.incident.is_open]
    return range_since(min(begins), visit.context.now()).name if begins else RangeName.DAY


async def _panel_of(visit: CurrentDestination, range_name: RangeName) -> dict[str, Any]:
    """Return the part of the page that is updated live: diagnosis, funnel, gauges and charts."""
    now = visit.context.now()
    chosen = time_range(range_name, now)
    overview = await read_overview(
        *visit.on, since=chosen.since, bucket=chosen.name.bucket, previous=chosen.previous
    )
    stats = overview.stats
    given = DiagnosisInput(visit.destination, stats, overview.facts, now)
    # Rejected events do not show in Events manager.
    first_answer = overview.first_answer if stats.counts.delivered else None
    events_manager, delay_percent = events_manager_hint(first_answer, now)
    return {
        "now": now,
        "chosen": chosen,
        "totals": totals(overview.history),
        "before": overview.previous and totals([overview.previous]),
        "composition": composition(stats.counts),
        "overview": overview,
        "diagnosis": diagnose(given),
        "gauges": lane(given),
        "charts": charts(overview.history, overview.response_times, chosen),
        "events_manager": events_manager,
        "delay_percent": delay_percent,
        "first_answer": first_answer,
    }


def totals(history: Sequence[OutcomeBucket]) -> dict[str, int]:
    """Return what happened to events in the buckets of a range, by the name of the count."""
    names = ("accepted", "rejected", "duplicates", "delivered", "dead", "expired")
    sums = {name: sum(getattr(bucket, name) for bucket in history) for name in names}
    return {"received": sums["accepted"] + sums["rejected"] + sums["duplicates"], **sums}


def composition(counts: EventCounts) -> str:
    """Return how the accepted events since the creation of the destination divide by status."""
    parts = [(status, count) for status in STATUSES if (count := getattr(counts, status, 0))]
    breakdown = " + ".join(f"{number(count)} {STATUSES[status].label.lower()}" for status, count in parts)
    return " = ".join(filter(None, (f"{number(counts.accepted)} accepted", breakdown)))


_EVENTS_MANAGER_DELAY = timedelta(hours=2)


def events_manager_hint(first: datetime | None, now: datetime) -> tuple[str, int]:
    """Return whether Amazon's Events manager shows the delivered events yet (R14): a sentence, and how many
    percent of the delay are over. `first` is the time of the first accepted event.
    """
    if first is None:
        sentence = (
            "Amazon has not received events from this destination yet, so Events manager shows “No activity "
            "yet”. This is expected."
        )
        return sentence, 0
    left = first + _EVENTS_MANAGER_DELAY - now
    if left > timedelta():
        sentence = (
            "Amazon has accepted events. Events manager takes up to two hours to count them: "
            f"“No activity yet” is normal for {age(left.total_seconds())} more."
        )
        return sentence, max(1, round(100 - 100 * left / _EVENTS_MANAGER_DELAY))
    sentence = (
        "Events manager should show counts. If it still shows “No activity yet”, check that it has the same "
        "advertiser, region and dataset selected, and that you are not on the tab “Amazon ad tag events”."
    )
    return sentence, 100


async def diagnosis_of(visit: CurrentDestination) -> Diagnosis:
    """Return the diagnosis of a destination. Pages without the overview use this function."""
    stats = await read_stats(*visit.on)
    facts = await read_diagnosis_facts(visit.context, visit.destination.number)
    return diagnose(DiagnosisInput(visit.destination, stats, facts, visit.context.now()))


@router.post(PAGE + "/connect", Scope.DESTINATIONS_WRITE)
async def connect(visit: CurrentDestination) -> Response:
    """Redirect to Amazon's sign-in (R8)."""
    if not visit.context.amazon_configured:
        raise Refusal(
            ErrorCode.SIGN_IN_FAILED,
            "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET are not set. Ask the operator to set them.",
        )
    return RedirectResponse(await begin_connection(*visit.on), 303)


@router.post(PAGE + "/pause", Scope.DESTINATIONS_WRITE)
async def pause(visit: CurrentDestination) -> Response:
    """Pause delivery."""
    await use_cases.pause_destination(*visit.on)
    return visit.done("paused", PAGE)


@router.post(PAGE + "/resume", Scope.DESTINATIONS_WRITE)
async def resume(visit: CurrentDestination) -> Response:
    """Resume delivery."""
    resumed = await use_cases.resume_destination(*visit.on)
    done = "pause_ended" if resumed.suspended else "resumed"
    return visit.done(done, PAGE)


@router.post(PAGE + "/disconnect", Scope.DESTINATIONS_WRITE)
async def disconnect(visit: CurrentDestination) -> Response:
    """Delete the Amazon tokens."""
    await use_cases.disconnect_destination(*visit.on)
    return visit.done("disconnected", PAGE)


@router.post(PAGE + "/delete", Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentDestination, form: Form) -> Response:
    """Archive the destination if the form repeats its name."""
    if form.text("name") != visit.destination.name.strip():
        raise Refusal(
            ErrorCode.INVALID, "Type the exact name of the destination to delete it. Nothing was deleted."
        )
    await use_cases.archive_destination(*visit.on, discard=form.text("discard") == "on")
    return visit.done("deleted", "/console")


@router.get(PAGE + "/preflight", Scope.DESTINATIONS_READ)
async def preflight(visit: CurrentDestination) -> Response:
    """Show the checklist from stored results."""
    return await _preflight_page(visit, ask=False)


@router.post(PAGE + "/preflight/ask", Scope.DESTINATIONS_READ)
async def ask(visit: CurrentDestination) -> Response:
    """Check the access to the advertiser with Amazon now.

    This is a POST, because it sends a request to Amazon.
    """
    return await _preflight_page(visit, ask=True)


async def _preflight_page(visit: CurrentDestination, *, ask: bool) -> Response:
    setup = await check_setup(*visit.on, ask=ask)
    async with visit.context.engine.connect() as connection:
        account = await sign_ins.find_account(connection, visit.destination.id)
    return await visit.show(
        "preflight.html",
        leads_to=visit.sign_in_origin(visit.destination.region),
        setup=setup,
        rechecked=ask,
        account_currency=account and account.currency,
        why_unusable=why_unusable,
    )
