"""JSON schemas of the responses, for the OpenAPI description. Tests check real responses against them."""

from app.admin.access import Scope
from app.admin.mapping_schema import DOCUMENT_SCHEMA
from app.api.event_response_schemas import EVENT_RESPONSES, EVENT_SCHEMAS
from app.api.schema_parts import ANY, INTEGER, TEXT, TIME, YES, Schema, list_of, members, or_null, ref
from app.domain.destination import Region, State
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.domain.outcomes.reasons import JourneyCode

_WARNINGS = list_of(
    members({"code": TEXT, "field": or_null(TEXT), "destination_id": TEXT}, optional=("destination_id",))
)
_EVENT_ID = "Appears in pages and logs. An `@`, a phone number or an advertising id is refused."
_AT = "2026-11-24T10:00:00Z"
_DESTINATION_ID, _MAPPING_ID = "dst_0a1b2c3d4e5f6g7h8i9j", "map_0a1b2c3d4e5f6g7h8i9j"

_COUNTS_BY_KEY: Schema = {"type": "object", "additionalProperties": INTEGER}

_DESTINATION = {
    "id": TEXT,
    "name": TEXT,
    "advertiser_id": TEXT,
    "region": {"type": "string", "enum": list(Region)},
    "currency": TEXT,
    "identity_profile": TEXT,
    "dataset_name": or_null(TEXT),
    "rate_limit": members({"requests_per_second": {"type": "number"}, "burst": INTEGER}),
    "state": {"type": "string", "enum": list(State)},
    "reason": {**or_null(TEXT), "description": "Why the destination must be connected again."},
    "connected": YES,
    "published_mappings": INTEGER,
    "version": {**INTEGER, "description": "Also the ETag."},
    "created_at": TIME,
    "updated_at": TIME,
    "archived_at": or_null(TIME),
    "warnings": _WARNINGS,
    "discarded": {**INTEGER, "description": "Only after a delete: the number of discarded events."},
}

_MAPPING = {
    "id": TEXT,
    "destination_id": TEXT,
    "name": TEXT,
    "state": {"type": "string", "enum": ["draft", "published", "archived"]},
    "published_version": or_null(INTEGER),
    "unpublished_changes": YES,
    "problems": list_of(members({"field": TEXT, "problem": TEXT, "detail": TEXT})),
    "warnings": _WARNINGS,
    "version": {**INTEGER, "description": "Also the ETag. Counts edits, not published versions."},
    "created_at": TIME,
    "updated_at": TIME,
}

_KEY = {
    "id": TEXT,
    "name": TEXT,
    "hint": {**TEXT, "description": "The key's first eight characters."},
    "scopes": list_of({"type": "string", "enum": list(Scope)}),
    "destination_ids": or_null(list_of(TEXT)),
    "created_at": TIME,
    "created_by": TEXT,
    "expires_at": or_null(TIME),
    "revoked_at": or_null(TIME),
    "last_used_at": or_null(TIME),
    "replaces": {**or_null(TEXT), "description": "The key that this one replaces."},
}

_BRIEF = list_of(members({"id": TEXT, "destination_id": TEXT, "name": TEXT}))

_PREVIEW: Schema = {
    "oneOf": [
        members(
            {
                "ok": {"const": True},
                "amazon_event": {"type": "object", "description": "The exact JSON that would be sent."},
                "steps": list_of({"type": "object"}),
                "warnings": _WARNINGS,
            }
        ),
        members(
            {
                "ok": {"const": False},
                "code": TEXT,
                "reason": TEXT,
                "field": or_null(TEXT),
                "detail": TEXT,
            }
        ),
    ]
}

# Schemas by name.
SHAPES: dict[str, Schema] = {
    "Destination": members(
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
    "Mapping": members(
        {**DOCUMENT_SCHEMA["properties"], **_MAPPING},
        optional=tuple(name for name in DOCUMENT_SCHEMA["properties"] if name != "name"),
        example={
            **EXAMPLE_MAPPING,
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
    "MappingVersion": members(
        {
            "version": INTEGER,
            "current": YES,
            "mapping": {"type": "object"},
            "changes": list_of(members({"path": TEXT, "before": {}, "after": {}})),
            "published_by": TEXT,
            "published_at": TIME,
        }
    ),
    "Previewed": _PREVIEW,
    "Key": members(
        {
            **_KEY,
            "key": {**TEXT, "description": "The secret, only in the response of the POST."},
            "replaced": members({"id": TEXT, "expires_at": TIME}),
        },
        optional=("key", "replaced"),
    ),
    "Act": members(
        {
            "id": TEXT,
            "at": TIME,
            "actor": TEXT,
            "action": TEXT,
            "subject": TEXT,
            "destination_id": or_null(TEXT),
            "before": ANY,
            "after": ANY,
            "sequence": {**or_null(INTEGER), "description": "Position in the hash chain."},
            "prev_hash": or_null(TEXT),
            "hash": or_null(TEXT),
        }
    ),
    "Pin": members({"event_type": TEXT, "name": TEXT, "pinned_at": TIME}),
    "Renamed": members(
        {
            "advertiser_id": TEXT,
            "event_type": TEXT,
            "name": TEXT,
            "previous_name": TEXT,
            "mappings": _BRIEF,
            "mappings_left": _BRIEF,
        }
    ),
    "SignInPage": members({"authorize_url": TEXT}),
    "Connected": members({"status": {"const": "connected"}, "destination_id": TEXT}),
    "Preflight": members(
        {
            "ready": YES,
            "checks": list_of(
                members(
                    {
                        "name": TEXT,
                        "status": {"type": "string", "enum": ["ok", "failed", "unknown"]},
                        "detail": TEXT,
                        "who": TEXT,
                    }
                )
            ),
        }
    ),
    "EventSchema": members(
        {
            "events": {**INTEGER, "description": "The number of events it is based on."},
            "items": list_of(
                members(
                    {
                        "path": TEXT,
                        "types": {"type": "object", "description": "JSON types and their shares."},
                        "forms": list_of(TEXT),
                        "fill_rate": {"type": "number"},
                        "suggested_for": list_of(TEXT),
                    }
                )
            ),
            "next_cursor": or_null(TEXT),
            "suggestions": {"type": "object", "description": "Suggested paths by field."},
        }
    ),
    "Backtest": members(
        {
            "published_version": INTEGER,
            "events": {**INTEGER, "description": "The number of events checked."},
            "unclear": {**INTEGER, "description": "Of these, events whose result cannot be predicted."},
            "lost": {**_COUNTS_BY_KEY, "description": "Events by the match key they would lose."},
            "gained": {**_COUNTS_BY_KEY, "description": "Events by the match key they would gain."},
            "changed": {
                **list_of(TEXT),
                "description": "Mapping fields that would be sent with another value, or no longer.",
            },
            "newly_rejected": list_of(
                members(
                    {
                        "reason": TEXT,
                        "field": or_null(TEXT),
                        "mapping_field": or_null(TEXT),
                        "events": INTEGER,
                    }
                )
            ),
            "loss": {"type": "number", "description": "The largest share that loses one key or is rejected."},
            "uncertain": {
                **list_of(TEXT),
                "description": "Mapping fields that may be sent with another value: it depends on the event.",
            },
            "summary": TEXT,
        }
    ),
    "Hashed": members(
        {
            "field": TEXT,
            "type": TEXT,
            "identity_profile": TEXT,
            "country": TEXT,
            "cleaned": or_null(TEXT),
            "sent": or_null(TEXT),
            "hashed": YES,
            "rule": or_null(TEXT),
            "dropped": {**or_null(TEXT), "description": "Why the value gives no match key."},
        }
    ),
    "DestinationType": members(
        {"type": TEXT, "name": TEXT, "help": TEXT, "fields": list_of({"type": "object"})}
    ),
    "EventResults": members(
        {
            "accepted": INTEGER,
            "duplicates": INTEGER,
            "rejected": INTEGER,
            "results": list_of(
                members(
                    {
                        "index": INTEGER,
                        "event_id": or_null(TEXT),
                        "status": {"type": "string", "enum": ["accepted", "duplicate", "rejected"]},
                        "code": {"type": "string", "enum": list(JourneyCode)},
                        "reason": TEXT,
                        "field": or_null(TEXT),
                        "mapping_field": or_null(TEXT),
                        "detail": TEXT,
                        "warnings": _WARNINGS,
                        "preview": {
                            "type": "object",
                            "description": "With dry_run: the conversion that would be sent.",
                        },
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
        "description": "Three ids route the event. Mappings read all other members by path.",
        "properties": {
            "event_id": {"type": "string", "minLength": 1, "maxLength": 256, "description": _EVENT_ID},
            "destination_id": TEXT,
            "mapping_id": TEXT,
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
    **EVENT_SCHEMAS,
    "Live": members({"status": {"const": "ok"}}),
    "Ready": members({"status": {"const": "ready"}, "reasons": list_of(TEXT)}),
}

_D = "/destinations/{destination_id}"
_M = _D + "/mappings/{mapping_id}"

# The schema of each successful response. A star marks a list of it.
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
    ("POST", _D + "/preflight"): "Preflight",
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
    ("GET", _D + "/event-schema"): "EventSchema",
    ("GET", "/advertisers/{advertiser_id}/event-names"): "Pin*",
    ("POST", "/advertisers/{advertiser_id}/event-names/{event_type}/rename"): "Renamed",
    ("GET", "/catalog"): "DestinationType*",
    ("POST", "/identity/hash"): "Hashed",
    ("POST", "/keys"): "Key",
    ("GET", "/keys"): "Key*",
    ("DELETE", "/keys/{key_id}"): "Key",
    ("POST", "/keys/{key_id}/rotate"): "Key",
    ("GET", "/audit"): "Act*",
    **EVENT_RESPONSES,
    ("GET", "/health/live"): "Live",
    ("GET", "/health/ready"): "Ready",
}


def answer_schema(method: str, path: str) -> Schema | None:
    """Return the schema of a route's successful response, or None if the route describes it itself."""
    name = ANSWERS.get((method, path))
    if name is None:
        return None
    if not name.endswith("*"):
        return ref(name)
    return members({"items": list_of(ref(name[:-1])), "next_cursor": or_null(TEXT)})
