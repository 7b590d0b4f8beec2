"""The answers of replay and erasure as the API describes them; a part of `answers`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, YES, Schema, members, or_null

EVENT_SCHEMAS: dict[str, Schema] = {
    "Replayed": members(
        {
            "dry_run": {"type": "boolean"},
            "matched": INTEGER,
            "replayed": {**INTEGER, "description": "Put back, or what would be."},
            "too_old": {**INTEGER, "description": "Past Amazon's age limit; they stay as they are."},
            "forgotten": {**INTEGER, "description": "Without data any more; they stay as they are."},
            "remaining": {**INTEGER, "description": "Not reached within the time of one call; ask again."},
            "requests": INTEGER,
            "seconds": {"type": "number", "description": "At least, at the lane's pace."},
            "replay_id": {**or_null(TEXT), "description": "Null in a dry run."},
        }
    ),
    "StatusCallback": members(
        {
            "enabled": {"type": "boolean"},
            "configured": {**YES, "description": "STATUS_CALLBACK_URL is set; without it nobody is told."},
            "waiting": {**INTEGER, "description": "Final states that were not taken yet."},
            "oldest_waiting": or_null(TIME),
            "problem": {**or_null(TEXT), "description": "Why the last try failed: a word, or status_500."},
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
            "source": {**TEXT, "type": ["string", "null"], "description": "The path it was read from."},
            "decision": {"type": "string", "enum": ["granted", "passed_on", "not_required"]},
            "signal": {**TEXT, "type": ["string", "null"], "description": "User data / ad storage."},
            "string_sha256": {**TEXT, "type": ["string", "null"]},
        }
    ),
    "Erasure": members({"id": TEXT, "status": {"const": "under_way"}, "requested_at": TIME}),
    "ErasureReceipt": members(
        {
            "id": TEXT,
            "status": {
                "type": "string",
                "enum": ["under_way", "finished", "unreadable"],
                "description": "`unreadable`: what it looks for is damaged; ask for the erasure again.",
            },
            "requested_at": TIME,
            "finished_at": {**TIME, "type": ["string", "null"]},
            "requested_by": TEXT,
            "identifiers": {"type": "array", "items": TEXT},
            "batches_scanned": INTEGER,
            "unreadable_batches": {**INTEGER, "description": "Damaged, so not searched."},
            "erased": members({"waiting": INTEGER, "dead": INTEGER, "delivered": INTEGER}),
            "kept_elsewhere": {"type": "array", "items": TEXT},
            "signed": {**TEXT, "description": "What the signature is over: the members above, as JSON."},
            "signature": {**TEXT, "description": "Ed25519, base64."},
            "public_key": {**TEXT, "description": "Ed25519, base64; this installation's own."},
        }
    ),
}

EVENT_RESPONSES: dict[tuple[str, str], str] = {
    ("POST", "/destinations/{destination_id}/replay"): "Replayed",
    ("GET", "/destinations/{destination_id}/status-callback"): "StatusCallback",
    ("POST", "/destinations/{destination_id}/status-callback"): "StatusCallback",
    ("GET", "/destinations/{destination_id}/consent-records"): "ConsentRecord*",
    ("POST", "/subjects/erase"): "Erasure",
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
}
