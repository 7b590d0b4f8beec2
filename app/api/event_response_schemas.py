"""Response schemas about events, statistics, replay and erasure; a part of `response_schemas`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, Schema, list_of, members, or_null

_NUMBER: Schema = {"type": "number"}
_OPTIONAL_TIME, _OPTIONAL_TEXT = or_null(TIME), or_null(TEXT)

EVENT_SCHEMAS: dict[str, Schema] = {
    "Erasure": members({"id": TEXT, "status": {"const": "under_way"}, "requested_at": TIME}),
    "SubjectSearch": members(
        {
            "id": {**TEXT, "description": "Of this search, as the audit records it."},
            "identifiers": {"type": "array", "items": TEXT},
            "events": {**INTEGER, "description": "Stored events that carry a match key of the person."},
            "items": list_of(
                members(
                    {
                        "destination_id": TEXT,
                        "table": {"const": "batches"},
                        "status": {"type": "string", "enum": ["waiting", "delivered", "dead"]},
                        "events": INTEGER,
                    }
                )
            ),
            "pending_erasures": {**INTEGER, "description": "Unfinished erasures of the same person."},
            "batches_searched": INTEGER,
            "unreadable_batches": {**INTEGER, "description": "Damaged; not searched."},
            "not_searched": {"type": "array", "items": TEXT},
            "next_cursor": {**or_null(TEXT), "description": "Repeat with this `cursor` until it is null."},
        }
    ),
    "ErasureReceipt": members(
        {
            "id": TEXT,
            "status": {
                "type": "string",
                "enum": ["under_way", "finished", "unreadable"],
                "description": "`unreadable`: the stored identifiers are damaged; request the erasure again.",
            },
            "requested_at": TIME,
            "finished_at": _OPTIONAL_TIME,
            "requested_by": TEXT,
            "identifiers": {"type": "array", "items": TEXT},
            "batches_scanned": INTEGER,
            "unreadable_batches": {**INTEGER, "description": "Damaged; not searched."},
            "erased": members({"waiting": INTEGER, "dead": INTEGER, "delivered": INTEGER}),
            "kept_elsewhere": {"type": "array", "items": TEXT},
            "signed": {**TEXT, "description": "The signed text: the members above, as JSON."},
            "signature": {**TEXT, "description": "Ed25519, base64."},
            "public_key": {**TEXT, "description": "Ed25519, base64; unique to this installation."},
        }
    ),
}

EVENT_RESPONSES: dict[tuple[str, str], str] = {
    ("POST", "/subjects/erase"): "Erasure",
    ("POST", "/subjects/find"): "SubjectSearch",
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
}
