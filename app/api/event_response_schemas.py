"""Response schemas about events, statistics, replay and erasure; a part of `response_schemas`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, Schema, members, or_null

_NUMBER: Schema = {"type": "number"}
_OPTIONAL_TIME, _OPTIONAL_TEXT = or_null(TIME), or_null(TEXT)

EVENT_SCHEMAS: dict[str, Schema] = {
    "Erasure": members({"id": TEXT, "status": {"const": "under_way"}, "requested_at": TIME}),
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
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
}
