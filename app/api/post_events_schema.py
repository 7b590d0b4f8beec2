"""The bodies and responses of POST /events, for the OpenAPI description."""

import json

from app.api.response_schemas import SHAPES
from app.api.schema_parts import Schema, list_of, members, ref


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


_EVENT = SHAPES["Event"]["example"]
_BATCH = list_of(ref("Event"))

# The bodies of POST /events. The route reads its body itself, so the framework cannot derive them.
EVENTS_BODY: Schema = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    ref("Event"),
                    _BATCH,
                    members({"events": _BATCH}),
                    members({"rows": _BATCH}),
                ]
            },
            "examples": {
                "event": {"summary": "One event", "value": _EVENT},
                "list": {"summary": "A list of events", "value": [_EVENT]},
                "events": {"summary": "A batch under `events`", "value": {"events": [_EVENT]}},
                "rows": {"summary": "A batch under `rows`", "value": {"rows": [_EVENT]}},
            },
        },
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "One event per line."},
            "example": json.dumps(_EVENT) + "\n",
        },
    },
}
EVENTS_ANSWERS: Schema = {
    status: {"description": meaning, "content": _json(shape)}
    for status, meaning, shape in (
        ("200", "With dry_run: the results that the real call would give.", ref("EventResults")),
        (
            "202",
            "Every event was accepted or is a duplicate. Accepted events are on disk.",
            ref("EventResults"),
        ),
        ("207", "Some events were rejected. See results.", ref("EventResults")),
        (
            "422",
            "Every event was rejected: see results. Or no event was read (an empty batch, an unknown "
            "parameter): an error.",
            {"oneOf": [ref("EventResults"), ref("Error")]},
        ),
    )
}
