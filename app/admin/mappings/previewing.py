"""Use cases that preview the conversion of an event, or send it to the sandbox on a development machine."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.admin.context import AppContext
from app.admin.destinations import find_visible, reading
from app.admin.mappings.drafts import compile_draft, find_mapping
from app.admin.mappings.evaluation import UNSAVED, rules_of
from app.admin.refusals import ErrorCode, Refusal
from app.domain.conversion.convert import ID_DERIVED, Conversion, ConversionPlan, Trace
from app.domain.event import (
    BodyProblem,
    Event,
    Rejection,
    check_event_id,
    content_digest,
    derived_event_id,
    read_events,
)
from app.domain.ids import DestinationId
from app.domain.mapping.document import check_publishable, compile_parts
from app.domain.observed.preview import (
    ConversionPreview,
    FieldPreview,
    RejectionPreview,
    preview,
    preview_fields,
    rejection_view,
)
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.ingest.intake import EventResult
from app.store.destinations.destinations import Destination
from app.store.mappings import Document, StoredMapping


async def preview_event(
    context: AppContext,
    destination_id: str,
    mapping_id: str,
    content: dict[str, Any],
    document: Document | None = None,
) -> ConversionPreview | RejectionPreview:
    """Convert an event with `document`, or with the saved draft if it is None. Return each step."""
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        rules = await rules_of(connection, context, destination, mapping)
    compiled = compile_draft(mapping, document)
    event = _event_of(context, destination, mapping, content)
    if isinstance(event, Rejection):
        return rejection_view(event)
    result = preview(*event, ConversionPlan(compiled, rules), now=context.now())
    if event[0].event_id is None and result["ok"]:
        result["warnings"].insert(0, {"code": ID_DERIVED.code, "field": ID_DERIVED.field})
    return result


@dataclass(frozen=True, slots=True)
class DraftPreview:
    """The preview of an unsaved draft: the result of each field, and the conversion.

    `conversion` is None if the draft has problems or lacks required members.
    """

    fields: Sequence[FieldPreview]
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
    fields = list(preview_fields(trace, parts.event_name))
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
    if given_id is not None and (rejection := check_event_id(given_id)):
        return rejection
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
