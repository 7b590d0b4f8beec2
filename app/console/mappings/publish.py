"""Publish page of a mapping: its changes and its impact on recent events, before the button."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.mappings.backtest import backtest_draft, needs_confirmation
from app.admin.mappings.drafts import MappingDetails, change_draft, read_mapping
from app.admin.mappings.event_names import find_name_conflict, rename_event
from app.admin.mappings.publishing import publish_draft
from app.admin.refusals import ErrorCode, FieldProblem, Problem, Refusal
from app.api.access.secured_route import requires
from app.api.errors import status_of
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.activate import show_after_publish
from app.console.destinations.page import show_page
from app.console.mappings import MAPPING, address_of
from app.console.mappings.problem_view import problem_views
from app.console.mappings.statements import statement_changes
from app.console.mappings.view import field_label, warning_lines
from app.console.wording import match_key_label, number, remedy, share
from app.domain.destination import State
from app.domain.observed.backtest import REPEATS_UNKNOWN, Backtest, EventGroup
from app.store.destinations.destinations import Destination
from app.store.mappings import StoredMapping

router = page_router()

MAX_NOTE = 1000
_NAME_REQUIRED = (
    "The draft would reject recent events or lose match keys. Type the exact name of the mapping to publish "
    "it. Nothing was published."
)
_NOTE_TOO_LONG = f"A note has at most {MAX_NOTE:,} characters. Nothing was published."
_STALE = "Someone else changed this mapping after you opened this page. Review the changes and try again."


@router.get(MAPPING + "/publish")
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, destination: CurrentDestination, mapping_id: str) -> Response:
    """Show what publishing would change."""
    return await _page(visit, destination, mapping_id)


@router.post(MAPPING + "/publish")
@requires(Scope.DESTINATIONS_WRITE)
async def publish(
    visit: CurrentVisit, destination: CurrentDestination, mapping_id: str, form: Form
) -> Response:
    """Publish the draft, or show why it cannot be published."""
    note = form.text("note")
    try:
        await _require_answers(visit, destination.id, mapping_id, form)
        published = await publish_draft(visit.context, destination.id, mapping_id, form.version, note)
    except Refusal as refusal:
        problem = refusal.problem
        return await _page(visit, destination, mapping_id, problem=problem, note=note)
    return await landing(visit, published.mapping)


async def landing(visit: Visit, published: StoredMapping, sample: str = "") -> Response:
    """Redirect after a publish: a first version leads to the next setup step.

    In development, `sample` becomes the test event there.
    """
    here = f"/console/destinations/{published.destination}"
    address = f"{address_of(published.destination, published.id)}/publish"
    if published.published_version == 1:
        async with visit.context.engine.connect() as connection:
            found = await find_visible(connection, visit.caller, published.destination)
        if sample and visit.context.development and found.state is State.ACTIVE:
            return await show_after_publish(visit, found, sample)
        address = f"{here}/activate" if found.state is State.ACTIVE else here
    return visit.done("published", address, published.published_version)


async def _require_answers(visit: Visit, destination_id: str, mapping_id: str, form: Form) -> None:
    """Raise Refusal if the note is too long.

    Also raise Refusal if the draft harms recent events and the form does not repeat the mapping's name.
    """
    if len(form.text("note")) > MAX_NOTE:
        raise Refusal(ErrorCode.INVALID, _NOTE_TOO_LONG, FieldProblem("note", "too_long"))
    details = await read_mapping(visit.context, destination_id, mapping_id)
    backtest = await _backtest(visit, details)
    mapping = details.mapping
    if backtest and needs_confirmation(mapping.draft, backtest) and form.text("name") != mapping.name.strip():
        raise Refusal(ErrorCode.INVALID, _NAME_REQUIRED, FieldProblem("name", "invalid"))


async def _backtest(visit: Visit, details: MappingDetails) -> Backtest | None:
    """Compare a changed, valid draft with the published version. None if there is nothing to compare."""
    mapping = details.mapping
    if mapping.published_version is None or not details.unpublished_changes or details.problems:
        return None
    _, result = await backtest_draft(visit.context, mapping.destination, mapping.id)
    return result


@router.post(MAPPING + "/take-name")
@requires(Scope.DESTINATIONS_WRITE)
async def take_name(visit: CurrentVisit, destination_id: str, mapping_id: str, form: Form) -> Response:
    """Set the draft's event name to the pinned name."""
    members = {"event_name": form.text("name")}
    await change_draft(visit.context, destination_id, mapping_id, members, form.version)
    return visit.done("name_changed", MAPPING + "/publish")


@router.post(MAPPING + "/rename-pin")
@requires(Scope.DESTINATIONS_WRITE)
async def rename_pin(visit: CurrentVisit, found: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    await rename_event(visit.context, found.advertiser_id, form.text("event_type"), form.text("name"))
    return visit.done("renamed", MAPPING + "/publish")


async def _page(
    visit: Visit, destination: Destination, mapping_id: str, *, problem: Problem | None = None, note: str = ""
) -> Response:
    details = await read_mapping(visit.context, destination.id, mapping_id)
    conflict = await find_name_conflict(visit.context, destination.id, mapping_id)
    mapping = details.mapping
    backtest = await _backtest(visit, details)
    is_conflict = problem is not None and problem.code is ErrorCode.EVENT_NAME_CONFLICT
    return await show_page(
        visit,
        destination,
        "publish.html",
        status=200 if problem is None else status_of(problem),
        here=address_of(destination.id, mapping_id),
        details=details,
        mapping=mapping,
        changes=statement_changes(mapping.published, mapping.draft),
        problems=problem_views((each.path, each.sentence) for each in details.problems),
        warnings=warning_lines(details.warnings),
        backtest=None if backtest is None else backtest_view(backtest),
        needs_name=backtest is not None and needs_confirmation(mapping.draft, backtest),
        conflict=conflict,
        note=note,
        max_note=MAX_NOTE,
        refused=(problem.detail or _STALE) if problem and not is_conflict else None,
    )


_LARGE_LOSS = 0.05  # a larger loss is shown in red


@dataclass(frozen=True, slots=True)
class BacktestEffect:
    """An effect that publishing the draft would have on some of the events."""

    events: str
    share: str
    text: str


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A backtest as the page shows it."""

    events: str
    tone: str
    headline: str
    effects: Sequence[BacktestEffect]
    changed: str  # fields that would be sent with another value
    unclear: Sequence[BacktestEffect]  # what depends on texts that are not stored


def backtest_view(backtest: Backtest) -> BacktestView:
    """Return the view of a backtest: losses first, then gains."""

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, backtest.events), what)

    lost, gained = (
        [(events, f"would {verb} {match_key_label(key)}") for key, events in keys.most_common()]
        for verb, keys in (("lose", backtest.lost), ("gain", backtest.gained))
    )
    rejected = [
        (events, f"would be rejected: {_why(reason, field)}")
        for (reason, _, field), events in backtest.rejected.most_common()
    ]
    repeated = (
        backtest.repeated_event_ids,
        "would be rejected: they repeat the event id of an earlier event",
    )
    accepted = (backtest.newly_accepted, "would be accepted")
    effects = [*lost, *rejected, repeated, *gained, accepted]
    return BacktestView(
        events=number(backtest.events),
        tone="bad"
        if backtest.loss > _LARGE_LOSS
        else "warn"
        if backtest.harmful
        else "good"
        if backtest.events
        else "quiet",
        headline=_headline(backtest),
        changed=", ".join(field_label(name) for name in sorted(backtest.changed)),
        effects=[effect(events, what) for events, what in effects if events],
        unclear=[effect(events, _unclear_label(group)) for group, events in backtest.unclear.most_common()],
    )


def _unclear_label(group: EventGroup) -> str:
    if group.reason == REPEATS_UNKNOWN:
        return "event ids may repeat"
    if group.mapping_field == "no_match_key":
        return "no match key may be left"
    return field_label(group.mapping_field or "")


def _headline(backtest: Backtest) -> str:
    if not backtest.events:
        return "No recent events to test the draft on."
    if backtest.harmful:
        worst = share(max(1, round(backtest.loss * 10_000)), 10_000)
        return f"{worst} of these events would lose a match key or be rejected."
    if backtest.unclear:
        return "No loss is certain for these events."
    if backtest.gained or backtest.changed or backtest.newly_accepted:
        return "None of these events would lose a match key or be rejected."
    return "No changes for these events."


def _why(reason: str, mapping_field: str | None) -> str:
    field = f", {field_label(mapping_field)}" if mapping_field else ""
    return f"{reason.replace('_', ' ')}{field}. {remedy(reason)}".strip()
