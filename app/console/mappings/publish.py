"""Publish a mapping: its changes and its impact on recent events before the button, and its versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin import ErrorCode, FieldProblem, Refusal, Scope
from app.admin.inputs import MAX_NOTE
from app.admin.mappings.event_names import rename_event
from app.admin.mappings.mappings import (
    MappingDetails,
    change_draft,
    find_name_conflict,
    list_versions,
    publish_draft,
    read_mapping,
    roll_back,
)
from app.admin.mappings.trials import backtest_draft, needs_confirmation
from app.api.lists import Cursor, ListQuery
from app.console.destinations import activate
from app.console.mappings import MAPPING, address_of
from app.console.mappings.field_results import problem_views
from app.console.mappings.view import field_label, statement_changes, warning_lines
from app.console.visits import PAGE, CurrentDestination, DestinationVisit, Form, PageRouter
from app.console.wording import match_key_label, read_integer, remedy, share
from app.domain.destination import State
from app.domain.event import EventProblem
from app.domain.observed.backtest import REPEATS_UNKNOWN, Backtest
from app.store.mappings import StoredMapping

router = PageRouter()

_NAME_REQUIRED = (
    "The draft would reject recent events or lose match keys. Type the exact name of the mapping to publish "
    "it. Nothing was published."
)


@router.get(MAPPING + "/publish", Scope.DESTINATIONS_READ)
async def page(visit: CurrentDestination, mapping_id: str) -> Response:
    """Show what publishing would change."""
    details = await read_mapping(*visit.on, mapping_id)
    conflict = await find_name_conflict(*visit.on, mapping_id)
    mapping, error = details.mapping, visit.error
    backtest = await _backtest(visit, details)
    return await visit.show(
        "publish.html",
        details=details,
        changes=statement_changes(mapping.published, mapping.draft),
        problems=problem_views(details.problems),
        warnings=warning_lines(details.warnings),
        backtest=backtest,
        impact=backtest and backtest_view(backtest),
        needs_name=backtest is not None and needs_confirmation(mapping.draft, backtest),
        conflict=conflict,
        max_note=MAX_NOTE,
        # The page has a sentence of its own for a conflict of names.
        is_conflict=isinstance(error, Refusal) and error.problem.code is ErrorCode.EVENT_NAME_CONFLICT,
    )


@router.post(MAPPING + "/publish", Scope.DESTINATIONS_WRITE)
async def publish(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Publish the draft, or show why it cannot be published."""
    try:
        await _require_answers(visit, mapping_id, form)
        published = await publish_draft(*visit.on, mapping_id, form.version, form.text("note"))
    except Refusal as refusal:
        return await page(visit.refused(refusal), mapping_id)
    return await landing(visit, published.mapping)


async def landing(visit: DestinationVisit, published: StoredMapping, sample: str = "") -> Response:
    """Redirect after a publish: a first version leads to the next setup step.

    In development, `sample` becomes the test event there.
    """
    if published.published_version != 1:
        address = f"{address_of(published.destination, published.id)}/publish"
        return visit.done("published", address, published.published_version)
    visit = await visit.renewed()
    is_active = visit.destination.state is State.ACTIVE
    if sample and visit.context.development and is_active:
        return await activate.show(visit, sample=sample)
    return visit.done("published", f"{PAGE}/activate" if is_active else PAGE, 1)


async def _require_answers(visit: DestinationVisit, mapping_id: str, form: Form) -> None:
    """Raise Refusal if the draft harms recent events and the form does not repeat the mapping's name."""
    details = await read_mapping(*visit.on, mapping_id)
    backtest = await _backtest(visit, details)
    mapping = details.mapping
    if backtest and needs_confirmation(mapping.draft, backtest) and form.text("name") != mapping.name.strip():
        raise Refusal(ErrorCode.INVALID, _NAME_REQUIRED, FieldProblem("name", "invalid"))


async def _backtest(visit: DestinationVisit, details: MappingDetails) -> Backtest | None:
    """Compare a changed, valid draft with the published version. None if there is nothing to compare."""
    mapping = details.mapping
    if mapping.published_version is None or not mapping.unpublished_changes or details.problems:
        return None
    _, result = await backtest_draft(*visit.on, mapping.id)
    return result


@router.post(MAPPING + "/take-name", Scope.DESTINATIONS_WRITE)
async def take_name(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Set the draft's event name to the pinned name."""
    members = {"event_name": form.text("name")}
    await change_draft(*visit.on, mapping_id, members, form.version)
    return visit.done("name_changed", MAPPING + "/publish")


@router.post(MAPPING + "/rename-pin", Scope.DESTINATIONS_WRITE)
async def rename_pin(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    event_type, name = form.text("event_type"), form.text("name")
    await rename_event(visit.context, visit.destination.advertiser_id, event_type, name)
    return visit.done("renamed", MAPPING + "/publish")


_LARGE_LOSS = 0.05  # a larger loss is shown in red


@dataclass(frozen=True, slots=True)
class BacktestView:
    """The words for a backtest. An effect of publishing is the number of its events and a text."""

    tone: str
    headline: str
    effects: Sequence[tuple[int, str]]
    changed: str  # fields that would be sent with another value
    unclear: Sequence[tuple[int, str]]  # what depends on texts that are not stored


def backtest_view(backtest: Backtest) -> BacktestView:
    """Return the view of a backtest: losses first, then gains."""

    lost, gained = (
        [(events, f"would {verb} {match_key_label(key)}") for key, events in keys.most_common()]
        for verb, keys in (("lose", backtest.lost), ("gain", backtest.gained))
    )
    rejected = [
        (events, f"would be rejected: {_why(problem.reason, problem.mapping_field)}")
        for problem, events in backtest.rejected.most_common()
    ]
    repeated = "would be rejected: they repeat the event id of an earlier event"
    repeats, accepted = backtest.repeated_event_ids, backtest.newly_accepted
    effects = [*lost, *rejected, (repeats, repeated), *gained, (accepted, "would be accepted")]
    tone = "good" if backtest.events else "quiet"
    if backtest.harmful:
        tone = "bad" if backtest.loss > _LARGE_LOSS else "warn"
    return BacktestView(
        tone=tone,
        headline=_headline(backtest),
        changed=", ".join(field_label(name) for name in sorted(backtest.changed)),
        effects=[effect for effect in effects if effect[0]],
        unclear=[(events, _unclear_label(group)) for group, events in backtest.unclear.most_common()],
    )


def _unclear_label(group: EventProblem) -> str:
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


_PAGE_SIZE = 20
VersionNumber = Annotated[int | None, Query(ge=1, lt=2**31 - 1)]  # the number after it is compared too


@router.get(MAPPING + "/versions", Scope.DESTINATIONS_READ)
async def versions_page(
    visit: CurrentDestination, mapping_id: str, version: VersionNumber = None, cursor: Cursor = None
) -> Response:
    """List the versions, newest first, and show the content of the selected version."""
    mapping = (await read_mapping(*visit.on, mapping_id)).mapping
    paging = ListQuery(visit.context, _PAGE_SIZE, cursor)
    found = await list_versions(*visit.on, mapping_id, limit=paging.most, below=paging.number)
    chosen = version or mapping.published_version or 0
    # The changes of a version are relative to its predecessor, so load the predecessor too.
    newest = await list_versions(*visit.on, mapping_id, limit=2, below=chosen + 1)
    by_number = {each.version: each for each in newest}
    selected, before = by_number.get(chosen), by_number.get(chosen - 1)
    if version is not None and selected is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    in_use = mapping.published
    return await visit.show(
        "mapping_versions.html",
        **visit.listed(found, lambda each: (each.version,), paging),
        mapping=mapping,
        names=await visit.names(each.published_by for each in found),
        selected=selected,
        says=statement_changes(None, selected.mapping) if selected else [],
        changed=statement_changes(before.mapping, selected.mapping) if selected and before else [],
        rollback=statement_changes(in_use, selected.mapping) if selected and in_use else [],
    )


@router.post(MAPPING + "/rollback", Scope.DESTINATIONS_WRITE)
async def rollback(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Roll back to an earlier version."""
    if (number := read_integer(form.text("to"), 9)) is None:
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed versions.")
    try:
        await roll_back(*visit.on, mapping_id, number, form.version)
    except Refusal as refusal:
        return await versions_page(visit.refused(refusal), mapping_id, number)
    return visit.done("rolled_back", MAPPING + "/versions", number)
