"""Try a mapping: preview an event, compare a draft with the published version, and send a sample event.

A sample event goes to the sandbox, on a development machine only. Also the conversion rules of a mapping,
which match quality uses.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, Refusal
from app.admin.context import AppContext, EvaluationSettings
from app.admin.destinations import find_visible, reading
from app.admin.mappings.mappings import compile_draft, find_mapping, require_published
from app.admin.mappings.schema import compiled_or_none
from app.domain.conversion.convert import ID_DERIVED, Conversion, ConversionPlan, Rules, Trace
from app.domain.event import (
    BodyProblem,
    Event,
    EventProblem,
    Rejection,
    content_digest,
    derived_event_id,
    event_id_problem,
    read_events,
)
from app.domain.ids import DestinationId, MappingId
from app.domain.mapping.document import Mapping, check_publishable, compile_parts
from app.domain.observed import preview
from app.domain.observed.backtest import Backtest, backtest
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.domain.quantity import quantity
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.ingest.intake import EventResult
from app.store import mappings
from app.store.destinations import schema_samples
from app.store.destinations.destinations import Destination
from app.store.mappings import Document, StoredMapping, event_names

UNSAVED: Final = MappingId("map_unsaved")


async def rules_of(
    connection: AsyncConnection,
    settings: EvaluationSettings,
    destination: Destination,
    mapping: StoredMapping | None,
) -> Rules:
    """Return the conversion rules that apply to the mapping's events on receipt, with the pinned names.

    An unsaved mapping has no id. The event ids of its previews are therefore derived from `UNSAVED`.
    """
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return Rules.of(
        destination,
        destination_id=destination.id,
        mapping_id=mapping.id if mapping else UNSAVED,
        mapping_version=(mapping.published_version if mapping else None) or 0,
        pins={pin.event_type: pin.name for pin in pins},
        deployment=settings.deployment,
    )


async def preview_event(
    context: AppContext,
    destination_id: str,
    mapping_id: str,
    content: dict[str, Any],
    document: Document | None = None,
) -> preview.ConversionPreview | preview.RejectionPreview:
    """Convert an event with `document`, or with the saved draft if it is None. Return each step."""
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        rules = await rules_of(connection, context, destination, mapping)
    compiled = compile_draft(mapping, document)
    event = _event_of(context, destination, mapping, content)
    if isinstance(event, Rejection):
        return preview.rejection_view(event)
    return preview.preview(*event, ConversionPlan(compiled, rules), now=context.now())


@dataclass(frozen=True, slots=True)
class DraftPreview:
    """The preview of an unsaved draft: the result of each field, and the conversion.

    `conversion` is None if the draft has problems or lacks required members.
    """

    fields: Sequence[preview.FieldPreview]
    conversion: Conversion | Rejection | None


async def preview_draft(
    context: AppContext,
    destination_id: str,
    mapping_id: str | None,
    content: dict[str, Any],
    document: Document,
) -> DraftPreview:
    """Convert an event with the valid parts of a draft.

    `mapping_id` is None for a mapping that is not saved.
    """
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id) if mapping_id else None
        rules = await rules_of(connection, context, destination, mapping)
    written = dict(document)
    parts = compile_parts(written)
    event = _event_of(context, destination, mapping, content)
    # The id changes nothing but the derived Amazon eventId, so all fields can be shown without it.
    shown = (Event(None, destination.id, None, content), "") if isinstance(event, Rejection) else event
    trace: Trace = []
    outcome = ConversionPlan(parts, rules).convert(*shown, context.now(), trace=trace)
    fields = list(preview.preview_fields(trace, parts.event_name))
    if check_publishable(written):
        return DraftPreview(fields, None)
    if isinstance(event, Rejection):
        return DraftPreview(fields, event)
    if event[0].event_id is None and isinstance(outcome, Conversion):
        outcome = msgspec.structs.replace(outcome, warnings=(ID_DERIVED, *outcome.warnings))
    return DraftPreview(fields, outcome)


def _event_of(
    context: AppContext, destination: Destination, mapping: StoredMapping | None, content: dict[str, Any]
) -> tuple[Event, str] | Rejection:
    """Return the event and its id, or the rejection of an invalid id.

    An event without an id gets a derived id.
    """
    given_id = content.get("event_id")
    if given_id is not None and (problem := event_id_problem(given_id)):
        return Rejection(problem.reason, "event_id", None, problem.sentence, None)
    event_id = given_id or derived_event_id(content_digest(content, context.pepper))
    return Event(given_id, destination.id, mapping.id if mapping else UNSAVED, content), event_id


async def send_sample_event(
    context: AppContext, destination_id: str, mapping_id: str | None, content: dict[str, Any]
) -> EventResult:
    """Send an event under a new id. Raises Refusal: 403 in production, 404, 503."""
    if not context.development:
        detail = "Test events are only for the sandbox; in production, Amazon would count them."
        raise Refusal(ErrorCode.FORBIDDEN, detail)
    async with context.engine.connect() as connection:
        await find_visible(connection, context.caller, destination_id)
    # The event goes to this destination, whatever it says itself.
    routing = {"destination_id": destination_id} | ({"mapping_id": mapping_id} if mapping_id else {})
    body = [{**content, "event_id": f"console-test-{secrets.token_hex(5)}", **routing}]
    events = read_events(body, default_destination=destination_id, default_mapping=mapping_id)
    assert not isinstance(events, BodyProblem)
    allowed = context.caller.destination_ids
    own = None if allowed is None else frozenset(map(DestinationId, allowed))
    request = PendingRequest(events, SenderAccess(context.caller.organisation, own), RequestTrace())
    results = await context.intake.receive(request)
    if results is None:
        raise Refusal(ErrorCode.UNAVAILABLE)
    return results[0]


_VERSIONS: Final = 5  # whose samples are judged by what these versions did with the events


async def backtest_draft(
    context: AppContext,
    destination_id: str,
    mapping_id: str,
    *,
    document: Document | None = None,
    limit: int = schema_samples.RING,
) -> tuple[int, Backtest]:
    """Compare a document, or the saved draft, with the published version over the newest events.

    Returns the published version and the result. Raises Refusal (422) when the draft is not publishable or
    nothing is published yet.
    """
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        draft = compile_draft(mapping, document)
        published = require_published(mapping)
        compare = await comparison(connection, context, destination, mapping, draft, limit=limit)
    return published, await context.compute(compare)


async def comparison(
    connection: AsyncConnection,
    settings: EvaluationSettings,
    destination: Destination,
    mapping: StoredMapping,
    draft: Mapping,
    *,
    limit: int = schema_samples.RING,
) -> Callable[[], Backtest]:
    """Return a function that computes how a draft would change the conversions of the newest events.

    The mapping is published. The function takes up to 0.5 s.
    """
    assert mapping.published is not None
    published = compiled_or_none(mapping.published)
    rules = await rules_of(connection, settings, destination, mapping)
    if published is None:
        return Backtest
    samples, now = await schema_samples.recent(connection, mapping.id, limit=limit), settings.now()
    versions = await mappings.versions(connection, mapping.id, limit=_VERSIONS)
    key = fingerprint_key(settings.pepper, destination.number)
    return lambda: backtest(
        samples.groups(),
        published,
        draft,
        rules,
        fingerprint=partial(fingerprint, key=key),
        now=now,
        older={each.version: compiled for each in versions if (compiled := compiled_or_none(each.document))},
        complete=limit >= schema_samples.RING,
    )


def needs_confirmation(draft: Document, result: Backtest) -> bool:
    """Return whether publishing the draft would reject events or lose match keys.

    Rejections because of a pinned event name do not count if the draft's event type is a constant. Publishing
    such a draft is refused anyway.
    """
    reasons = {group.reason for group in result.rejected}
    compiled = compiled_or_none(draft)
    if compiled is not None and compiled.constant_event_type is not None:
        reasons.discard("event_name_conflict")
    return bool(result.lost or reasons or result.repeated_event_ids)


def summary(result: Backtest) -> str:
    """Return the result as a sentence. It says "nothing changes" only if that is certain."""
    if not result.events:
        return "No recent events to test the draft on."
    parts = [
        *(f"{quantity(times, 'loses', 'lose')} {key}" for key, times in result.lost.most_common()),
        *(f"{quantity(times, 'gains', 'gain')} {key}" for key, times in result.gained.most_common()),
        *(
            f"{quantity(times, 'sends', 'send')} a different {name}"
            for name, times in result.changed.most_common()
        ),
        *(
            f"{quantity(times, 'is', 'are')} newly rejected ({_why(group)})"
            for group, times in result.rejected.most_common()
        ),
    ]
    if result.newly_accepted:
        parts.append(f"{quantity(result.newly_accepted, 'is', 'are')} newly accepted")
    if result.repeated_event_ids:
        repeats = quantity(result.repeated_event_ids, "repeats", "repeat")
        parts.append(f"{repeats} an event id and would be rejected")
    text = f"Of the last {result.events:,}: {', '.join(parts) or 'nothing changes'}."
    if not result.unclear:
        return text
    unclear = ", ".join(f"{times:,} {_why(group)}" for group, times in result.unclear.most_common())
    certain = text if parts else f"Of the last {result.events:,}: no change is certain."
    return f"{certain} Unclear, because the samples hold no texts: {unclear}."


def _why(group: EventProblem) -> str:
    return ", ".join(word for word in (group.reason, group.mapping_field) if word)
