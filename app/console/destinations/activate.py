"""Activate page (R13): settings for the journey's node, and a test event."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from app.admin.access import Scope
from app.admin.access.keys import create_key, list_keys
from app.admin.events.history import read_event_history
from app.admin.events.search import search_events
from app.admin.events.summary import EventSummary
from app.admin.inputs import NewKey
from app.admin.mappings.drafts import list_mappings
from app.admin.mappings.sample_event import send_sample_event
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.paging import MOST
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.page import PAGE, show_page, sign_in_origin
from app.console.events.timeline import timeline
from app.domain import strict_json
from app.domain.event_query import EventQuery
from app.domain.mapping.example import example_event
from app.store.access.keys import ApiKey
from app.store.destinations.destinations import Destination

router = page_router()

MAX_KEY_NAME = 200
# The optional journey object. All events of an execution can be found by its `execution_id`.
JOURNEY = {"id": "cart-reminder", "node_id": "send-to-amazon", "execution_id": "run-1"}


@router.get(PAGE + "/activate")
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show address, key and payload for the Send to Destinations node."""
    return await _page(visit, found, None)


@router.post(PAGE + "/journey-key")
@requires(Scope.KEYS_ADMIN)
async def create_journey_key(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Create a key that only sends events to this destination, and show its secret in this response only."""
    body = NewKey(
        name=f"Journey: {found.name}"[:MAX_KEY_NAME], scopes=[Scope.EVENTS_WRITE], destination_ids=[found.id]
    )
    created = await create_key(visit.context, body)
    return await _page(visit, found, created.key)


async def show_after_publish(visit: Visit, found: Destination, sample: str) -> Response:
    """Show the page after the first publish, with the event for which the mapping was made as test event.

    Nothing of the event is stored: it is only in this response.
    """
    return await _page(visit, found, None, sample=sample)


async def _page(visit: Visit, found: Destination, secret: str | None, *, sample: str = "") -> Response:
    details = await list_mappings(visit.context, found.id, limit=MOST)
    published = [each.mapping for each in details if each.mapping.published_version]
    mapping_id = published[0].id if len(published) > 1 else None
    url, example = f"{visit.context.public_url}/events", example_event(visit.context.now())
    return await show_page(
        visit,
        found,
        "activate.html",
        url=url,
        forms=body_forms(url, found.id, mapping_id, {**example, "journey": JOURNEY}),
        mappings=published,
        keys=await _keys(visit, found),
        secret=secret,
        was_published=bool(sample),
        **await arrivals(visit, found),
        sample=sample or json.dumps(example, indent=2),
    )


async def arrivals(visit: Visit, found: Destination) -> dict[str, Any]:
    """Return the newest event with its timeline, and the newest rejected one. The page listens for them."""
    context, caller = visit.context, visit.caller
    if not caller.may(Scope.EVENTS_READ):
        return {}

    async def newest(*, rejected: bool) -> EventSummary | None:
        query = EventQuery(rejected=rejected)
        listed = await search_events(context, query, destination_id=found.id, limit=1)
        return next(iter(listed.items), None)

    accepted, story = await newest(rejected=False), []
    if accepted is not None and accepted.event_id is not None:
        names = await visit.names([accepted.mapping_id])
        with suppress(Refusal):  # its history was deleted meanwhile
            history = await read_event_history(context, found.id, accepted.event_id, accepted.mapping_id)
            story = timeline(history, names.get(history.mapping_id or ""), names)
    return {"newest": accepted, "story": story, "rejected": await newest(rejected=True)}


async def _keys(visit: Visit, found: Destination) -> Sequence[ApiKey]:
    """Return the keys that can send to this destination now. Return none if the user may not see keys."""
    if not visit.caller.may(Scope.KEYS_ADMIN):
        return []
    now = visit.context.now()
    return [
        key
        for key in await list_keys(visit.context, limit=MOST)
        if Scope.EVENTS_WRITE in key.scopes
        and key.revoked_at is None
        and (key.expires_at is None or key.expires_at > now)
        and (key.destination_ids is None or found.id in key.destination_ids)
    ]


@router.post(PAGE + "/test")
@requires(Scope.EVENTS_WRITE)
async def test(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Send a test event through the full pipeline to the sandbox. Works in development only."""
    mapping_id = form.text("mapping_id") or None
    content = strict_json.parse(form.text("event").encode())
    if not isinstance(content, dict):
        raise Refusal(ErrorCode.INVALID, "The test event must be one event: a JSON object.")
    sent = await send_sample_event(visit.context, found.id, mapping_id, content)
    shown = {
        "events_manager": f"{sign_in_origin(visit.context, found.region)}/events-manager?"
        + urlencode({"advertiser_id": found.advertiser_id}),
        "destination_id": found.id,
        "status": sent.result.status,
        "event_id": sent.event_id,
        "rejection": sent.result.rejection,
    }
    if visit.request.headers.get("hx-request"):
        return HTMLResponse(pages.part("test_part.html", **shown))
    page = f"/console/destinations/{found.id}/event?id={sent.event_id}"
    return visit.done("test_sent", page)


@dataclass(frozen=True, slots=True)
class BodyForm:
    """A request format: its address, an example body and its media type."""

    id: str
    address: str
    body: str
    media_type: str = "application/json"

    @property
    def command(self) -> str:
        """A curl command that sends the body."""
        return (
            f'curl -sS {shlex.quote(self.address)} -H "Authorization: Bearer $KEY" '
            f"-H 'Content-Type: {self.media_type}' --data-binary {shlex.quote(self.body)}"
        )


def body_forms(
    url: str, destination: str, mapping: str | None, event: Mapping[str, object]
) -> Sequence[BodyForm]:
    """Return the request formats for a destination. `mapping` is None if only one mapping is published."""
    ids = {"destination_id": destination, **({"mapping_id": mapping} if mapping else {})}
    complete = {"event_id": event["event_id"], **ids, **{k: v for k, v in event.items() if k != "event_id"}}
    second = {**complete, "event_id": f"{event['event_id']}-2"}
    bare = {name: value for name, value in event.items() if name not in ("event_id", "journey")}
    listed = {**ids, "events": [event, {**event, "event_id": second["event_id"]}]}
    lines = "\n".join(json.dumps(item, separators=(",", ":")) for item in (complete, second))
    return (
        BodyForm("one", url, _pretty(complete)),
        BodyForm("array", url, _pretty([complete, second])),
        BodyForm("events", url, _pretty(listed)),
        BodyForm("ndjson", url, lines, "application/x-ndjson"),
        BodyForm("webhook", f"{url}?{urlencode(ids)}", _pretty(bare)),
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
