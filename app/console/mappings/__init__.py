"""The pages of mappings beside their editor: lists, the copy of a mapping, its publishing and its versions.

Publishing shows the changes and their impact on recent events before the button. Also the paths of events,
and the pinned event names of advertisers with their rename (R12).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope, invalid
from app.admin.destinations.event_schemas import read_observed
from app.admin.destinations.settings import list_destinations
from app.admin.inputs import MAX_NOTE
from app.admin.mappings import event_names
from app.admin.mappings import mappings as use_cases
from app.admin.mappings.trials import backtest_draft, needs_confirmation
from app.api.lists import Cursor, ListQuery, bad_cursor
from app.console.destinations import activate
from app.console.mappings.field_results import problem_views
from app.console.mappings.view import statement_changes, statements, warning_lines
from app.console.visits import PAGE, CurrentDestination, CurrentVisit, Form, PageRouter, Paging
from app.console.wording import field_label, match_key_label, read_integer, remedy, share
from app.domain.destination import State
from app.domain.event import EventProblem
from app.domain.mapping.document import FIELDS, MAX_NAME_LENGTH
from app.domain.observed.backtest import REPEATS_UNKNOWN, Backtest
from app.domain.suggestions.suggest import fields_by_path
from app.store.destinations.destinations import DestinationFilter
from app.store.mappings import StoredMapping

router = PageRouter()

_MOST_PATHS = 200
MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"
SearchText = Annotated[str, Query(max_length=200)]


@router.get(MAPPINGS, Scope.DESTINATIONS_READ)
async def list_all(visit: CurrentDestination, paging: Paging) -> Response:
    """List the destination's mappings, one page at a time."""
    found = await use_cases.list_mappings(*visit.on, limit=paging.most, after=paging.number)
    content = paging.listed(found, lambda details: (details.mapping.number,))
    return await visit.show("mappings.html", statements=statements, **content)


@router.get(PAGE + "/event-schema", Scope.DESTINATIONS_READ)
async def event_schema(visit: CurrentDestination) -> Response:
    """List the paths of recent events: fill rate, types and suggested fields, and never their values."""
    observed = await read_observed(*visit.on)
    return await visit.show(
        "event_schema.html",
        schema=observed.schema,
        entries=list(observed.schema.entries.values())[:_MOST_PATHS],
        fields=fields_by_path(observed.suggestion),
        labels={name: field.label for name, field in FIELDS.items()},
    )


@router.post(MAPPING + "/delete", Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentDestination, mapping_id: str) -> Response:
    """Archive the mapping."""
    await use_cases.delete_mapping(*visit.on, mapping_id, None)
    return visit.done("mapping_deleted", MAPPINGS)


_TARGETS = 20


@router.get(MAPPING + "/copy", Scope.DESTINATIONS_WRITE)
async def copy_page(visit: CurrentDestination, mapping_id: str, q: SearchText = "") -> Response:
    """Show the form that copies a mapping. `q` searches for the destination of the copy."""
    mapping = (await use_cases.read_mapping(*visit.on, mapping_id)).mapping
    # Besides the targets: this destination, and one that shows that there are more.
    listed = await list_destinations(visit.context, DestinationFilter(q), limit=_TARGETS + 2)
    targets = [each for each in listed if each.id != visit.destination.id]
    return await visit.show(
        "mapping_copy.html",
        mapping=mapping,
        name=f"Copy of {mapping.name}"[:MAX_NAME_LENGTH],
        max_name=MAX_NAME_LENGTH,
        q=q,
        targets=targets[:_TARGETS],
        more=len(targets) > _TARGETS,
    )


@router.post(MAPPING + "/copy", Scope.DESTINATIONS_WRITE)
async def copy(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Copy the mapping as a draft and redirect to the copy."""
    to, name = form.text("to"), form.text("name")
    try:
        copied = (await use_cases.copy_mapping(*visit.on, mapping_id, to=to, name=name)).mapping
    except Refusal as refusal:
        return await copy_page(visit.refused(refusal), mapping_id)
    return visit.done("mapping_copied", f"/console/destinations/{copied.destination}/mappings/{copied.id}")


_NAME_REQUIRED = (
    "The draft would reject recent events or lose match keys. Type the exact name of the mapping to publish "
    "it. Nothing was published."
)


@router.get(MAPPING + "/publish", Scope.DESTINATIONS_READ)
async def publish_page(visit: CurrentDestination, mapping_id: str) -> Response:
    """Show what publishing would change."""
    details = await use_cases.read_mapping(*visit.on, mapping_id)
    conflict = await use_cases.find_name_conflict(*visit.on, mapping_id)
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
        await _require_confirmation(visit, mapping_id, form)
        published = await use_cases.publish_draft(*visit.on, mapping_id, form.version, form.text("note"))
    except Refusal as refusal:
        return await publish_page(visit.refused(refusal), mapping_id)
    return await landing(visit, published.mapping)


async def landing(visit: CurrentDestination, published: StoredMapping, sample: str = "") -> Response:
    """Redirect after a publish: a first version leads to the next setup step.

    In development, `sample` becomes the test event there.
    """
    if published.published_version != 1:
        address = f"{visit.here}/mappings/{published.id}/publish"
        return visit.done("published", address, published.published_version)
    visit = await visit.renewed()
    is_active = visit.destination.state is State.ACTIVE
    if sample and visit.context.development and is_active:
        return await activate.show(visit, sample=sample)
    return visit.done("published", f"{PAGE}/activate" if is_active else PAGE, 1)


async def _require_confirmation(visit: CurrentDestination, mapping_id: str, form: Form) -> None:
    """Raise Refusal if the draft harms recent events and the form does not repeat the mapping's name."""
    details = await use_cases.read_mapping(*visit.on, mapping_id)
    backtest = await _backtest(visit, details)
    mapping = details.mapping
    if backtest and needs_confirmation(mapping.draft, backtest) and form.text("name") != mapping.name.strip():
        raise invalid("name", "invalid", _NAME_REQUIRED)


async def _backtest(visit: CurrentDestination, details: use_cases.MappingDetails) -> Backtest | None:
    """Compare a changed, valid draft with the published version. None if there is nothing to compare."""
    mapping = details.mapping
    if mapping.published_version is None or not mapping.unpublished_changes or details.problems:
        return None
    _, result = await backtest_draft(*visit.on, mapping.id)
    return result


@router.post(MAPPING + "/take-name", Scope.DESTINATIONS_WRITE)
async def take_name(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Set the draft's event name to the pinned name."""
    await use_cases.change_draft(*visit.on, mapping_id, {"event_name": form.text("name")}, form.version)
    return visit.done("name_changed", MAPPING + "/publish")


@router.post(MAPPING + "/rename-pin", Scope.DESTINATIONS_WRITE)
async def rename_pin(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Rename an event type for the advertiser; recorded in the audit."""
    event_type, name = form.text("event_type"), form.text("name")
    await event_names.rename_event(visit.context, visit.destination.advertiser_id, event_type, name)
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
    mapping = (await use_cases.read_mapping(*visit.on, mapping_id)).mapping
    paging = ListQuery(visit.context, _PAGE_SIZE, cursor)
    found = await use_cases.list_versions(*visit.on, mapping_id, limit=paging.most, below=paging.number)
    chosen = version or mapping.published_version or 0
    # The changes of a version are relative to its predecessor, so load the predecessor too.
    newest = await use_cases.list_versions(*visit.on, mapping_id, limit=2, below=chosen + 1)
    by_number = {each.version: each for each in newest}
    selected, before = by_number.get(chosen), by_number.get(chosen - 1)
    if version is not None and selected is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    in_use = mapping.published
    return await visit.show(
        "mapping_versions.html",
        **paging.listed(found, lambda each: (each.version,)),
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
        await use_cases.roll_back(*visit.on, mapping_id, number, form.version)
    except Refusal as refusal:
        return await versions_page(visit.refused(refusal), mapping_id, number)
    return visit.done("rolled_back", MAPPING + "/versions", number)


_NAMES = "/console/event-names"
_NAME = _NAMES + "/{advertiser_id}/{event_type}"


@router.get(_NAMES, Scope.DESTINATIONS_READ)
async def list_names(visit: CurrentVisit, paging: Paging, q: SearchText = "") -> Response:
    """List pinned names by advertiser and event type."""
    place = paging.parts
    if place is not None and len(place) != 2:
        raise bad_cursor()
    after, search = (place[0], place[1]) if place else None, q.strip() or None
    found = await event_names.list_pinned_names(visit.context, limit=paging.most, after=after, search=search)
    content = paging.listed(found, lambda pin: (pin.advertiser_id, pin.event_type))
    return await visit.show("event_names.html", **content, q=q)


@router.get(_NAME, Scope.DESTINATIONS_READ)
async def name_page(visit: CurrentVisit, advertiser_id: str, event_type: str) -> Response:
    """Show a pinned name, the mappings that use it, and the form that renames it."""
    impact = await event_names.preview_rename(visit.context, advertiser_id, event_type)
    return await visit.show("event_name.html", impact=impact)


@router.post(_NAME, Scope.DESTINATIONS_WRITE)
async def rename(visit: CurrentVisit, advertiser_id: str, event_type: str, form: Form) -> Response:
    """Rename the event type and republish the mappings that send it."""
    try:
        renamed = await event_names.rename_event(visit.context, advertiser_id, event_type, form.text("to"))
    except Refusal as refusal:
        return await name_page(visit.refused(refusal), advertiser_id, event_type)
    if renamed.name == renamed.previous_name:
        return visit.done("event_name_kept", _NAME)
    return visit.done("event_renamed", _NAME, len(renamed.mappings))
