"""Use case that sends a sample event through the pipeline to the sandbox, on a development machine only."""

import json
import secrets
from dataclasses import dataclass

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.refusals import ErrorCode, Refusal
from app.domain import strict_json
from app.domain.event import BodyProblem, read_events
from app.domain.ids import DestinationId
from app.domain.mapping.example import example_event
from app.ingest.intake import EventResult
from app.ingest.pending_request import NotStored, SenderAccess


@dataclass(frozen=True, slots=True)
class SentSample:
    """The id of a sample event and its result."""

    event_id: str
    result: EventResult


async def send_sample_event(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str | None
) -> SentSample:
    """Send the example event under a new id. Raises Refusal: 403 in production, 404, 503."""
    if not context.development:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "Test events are only for the sandbox; in production, Amazon would count them.",
        )
    async with context.engine.connect() as connection:
        await find_visible(connection, caller, destination_id)
    event_id = f"console-test-{secrets.token_hex(5)}"
    # Encode and parse the event as JSON, as a received event would be: the strict parser keeps numbers exact.
    parsed = strict_json.parse(json.dumps({**example_event(context.now()), "event_id": event_id}).encode())
    events = read_events(parsed, default_destination=destination_id, default_mapping=mapping_id)
    assert not isinstance(events, BodyProblem)
    allowed = caller.destination_ids
    results = await context.intake.receive(
        events,
        access=SenderAccess(
            caller.organisation, None if allowed is None else frozenset(map(DestinationId, allowed))
        ),
    )
    if isinstance(results, NotStored):
        raise Refusal(ErrorCode.UNAVAILABLE)
    (result,) = results
    return SentSample(event_id, result)
