"""Response schemas about events, statistics, replay and erasure; a part of `response_schemas`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, Schema, members, or_null

_NUMBER: Schema = {"type": "number"}
_OPTIONAL_TIME, _OPTIONAL_TEXT = or_null(TIME), or_null(TEXT)

EVENT_SCHEMAS: dict[str, Schema] = {
    "Replayed": members(
        {
            "dry_run": {"type": "boolean"},
            "matched": INTEGER,
            "replayed": {**INTEGER, "description": "Requeued, or would be in a dry run."},
            "too_old": {**INTEGER, "description": "Past Amazon's age limit; not changed."},
            "forgotten": {**INTEGER, "description": "Their data was deleted; not changed."},
            "remaining": {
                **INTEGER,
                "description": "Not reached within the time limit of one call; call again.",
            },
            "requests": INTEGER,
            "seconds": {"type": "number", "description": "Minimum time to send them, at the lane's rate."},
            "replay_id": {**or_null(TEXT), "description": "Null in a dry run."},
        }
    ),
    "ConsentRecord": members(
        {
            "event_id": TEXT,
            "event_at": TIME,
            "accepted_at": TIME,
            "mapping_id": TEXT,
            "mapping_version": INTEGER,
            "basis": {**TEXT, "description": "The mapping's consent mode."},
            "source": {**_OPTIONAL_TEXT, "description": "The path it was read from."},
            "decision": {"type": "string", "enum": ["granted", "passed_on", "not_required"]},
            "signal": {**_OPTIONAL_TEXT, "description": "User data / ad storage."},
            "string_sha256": _OPTIONAL_TEXT,
        }
    ),
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
    ("POST", "/destinations/{destination_id}/replay"): "Replayed",
    ("GET", "/destinations/{destination_id}/consent-records"): "ConsentRecord*",
    ("POST", "/subjects/erase"): "Erasure",
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
}
