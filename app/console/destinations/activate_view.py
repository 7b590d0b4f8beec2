"""The request formats that a journey's Send to Destinations node can use (R13). Pure."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

# Status codes of POST /events: (code, meaning, what the journey engine does).
RESPONSES: Sequence[tuple[str, str, str]] = (
    ("202", "Every event is stored or a duplicate.", "Continue."),
    (
        "207",
        "Some events are rejected; see the results.",
        "Continue. Fix the rejected events.",
    ),
    (
        "422",
        "All events are rejected; see the results.",
        "Fix the events. Do not resend them unchanged.",
    ),
    ("400, 415", "The body cannot be read.", "Fix the format of the body or its Content-Type."),
    ("401, 403", "The key is unknown, revoked, or may not send here.", "Use another key."),
    ("413", "The body has more than 5,000 events or 5 MiB.", "Split the request."),
    ("429, 503", "Nothing is stored.", "Send the same request again after Retry-After."),
)


@dataclass(frozen=True, slots=True)
class BodyForm:
    """A request format: its address, its media type, an example body and a curl command."""

    id: str
    label: str
    help: str
    address: str
    media_type: str
    body: str
    command: str


def body_forms(
    url: str, destination: str, mapping: str | None, event: Mapping[str, object]
) -> Sequence[BodyForm]:
    """Return the request formats for a destination. `mapping` is None if only one mapping is published."""
    ids = {"destination_id": destination, **({"mapping_id": mapping} if mapping else {})}
    complete = {"event_id": event["event_id"], **ids, **{k: v for k, v in event.items() if k != "event_id"}}
    second = {**complete, "event_id": f"{event['event_id']}-2"}
    bare = {name: value for name, value in event.items() if name not in ("event_id", "journey")}
    json_type = "application/json"
    return (
        _form(
            "one",
            "One event",
            "One event per request. Recommended.",
            url,
            json_type,
            _pretty(complete),
        ),
        _form(
            "array", "Array", "Up to 5,000 events per request.", url, json_type, _pretty([complete, second])
        ),
        _form(
            "events",
            "List under “events”",
            "Ids next to the list apply to all of its events. “rows” works like “events”.",
            url,
            json_type,
            _pretty({**ids, "events": [event, {**event, "event_id": second["event_id"]}]}),
        ),
        _form(
            "ndjson",
            "NDJSON",
            "One event per line. An invalid line is rejected on its own.",
            url,
            "application/x-ndjson",
            "\n".join(json.dumps(item, separators=(",", ":")) for item in (complete, second)),
        ),
        _form(
            "webhook",
            "Plain webhook",
            "Ids are in the URL, fields in the body. The event id is derived from the content.",
            f"{url}?{urlencode(ids)}",
            json_type,
            _pretty(bare),
        ),
    )


def _form(id_: str, label: str, help_: str, address: str, media_type: str, body: str) -> BodyForm:
    command = (
        f'curl -sS {shlex.quote(address)} -H "Authorization: Bearer $KEY" '
        f"-H 'Content-Type: {media_type}' --data-binary {shlex.quote(body)}"
    )
    return BodyForm(id_, label, help_, address, media_type, body, command)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
