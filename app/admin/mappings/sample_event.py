"""Use case that sends a sample event through the pipeline to the sandbox, on a development machine only."""

import secrets
from dataclasses import dataclass
from typing import Any

from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.refusals import ErrorCode, Refusal
from app.domain.event import BodyProblem, read_events
from app.domain.ids import DestinationId
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.ingest.intake import EventResult


@dataclass(frozen=True, slots=True)
class SentSample:
    """The id of a sample event and its result."""

    event_id: str
    result: EventResult


async def send_sample_event(
    context: AppContext, destination_id: str, mapping_id: str | None, content: dict[str, Any]
) -> SentSample:
    """Send an event under a new id. Raises Refusal: 403 in production, 404, 503."""
    if not context.development:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "Test events are only for the sandbox; in production, Amazon would count them.",
        )
    async with context.engine.connect() as connection:
        await find_visible(connection, context.caller, destination_id)
    event_id = f"console-test-{secrets.token_hex(5)}"
    # The event goes to this destination, whatever it says itself.
    routing = {"destination_id": destination_id} | ({"mapping_id": mapping_id} if mapping_id else {})
    body = [{**content, "event_id": event_id, **routing}]
    events = read_events(body, default_destination=destination_id, default_mapping=mapping_id)
    assert not isinstance(events, BodyProblem)
    allowed = context.caller.destination_ids
    own = None if allowed is None else frozenset(map(DestinationId, allowed))
    request = PendingRequest(events, SenderAccess(context.caller.organisation, own), RequestTrace())
    results = await context.intake.receive(request)
    if results is None:
        raise Refusal(ErrorCode.UNAVAILABLE)
    (result,) = results
    return SentSample(event_id, result)
