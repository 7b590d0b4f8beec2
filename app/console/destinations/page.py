"""A destination's page.

It shows setup steps at first, then the diagnosis, counts and charts, updated live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin import destinations as use_cases
from app.admin.destinations.amazon_connection import begin_connection
from app.admin.destinations.preflight import check_setup, why_unusable
from app.admin.destinations.stats import read_diagnosis_facts, read_overview, read_stats
from app.admin.incidents import list_incidents
from app.admin.mappings.mappings import list_mappings
from app.console.destinations.chart_view import charts
from app.console.destinations.diagnosis_view import Diagnosis, DiagnosisInput, diagnose, lane
from app.console.live_updates import streamed
from app.console.time_range import PARAMETER, RangeName, RangeParameter, range_since, time_range
from app.console.visits import PAGE, CurrentDestination, DestinationVisit, Form, PageRouter
from app.console.wording import STATUSES, age, number
from app.domain.outcomes.status import EventCounts
from app.store.destinations import sign_ins
from app.store.destinations.outcome_history import OutcomeBucket
from app.store.incidents import IncidentFilter

router = PageRouter()

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


async def _default_range(visit: DestinationVisit) -> RangeName:
    wanted = IncidentFilter(destination=visit.destination.id)
    listed = await list_incidents(visit.context, wanted, limit=_INCIDENTS)
    begins = [each.incident.opened_at for each in listed if each.incident.is_open]
    return range_since(min(begins), visit.context.now()).name if begins else RangeName.DAY


async def _panel_of(visit: DestinationVisit, range_name: RangeName) -> dict[str, Any]:
    """Return the part of the page that is updated live: diagnosis, funnel, gauges and charts."""
    now = datetime.now(UTC)
    chosen = time_range(range_name, now)
    overview = await read_overview(
        *visit.on, since=chosen.since, bucket=chosen.name.bucket, previous=chosen.previous
    )
    stats = overview.stats
    given = DiagnosisInput(visit.destination, overview.stats, overview.facts, now)
    # Rejected events do not show in Events manager.
    first_answer = overview.first_answer if stats.counts.delivered else None
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
        "viewing": events_manager_hint(first_answer, now),
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


@dataclass(frozen=True, slots=True)
class EventsManagerHint:
    """Whether Amazon's Events manager shows the delivered events yet (R14)."""

    sentence: str
    percent: int


_EVENTS_MANAGER_DELAY = timedelta(hours=2)


def events_manager_hint(first: datetime | None, now: datetime) -> EventsManagerHint:
    """Return whether "No activity yet" is expected; `first` is the time of the first accepted event."""
    if first is None:
        sentence = (
            "Amazon has not received events from this destination yet, so Events manager shows “No activity "
            "yet”. This is expected."
        )
        return EventsManagerHint(sentence, 0)
    left = first + _EVENTS_MANAGER_DELAY - now
    if left > timedelta():
        sentence = (
            "Amazon has accepted events. Events manager takes up to two hours to count them: "
            f"“No activity yet” is normal for {age(left.total_seconds())} more."
        )
        return EventsManagerHint(sentence, max(1, round(100 - 100 * left / _EVENTS_MANAGER_DELAY)))
    sentence = (
        "Events manager should show counts. If it still shows “No activity yet”, check that it has the same "
        "advertiser, region and dataset selected, and that you are not on the tab “Amazon ad tag events”."
    )
    return EventsManagerHint(sentence, 100)


async def diagnosis_of(visit: DestinationVisit) -> Diagnosis:
    """Return the diagnosis of a destination. Pages without the overview use this function."""
    stats = await read_stats(*visit.on)
    facts = await read_diagnosis_facts(visit.context, visit.destination.number)
    return diagnose(DiagnosisInput(visit.destination, stats, facts, datetime.now(UTC)))


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
    discard = form.text("discard") == "on"
    await use_cases.archive_destination(*visit.on, discard=discard)
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


async def _preflight_page(visit: DestinationVisit, *, ask: bool) -> Response:
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
