"""The answers of the routes as the API describes them; tests check real answers against these shapes."""

from typing import Any

from app.domain.codes import Code
from app.domain.destination import Region, State
from app.web.answers_of_the_road import ROAD_ANSWERS, ROAD_SHAPES
from app.web.auth import Scope
from app.web.mapping_form import DOCUMENT_SCHEMA, EXAMPLE

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_INTEGER: Schema = {"type": "integer"}
_YES: Schema = {"type": "boolean"}
_ANY: Schema = {"type": ["object", "null"]}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _object(properties: Schema, *, optional: tuple[str, ...] = (), example: Any = None) -> Schema:
    made: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return made if example is None else {**made, "example": example}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_WARNINGS = _list(
    _object({"code": _TEXT, "field": _or_null(_TEXT), "destination_id": _TEXT}, optional=("destination_id",))
)
_AT = "2026-11-24T10:00:00Z"
_DESTINATION_ID, _MAPPING_ID = "dst_0a1b2c3d4e5f6g7h8i9j", "map_0a1b2c3d4e5f6g7h8i9j"

_DESTINATION = {
    "id": _TEXT,
    "name": _TEXT,
    "advertiser_id": _TEXT,
    "region": {"type": "string", "enum": list(Region)},
    "currency": _TEXT,
    "identity_profile": _TEXT,
    "dataset_name": _or_null(_TEXT),
    "rate_limit": _object({"requests_per_second": {"type": "number"}, "burst": _INTEGER}),
    "state": {"type": "string", "enum": list(State)},
    "reason": {**_or_null(_TEXT), "description": "Why it needs to be connected again."},
    "connected": _YES,
    "published_mappings": _INTEGER,
    "version": {**_INTEGER, "description": "Also the ETag."},
    "created_at": _TIME,
    "updated_at": _TIME,
    "archived_at": _or_null(_TIME),
    "warnings": _WARNINGS,
    "discarded": {**_INTEGER, "description": "Answer to a delete: events that were given up."},
}

_MAPPING = {
    "id": _TEXT,
    "destination_id": _TEXT,
    "name": _TEXT,
    "state": {"type": "string", "enum": ["draft", "published", "archived"]},
    "published_version": _or_null(_INTEGER),
    "unpublished_changes": _YES,
    "problems": _list(_object({"field": _TEXT, "problem": _TEXT, "detail": _TEXT})),
    "warnings": _WARNINGS,
    "version": {**_INTEGER, "description": "Also the ETag; counts edits, not what was published."},
    "created_at": _TIME,
    "updated_at": _TIME,
}

_KEY = {
    "id": _TEXT,
    "name": _TEXT,
    "hint": {**_TEXT, "description": "The key's first eight characters."},
    "scopes": _list({"type": "string", "enum": list(Scope)}),
    "destination_ids": _or_null(_list(_TEXT)),
    "created_at": _TIME,
    "created_by": _TEXT,
    "expires_at": _or_null(_TIME),
    "revoked_at": _or_null(_TIME),
    "last_used_at": _or_null(_TIME),
    "replaces": {**_or_null(_TEXT), "description": "The key that this one was made to replace."},
}

_BRIEF = _list(_object({"id": _TEXT, "destination_id": _TEXT, "name": _TEXT}))

_PREVIEW: Schema = {
    "oneOf": [
        _object(
            {
                "ok": {"const": True},
                "amazon_event": {"type": "object", "description": "Exactly the JSON that would be sent."},
                "steps": _list({"type": "object"}),
                "warnings": _WARNINGS,
            }
        ),
        _object(
            {
                "ok": {"const": False},
                "code": _TEXT,
                "reason": _TEXT,
                "field": _or_null(_TEXT),
                "detail": _TEXT,
            }
        ),
    ]
}

# Each shape under its name in the description.
SHAPES: dict[str, Schema] = {
    "Destination": _object(
        _DESTINATION,
        optional=("warnings", "discarded"),
        example={
            "id": _DESTINATION_ID,
            "name": "Acme US",
            "advertiser_id": "580123456789012345",
            "region": "NA",
            "currency": "USD",
            "identity_profile": "amazon",
            "dataset_name": None,
            "rate_limit": {"requests_per_second": 5, "burst": 5},
            "state": "draft",
            "reason": None,
            "connected": False,
            "published_mappings": 0,
            "version": 1,
            "created_at": _AT,
            "updated_at": _AT,
            "archived_at": None,
            "warnings": [],
        },
    ),
    "Mapping": _object(
        {**DOCUMENT_SCHEMA["properties"], **_MAPPING},
        optional=tuple(name for name in DOCUMENT_SCHEMA["properties"] if name != "name"),
        example={
            **EXAMPLE,
            "id": _MAPPING_ID,
            "destination_id": _DESTINATION_ID,
            "state": "draft",
            "published_version": None,
            "unpublished_changes": True,
            "problems": [],
            "warnings": [],
            "version": 1,
            "created_at": _AT,
            "updated_at": _AT,
        },
    ),
    "MappingVersion": _object(
        {
            "version": _INTEGER,
            "current": _YES,
            "mapping": {"type": "object"},
            "published_by": _TEXT,
            "published_at": _TIME,
        }
    ),
    "Previewed": _PREVIEW,
    "Key": _object(
        {
            **_KEY,
            "key": {**_TEXT, "description": "Shown once, by the POST."},
            "replaced": _object({"id": _TEXT, "expires_at": _TIME}),
        },
        optional=("key", "replaced"),
    ),
    "Act": _object(
        {
            "id": _TEXT,
            "at": _TIME,
            "actor": _TEXT,
            "act": _TEXT,
            "subject": _TEXT,
            "destination_id": _or_null(_TEXT),
            "before": _ANY,
            "after": _ANY,
            "link": {**_or_null(_INTEGER), "description": "Its place in the chain of hashes."},
            "prev_hash": _or_null(_TEXT),
            "hash": _or_null(_TEXT),
        }
    ),
    "Pin": _object({"event_type": _TEXT, "name": _TEXT, "pinned_at": _TIME}),
    "Renamed": _object(
        {
            "advertiser_id": _TEXT,
            "event_type": _TEXT,
            "name": _TEXT,
            "previous_name": _TEXT,
            "mappings": _BRIEF,
            "mappings_left": _BRIEF,
        }
    ),
    "SignInPage": _object({"authorize_url": _TEXT}),
    "Connected": _object({"status": {"const": "connected"}, "destination_id": _TEXT}),
    "Preflight": _object(
        {
            "ready": _YES,
            "checks": _list(
                _object(
                    {
                        "name": _TEXT,
                        "status": {"type": "string", "enum": ["ok", "failed", "unknown"]},
                        "detail": _TEXT,
                        "who": _TEXT,
                    }
                )
            ),
        }
    ),
    "Catalogue": _object(
        {
            "events": {**_INTEGER, "description": "How many events it was learned from."},
            "items": _list(
                _object(
                    {
                        "path": _TEXT,
                        "types": {"type": "object", "description": "JSON types and their shares."},
                        "forms": _list(_TEXT),
                        "fill_rate": {"type": "number"},
                        "suggested_for": _list(_TEXT),
                    }
                )
            ),
            "suggestions": {"type": "object", "description": "Fields and the paths they could read."},
        }
    ),
    "Backtest": _object(
        {
            "published_version": _INTEGER,
            "events": {**_INTEGER, "description": "How many events were looked at."},
            "unclear": {**_INTEGER, "description": "Of these, how many cannot be judged by their form."},
            "lost": _list(_object({"match_key": _TEXT, "events": _INTEGER})),
            "gained": _list(_object({"match_key": _TEXT, "events": _INTEGER})),
            "newly_rejected": _list(
                _object({"reason": _TEXT, "mapping_field": _or_null(_TEXT), "events": _INTEGER})
            ),
            "loss": {"type": "number", "description": "The largest share that loses one key or is rejected."},
            "uncertain": _list(_TEXT),
            "summary": _TEXT,
        }
    ),
    "Hashed": _object(
        {
            "field": _TEXT,
            "type": _TEXT,
            "identity_profile": _TEXT,
            "country": _TEXT,
            "cleaned": _or_null(_TEXT),
            "sent": _or_null(_TEXT),
            "hashed": _YES,
            "rule": _or_null(_TEXT),
            "dropped": {**_or_null(_TEXT), "description": "Why it makes no match key."},
        }
    ),
    "DestinationType": _object(
        {"type": _TEXT, "name": _TEXT, "help": _TEXT, "fields": _list({"type": "object"})}
    ),
    "EventResults": _object(
        {
            "accepted": _INTEGER,
            "duplicates": _INTEGER,
            "rejected": _INTEGER,
            "results": _list(
                _object(
                    {
                        "index": _INTEGER,
                        "event_id": _or_null(_TEXT),
                        "status": {"type": "string", "enum": ["accepted", "duplicate", "rejected"]},
                        "code": {"type": "string", "enum": list(Code)},
                        "reason": _TEXT,
                        "field": _or_null(_TEXT),
                        "mapping_field": _or_null(_TEXT),
                        "detail": _TEXT,
                        "warnings": _WARNINGS,
                        "preview": {"type": "object", "description": "With dry_run: what would be sent."},
                    },
                    optional=(
                        "code",
                        "reason",
                        "field",
                        "mapping_field",
                        "detail",
                        "warnings",
                        "preview",
                    ),
                )
            ),
        },
        example={
            "accepted": 1,
            "duplicates": 0,
            "rejected": 0,
            "results": [{"index": 0, "event_id": "ord-1001:node-7", "status": "accepted"}],
        },
    ),
    "Event": {
        "type": "object",
        "description": "Three ids route it; everything else is catalogue data that mappings read by path.",
        "properties": {
            "event_id": {"type": "string", "minLength": 1, "maxLength": 256},
            "destination_id": _TEXT,
            "mapping_id": _TEXT,
        },
        "additionalProperties": True,
        "example": {
            "event_id": "ord-1001:node-7",
            "destination_id": _DESTINATION_ID,
            "mapping_id": _MAPPING_ID,
            "event": {"name": "addToCart", "timestamp": _AT, "properties": {"brand": "acme"}},
            "user": {"email": "ada@example.com", "first_name": "Ada"},
        },
    },
    **ROAD_SHAPES,
    "Live": _object({"status": {"const": "ok"}}),
    "Ready": _object({"status": {"const": "ready"}, "reasons": _list(_TEXT)}),
}

_D = "/destinations/{destination_id}"
_M = _D + "/mappings/{mapping_id}"

# What a route answers when all is well: a shape, or a list of them (with a star).
ANSWERS: dict[tuple[str, str], str] = {
    ("POST", "/destinations"): "Destination",
    ("GET", "/destinations"): "Destination*",
    ("GET", _D): "Destination",
    ("PATCH", _D): "Destination",
    ("DELETE", _D): "Destination",
    ("POST", _D + "/pause"): "Destination",
    ("POST", _D + "/resume"): "Destination",
    ("POST", _D + "/disconnect"): "Destination",
    ("POST", _D + "/connect"): "SignInPage",
    ("GET", "/oauth/amazon/callback"): "Connected",
    ("GET", _D + "/preflight"): "Preflight",
    ("POST", _D + "/mappings"): "Mapping",
    ("GET", _D + "/mappings"): "Mapping*",
    ("GET", _M): "Mapping",
    ("PATCH", _M): "Mapping",
    ("DELETE", _M): "Mapping",
    ("POST", _M + "/publish"): "Mapping",
    ("POST", _M + "/rollback"): "Mapping",
    ("GET", _M + "/versions"): "MappingVersion*",
    ("POST", _M + "/preview"): "Previewed",
    ("POST", _M + "/backtest"): "Backtest",
    ("GET", _D + "/catalogue"): "Catalogue",
    ("GET", "/advertisers/{advertiser_id}/event-names"): "Pin*",
    ("POST", "/advertisers/{advertiser_id}/event-names/{event_type}/rename"): "Renamed",
    ("GET", "/catalog"): "DestinationType*",
    ("POST", "/identity/hash"): "Hashed",
    ("POST", "/keys"): "Key",
    ("GET", "/keys"): "Key*",
    ("DELETE", "/keys/{key_id}"): "Key",
    ("POST", "/keys/{key_id}/rotate"): "Key",
    ("GET", "/audit"): "Act*",
    **ROAD_ANSWERS,
    ("GET", "/health/live"): "Live",
    ("GET", "/health/ready"): "Ready",
}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


_BATCH = _list(_ref("Event"))

# What POST /events takes: it reads its own body, so the framework cannot tell.
EVENTS_BODY: Schema = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    _ref("Event"),
                    _BATCH,
                    _object({"events": _BATCH}),
                    _object({"rows": _BATCH}),
                ]
            }
        },
        "application/x-ndjson": {"schema": {"type": "string", "description": "One event a line."}},
    },
}
EVENTS_ANSWERS: Schema = {
    status: {"description": meaning, "content": _json(_ref("EventResults"))}
    for status, meaning in (
        ("200", "With dry_run: what the real call would have answered with 202."),
        ("202", "Every event was accepted or is a duplicate. Durable: committed with fsync."),
        ("207", "Some events were rejected; see results."),
        ("422", "No event was accepted; see results. Without any event read: the error shape."),
    )
}


def answer_schema(method: str, path: str) -> Schema | None:
    """Return the shape of a route's good answer, or None when the route describes it itself."""
    name = ANSWERS.get((method, path))
    if name is None:
        return None
    if not name.endswith("*"):
        return _ref(name)
    return _object({"items": _list(_ref(name[:-1])), "next_cursor": _or_null(_TEXT)})
