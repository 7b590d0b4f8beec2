"""The answers of replay and erasure as the API describes them; a part of `answers`."""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_INTEGER: Schema = {"type": "integer"}


def _members(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


ROAD_SHAPES: dict[str, Schema] = {
    "Replayed": _members(
        {
            "dry_run": {"type": "boolean"},
            "matched": _INTEGER,
            "replayed": {**_INTEGER, "description": "Put back, or what would be."},
            "too_old": {**_INTEGER, "description": "Past Amazon's age limit; they stay as they are."},
            "forgotten": {**_INTEGER, "description": "Without data any more; they stay as they are."},
            "remaining": {**_INTEGER, "description": "Beyond one call's cap; ask again."},
            "requests": _INTEGER,
            "seconds": {"type": "number", "description": "At least, at the lane's pace."},
        }
    ),
    "Erasure": _members({"id": _TEXT, "status": {"const": "under_way"}, "requested_at": _TIME}),
    "ErasureReceipt": _members(
        {
            "id": _TEXT,
            "status": {"type": "string", "enum": ["under_way", "finished"]},
            "requested_at": _TIME,
            "finished_at": {**_TIME, "type": ["string", "null"]},
            "requested_by": _TEXT,
            "identifiers": {"type": "array", "items": _TEXT},
            "parcels_scanned": _INTEGER,
            "erased": _members({"waiting": _INTEGER, "dead": _INTEGER, "delivered": _INTEGER}),
            "kept_elsewhere": {"type": "array", "items": _TEXT},
            "signed": {**_TEXT, "description": "What the signature is over: the members above, as JSON."},
            "signature": {**_TEXT, "description": "Ed25519, base64."},
            "public_key": {**_TEXT, "description": "Ed25519, base64; this installation's own."},
        }
    ),
}

ROAD_ANSWERS: dict[tuple[str, str], str] = {
    ("POST", "/destinations/{destination_id}/replay"): "Replayed",
    ("POST", "/subjects/erase"): "Erasure",
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
}
