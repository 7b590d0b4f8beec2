"""JSON schemas of the responses, for the OpenAPI description. Tests check real responses against them."""

from app.admin.mapping_schema import DOCUMENT_SCHEMA
from app.api.event_response_schemas import EVENT_RESPONSES, EVENT_SCHEMAS
from app.api.schema_parts import INTEGER, TEXT, TIME, YES, Schema, list_of, members, or_null, ref
from app.domain.mapping.example import EXAMPLE_MAPPING

_WARNINGS = list_of(
    members({"code": TEXT, "field": or_null(TEXT), "destination_id": TEXT}, optional=("destination_id",))
)
_AT = "2026-11-24T10:00:00Z"
_DESTINATION_ID, _MAPPING_ID = "dst_0a1b2c3d4e5f6g7h8i9j", "map_0a1b2c3d4e5f6g7h8i9j"

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

_PREVIEW: Schema = {
    "oneOf": [
        members(
            {
                "ok": {"const": True},
                "event_id": TEXT,
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
                "mapping_field": or_null(TEXT),
                "detail": TEXT,
            }
        ),
    ]
}

# Schemas by name.
SHAPES: dict[str, Schema] = {
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
    **EVENT_SCHEMAS,
}

_D = "/destinations/{destination_id}"
_M = _D + "/mappings/{mapping_id}"

# The schema of each successful response. A star marks a list of it.
ANSWERS: dict[tuple[str, str], str] = {
    ("POST", _D + "/mappings"): "Mapping",
    ("GET", _D + "/mappings"): "Mapping*",
    ("GET", _M): "Mapping",
    ("PATCH", _M): "Mapping",
    ("DELETE", _M): "Mapping",
    ("POST", _M + "/publish"): "Mapping",
    ("POST", _M + "/rollback"): "Mapping",
    ("GET", _M + "/versions"): "MappingVersion*",
    ("POST", _M + "/preview"): "Previewed",
    **EVENT_RESPONSES,
}


def answer_schema(method: str, path: str) -> Schema | None:
    """Return the schema of a route's successful response, or None if the route describes it itself."""
    name = ANSWERS.get((method, path))
    if name is None:
        return None
    if not name.endswith("*"):
        return ref(name)
    return members({"items": list_of(ref(name[:-1])), "next_cursor": or_null(TEXT)})
