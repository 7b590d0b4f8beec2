"""The mapping editor (R9 to R11).

One form serves new and existing mappings, and shows results while the user types.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope, catalog
from app.admin.destinations import event_schemas
from app.admin.mappings import mappings as use_cases
from app.admin.mappings import trials
from app.admin.mappings.schema import draft_warnings
from app.console.mappings import MAPPING, MAPPINGS, landing
from app.console.mappings.field_results import field_results, problem_views, reasons_of, undecided_of
from app.console.mappings.form import custom_numbers, empty_row, from_form, keep_short_forms, to_form
from app.console.mappings.inputs import ANY_INPUTS, transforms
from app.console.mappings.view import event_ids, paths, pretty_json, preview, warning_lines
from app.console.visits import CurrentDestination, DestinationVisit, Form, PageRouter
from app.console.wording import share
from app.domain import strict_json
from app.domain.mapping.document import MAX_CUSTOM_FIELDS, check_draft, check_publishable
from app.domain.mapping.presets import EVENT_NAMES, EXAMPLE_MAPPING, PRESETS, example_event
from app.domain.observed.event_schema import EventSchema
from app.domain.observed.schema_sample import SchemaSample
from app.domain.observed.synthetic_event import common_events
from app.domain.strict_json import json_text
from app.domain.suggestions.suggest import Suggestion, fields_by_path
from app.store.mappings import Document, event_names

router = PageRouter()

NEW = "new"
# What the form of a new mapping has before any event came in. Without a default of the country: each event
# without a country would be an event of this country.
_STARTING_DRAFT = {
    "event_source": EXAMPLE_MAPPING["event_source"],
    "country_code": {"path": EXAMPLE_MAPPING["country_code"]["path"]},
    "fields": EXAMPLE_MAPPING["fields"],
}
# For each event type, the paths of the fields that its events should have, as JSON.
_ADDITIONS = {
    preset.event_type: msgspec.json.encode(
        {name: source["path"] for name, source in preset.more_fields.items()}
    ).decode()
    for preset in PRESETS
    if preset.more_fields
}
_COMMON_EVENTS = 3
_EVENT_ID = "event-id-"  # and the number of a preset of `event_id`
_STALE = (
    "Someone else changed this mapping after you opened it. Your input is below, not saved. "
    "Saving it now replaces their changes."
)


# Why there is no suggestion, by the button that asked for it.
_NO_EVENTS = {
    "suggest": "There is no suggestion: the sample is no event and no list of events in JSON.",
    "suggest-recent": "There is no suggestion: no event has come in yet. Paste one instead.",
}


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """A sample event to choose, as compact JSON."""

    id: str
    label: str
    text: str


@router.get(MAPPINGS + "/new", Scope.DESTINATIONS_WRITE)
async def new(visit: CurrentDestination) -> Response:
    """Show the form of a new mapping. It is filled with the paths that fit recent events."""
    return await _show(visit, None, None)


@router.post(MAPPINGS + "/new", Scope.DESTINATIONS_WRITE)
async def create(visit: CurrentDestination, form: Form) -> Response:
    """Create the draft in the form. If it is invalid, show the form again with each problem at its field."""
    return await _store(visit, None, form)


@router.get(MAPPING, Scope.DESTINATIONS_READ)
async def page(visit: CurrentDestination, mapping_id: str) -> Response:
    """Show the form of a mapping with the results for a sample event."""
    found = await use_cases.read_mapping(*visit.on, mapping_id)
    return await _show(visit, found, found.mapping.draft)


@router.post(MAPPING, Scope.DESTINATIONS_WRITE)
async def save(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Save the draft. If it is invalid, show the form again with each problem at its field."""
    return await _store(visit, await use_cases.read_mapping(*visit.on, mapping_id), form)


async def _store(visit: DestinationVisit, found: use_cases.MappingDetails | None, form: Form) -> Response:
    """Create a mapping from the form, or change the mapping that was found."""
    draft = found.mapping.draft if found else {}
    document = keep_short_forms(draft, from_form(form))
    then = form.text("then")
    if _only_shows(then):
        return await _show_unsaved(visit, found, document, form)
    if check_draft(document):
        return await _show(visit, found, document, form=form, status=422)
    try:
        if found is None:
            saved = await use_cases.create_draft(*visit.on, document)
        else:
            # In a change, null removes a member. So set the members that the form left out to null.
            members = {**dict.fromkeys(draft), **document}
            saved = await use_cases.change_draft(*visit.on, found.mapping.id, members, form.version)
    except Refusal as refusal:
        stale = _STALE if refusal.problem.code is ErrorCode.STALE else None
        return await _show(visit.refused(refusal), found, document, form=form, refused=stale)
    return await _leave(visit, saved, form, "draft_saved" if found else "mapping_created")


def _only_shows(then: str) -> bool:
    """Return whether the form was sent to show other content: then nothing is saved."""
    return then in ("preview", "json", *_NO_EVENTS) or then.startswith(("sample-", "open-", _EVENT_ID))


async def _leave(visit: DestinationVisit, saved: use_cases.MappingDetails, form: Form, done: str) -> Response:
    """Redirect after saving: to the form, to the review, or publish a first version that needs no review."""
    mapping = saved.mapping
    here, then = f"{visit.here}/mappings/{mapping.id}", form.text("then")
    if then not in ("publish", "review"):
        return visit.done(done, here)
    is_first, published = mapping.published_version is None, None
    if then == "publish" and is_first and not saved.problems and not saved.warnings:
        # The review page shows why publishing failed, such as a second name for the event type.
        with suppress(Refusal):
            published = await use_cases.publish_draft(*visit.on, mapping.id, frozenset({mapping.version}))
    if published is None:
        return visit.done(done, f"{here}/publish")
    return await landing(visit, published.mapping, form.text("sample"))


async def _show_unsaved(
    visit: DestinationVisit, found: use_cases.MappingDetails | None, document: Document, form: Form
) -> Response:
    """Show the form with its input, or filled from a suggestion or from the mapping as JSON."""
    then, refused, suggestion = form.text("then"), None, None
    if then == "json":
        written = strict_json.parse(form.text("json").encode())
        if isinstance(written, dict):
            document = written
        else:
            refused = "The JSON is not a mapping. The form is unchanged."
    elif then in _NO_EVENTS:
        sample, refused = strict_json.parse(form.text("sample").encode()), _NO_EVENTS[then]
        events = None if then == "suggest-recent" else event_schemas.single_events(sample)
        try:
            made = await event_schemas.suggest_mapping(*visit.on, events, form.text("zone") or None)
        except Refusal as refusal:
            made, refused = None, refusal.problem.detail or refused
        if made and made.rows:
            is_named = document["name"] not in ("", *EVENT_NAMES.values())
            document = {**made.mapping, **({"name": document["name"]} if is_named else {})}
            suggestion, refused = made, None
    return await _show(visit, found, document, form=form, refused=refused, suggestion=suggestion)


@router.post(MAPPING + "/preview", Scope.DESTINATIONS_READ)
async def show_preview(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Return the results of the unsaved form for the sample event. Nothing is stored."""
    document, sample, custom = from_form(form), form.text("sample"), custom_numbers(form)
    schema = await event_schemas.read_event_schema(*visit.on)
    stored = None if mapping_id == NEW else mapping_id
    results = await _results(visit, stored, document, schema, sample=sample, custom=custom)
    return visit.part("preview_part.html", fragment=True, **results)


async def _results(
    visit: DestinationVisit,
    mapping_id: str | None,
    document: Document,
    schema: EventSchema,
    *,
    sample: str,
    custom: Mapping[str, int],
) -> dict[str, Any]:
    """Return the content of the preview: the result of each row, problems, warnings and the conversion."""
    parsed = strict_json.parse(sample.encode())
    sample_problem, results, view = None, {}, None
    event = next(iter(event_schemas.single_events(parsed)), None)
    if event is not None:
        answer = await trials.preview_draft(*visit.on, mapping_id, event, document)
        results = field_results(answer.fields, custom)
        view = None if answer.conversion is None else preview(answer.conversion)
    elif isinstance(parsed, strict_json.MalformedJson):
        sample_problem = strict_json.SENTENCES[parsed.why].replace("The body", "The sample")
    else:
        sample_problem = "The sample must be an event, or a list of events: JSON objects."
    return {
        "sample_problem": sample_problem,
        "results": results,
        "shown": view,
        "lacking": problem_views(check_publishable(dict(document))),
        "json": pretty_json(document),
        "odd": warning_lines(draft_warnings(document, visit.destination.region, schema)),
    }


def _samples(samples: Sequence[tuple[SchemaSample, int]], now: datetime) -> list[SampleEvent]:
    """Return the sample events to choose from.

    Samples of recent events come first, then the example event.
    """
    total = sum(times for _, times in samples)
    found = [
        SampleEvent(f"recent-{number}", f"{share(common.events, total)} of events", json_text(common.event))
        for number, common in enumerate(common_events(samples, now, limit=_COMMON_EVENTS), 1)
    ]
    return [*found, SampleEvent("example", "Example event", json_text(example_event(now)))]


async def _show(
    visit: DestinationVisit,
    found: use_cases.MappingDetails | None,
    document: Document | None,
    *,
    form: Form | None = None,
    status: int = 200,
    refused: str | None = None,
    suggestion: Suggestion | None = None,
) -> Response:
    """Return the editor page. `form` is input that is not saved, or None.

    `suggestion` is what the document was suggested from, or None.
    """
    async with visit.context.engine.connect() as connection:
        pins = await event_names.of_advertiser(connection, visit.destination.advertiser_id)
    observed = await event_schemas.read_observed(*visit.on)
    if document is None:
        suggestion = observed.suggestion
        document = dict(suggestion.mapping) or _STARTING_DRAFT
    # The events of other mappings may have other paths.
    groups = await event_schemas.read_samples_of_mapping(*visit.on, found.mapping.id) if found else ()
    recent = [counted for group in groups for counted in group.samples.items()] or observed.samples
    samples = await visit.context.compute(_samples, recent, visit.context.now())
    then, typed, zone = (form.text(name) if form else "" for name in ("then", "sample", "zone"))
    picked = next((each for each in samples if then == f"sample-{each.id}"), None if typed else samples[0])
    sample = msgspec.json.format(picked.text, indent=2) if picked else typed
    parsed = strict_json.parse(sample.encode())
    first = next(iter(event_schemas.single_events(parsed)), parsed)
    offers = paths(first, observed.schema, fields_by_path(observed.suggestion))
    ids = event_ids(offers, document)
    chosen = [preset.source for number, preset in enumerate(ids) if then == f"{_EVENT_ID}{number}"]
    if chosen:
        document = {**document, "fields": {**(document.get("fields") or {}), "event_id": chosen[0]}}
    sentences, refused_status = visit.problems
    of_form = sentences.pop("", None)
    problems = check_draft(dict(document)) if found or form else []
    if _only_shows(then):
        problems = [each for each in problems if each.path != "name"]
    fields = to_form(document, problems)
    custom = {row.name: number for number, row in enumerate(fields.custom)}
    mapping_id = found.mapping.id if found else None
    results = await _results(visit, mapping_id, document, observed.schema, sample=sample, custom=custom)
    return await visit.show(
        "mapping.html",
        status=max(status, refused_status),
        **results,
        details=found,
        form=fields,
        empty_row=empty_row,
        any_inputs=ANY_INPUTS,
        opened=then.removeprefix("open-") if then.startswith("open-") else "",
        unsaved=form is not None,
        wrong=problem_views(problems),
        sentences=sentences,
        refused=refused or of_form,
        kind=catalog.AMAZON,
        most=MAX_CUSTOM_FIELDS,
        pins=pins,
        names=EVENT_NAMES | {pin.event_type: pin.name for pin in pins},
        additions={} if observed.suggestion.rows else _ADDITIONS,
        reasons=reasons_of(suggestion) if suggestion else {},
        undecided=undecided_of(suggestion) if suggestion else (),
        sample=sample,
        zone=zone,
        picked=picked,
        samples=samples,
        observed=observed.schema.events,
        paths=offers,
        event_ids=ids,
        transforms=transforms(),
    )
