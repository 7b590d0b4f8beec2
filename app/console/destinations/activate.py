"""Activate page (R13): settings for the journey's node, and a test event."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin.access.keys import NewKey, create_key, list_keys
from app.admin.destinations.event_schemas import read_test_event, single_events
from app.admin.events.history import read_event_history
from app.admin.events.search import search_events
from app.admin.events.summary import EventSummary
from app.admin.mappings.mappings import list_published
from app.admin.mappings.trials import preview_event, send_sample_event
from app.api.http.responses import NDJSON
from app.console.events.history import timeline
from app.console.live_updates import streamed
from app.console.visits import PAGE, CurrentDestination, DestinationVisit, Form, PageRouter
from app.domain import strict_json
from app.domain.event_query import EventQuery

router = PageRouter()

KEYS_SHOWN = 5
# The optional journey object. All events of an execution can be found by its `execution_id`.
JOURNEY = {"id": "cart-reminder", "node_id": "send-to-amazon", "execution_id": "run-1"}


@router.get(PAGE + "/activate", Scope.DESTINATIONS_READ)
async def page(visit: CurrentDestination, mapping_id: str = "") -> Response:
    """Show address, key and payload for the Send to Destinations node. The test event fits the mapping."""
    return await show(visit, chosen=mapping_id)


@router.get(PAGE + "/activate/live", Scope.EVENTS_READ)
async def live(visit: CurrentDestination) -> Response:
    """Stream the newest event and the newest rejection while the page is open."""
    return streamed(visit, "arrivals_part.html", _arrivals)


@router.post(PAGE + "/journey-key", Scope.KEYS_ADMIN)
async def create_journey_key(visit: CurrentDestination) -> Response:
    """Create a key that only sends events to this destination, and show its secret in this response only."""
    name = f"Journey: {visit.destination.name}"[:200]  # the longest name of a key
    body = NewKey(name=name, scopes=[Scope.EVENTS_WRITE], destination_ids=[visit.destination.id])
    created = await create_key(visit.context, body)
    return await show(visit, secret=created.key)


async def show(visit: DestinationVisit, *, secret: str = "", sample: str = "", chosen: str = "") -> Response:
    """Show the page with the secret of a new key, or after the first publish.

    Then `sample`, the event for which the mapping was made, is the example and the test event. It is only in
    this response.
    `chosen` is the mapping that a test event should fit. The default is the first mapping.
    """
    published = await list_published(*visit.on)
    mapping_id = published[0].id if len(published) > 1 else None
    url = f"{visit.context.public_url}/events"
    tested = next((each for each in published if each.id == chosen), published[0] if published else None)
    example = await read_test_event(*visit.on, tested.id if tested else None)
    if given := single_events(strict_json.parse(sample.encode())):
        example = {"event_id": example["event_id"], **json.loads(strict_json.json_text(given[0]))}
    misfit = ""
    if tested is not None:
        with suppress(Refusal):  # an earlier release may have published what does not compile now
            trial = await preview_event(*visit.on, tested.id, example, tested.published)
            misfit = "" if trial["ok"] is True else trial["detail"]
    keys = []
    if visit.caller.may(Scope.KEYS_ADMIN):
        # One key more shows that there are more.
        keys = await list_keys(visit.context, limit=KEYS_SHOWN + 1, sends_to=visit.destination.id)
    return await visit.show(
        "activate.html",
        url=url,
        forms=body_forms(url, visit.destination.id, mapping_id, {**example, "journey": JOURNEY}),
        misfit=misfit,
        mappings=published,
        tested=tested,
        keys=keys,
        keys_shown=KEYS_SHOWN,
        secret=secret,
        was_published=bool(sample),
        **await _arrivals(visit),
        sample=_pretty(example),
    )


async def _arrivals(visit: DestinationVisit) -> dict[str, Any]:
    """Return the newest event with its timeline, and the newest rejected one. The page listens for them."""
    if not visit.caller.may(Scope.EVENTS_READ):
        return {}

    async def newest(*, rejected: bool) -> EventSummary | None:
        query = EventQuery(rejected=rejected)
        listed = await search_events(visit.context, query, destination_id=visit.destination.id, limit=1)
        return next(iter(listed.items), None)

    accepted, story = await newest(rejected=False), []
    if accepted is not None and accepted.event_id is not None:
        names = await visit.names([accepted.mapping_id])
        with suppress(Refusal):  # its history was deleted meanwhile
            history = await read_event_history(*visit.on, accepted.event_id, accepted.mapping_id)
            story = timeline(history, names.get(history.mapping_id or ""), names)
    return {"newest": accepted, "story": story, "rejected": await newest(rejected=True)}


@router.post(PAGE + "/test", Scope.EVENTS_WRITE)
async def test(visit: CurrentDestination, form: Form) -> Response:
    """Send a test event through the full pipeline to the sandbox. Works in development only."""
    content = strict_json.parse(form.text("event").encode())
    if not isinstance(content, dict):
        raise Refusal(ErrorCode.INVALID, "The test event must be one event: a JSON object.")
    sent = await send_sample_event(*visit.on, form.text("mapping_id") or None, content)
    if visit.request.headers.get("hx-request"):
        return visit.part("test_part.html", sent=sent, **await visit.header())
    return visit.done("test_sent", f"{PAGE}/event?id={sent.event_id}")


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
        BodyForm("ndjson", url, lines, NDJSON),
        BodyForm("webhook", f"{url}?{urlencode(ids)}", _pretty(bare)),
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
