"""Request formats for a journey's Send to Destinations node (R13). Pure."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class BodyForm:
    """One request format: address, media type, example body and curl command."""

    id: str
    label: str
    help: str
    address: str
    media_type: str
    body: str
    command: str


def forms(url: str, destination: str, mapping: str | None, event: Mapping[str, Any]) -> Sequence[BodyForm]:
    """Return the request formats for a destination. `mapping` is set when several are published."""
    ids = {"destination_id": destination, **({"mapping_id": mapping} if mapping else {})}
    whole = {"event_id": event["event_id"], **ids, **{k: v for k, v in event.items() if k != "event_id"}}
    second = {**whole, "event_id": f"{event['event_id']}-2"}
    bare = {name: value for name, value in event.items() if name not in ("event_id", "journey")}
    json_type = "application/json"
    return (
        _form(
            "one",
            "One event",
            "The usual one: each event in a request of its own.",
            url,
            json_type,
            _pretty(whole),
        ),
        _form(
            "array", "An array", "Up to 5,000 events in a request.", url, json_type, _pretty([whole, second])
        ),
        _form(
            "events",
            "A list under “events”",
            "Ids beside the list hold for every event in it; rows works like events.",
            url,
            json_type,
            _pretty({**ids, "events": [event, {**event, "event_id": second["event_id"]}]}),
        ),
        _form(
            "ndjson",
            "Lines (NDJSON)",
            "One event a line; a bad line is refused alone.",
            url,
            "application/x-ndjson",
            "\n".join(json.dumps(one, separators=(",", ":")) for one in (whole, second)),
        ),
        _form(
            "webhook",
            "A plain webhook",
            "The ids stand in the address, the body is only fields; an id is made from the content.",
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
