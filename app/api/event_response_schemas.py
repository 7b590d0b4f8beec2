"""Response schemas about events, statistics, replay and erasure; a part of `response_schemas`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, YES, Schema, list_of, members, or_null
from app.domain.destination import State
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.reasons import DeadLetter, JourneyCode
from app.domain.outcomes.status import Status

_NUMBER: Schema = {"type": "number"}
_OPTIONAL_TIME, _OPTIONAL_TEXT = or_null(TIME), or_null(TEXT)

_ATTEMPT = members(
    {
        "id": TEXT,
        "started_at": TIME,
        "settled_at": _OPTIONAL_TIME,
        "outcome": {"type": "string", "enum": [*OUTCOMES.values(), "under_way"]},
        "http_status": or_null(INTEGER),
        "duration_ms": or_null(INTEGER),
        "item_outcome": {
            **_OPTIONAL_TEXT,
            "description": "Amazon's answer for this event: `accepted`, or a reason. Null if it gave none.",
        },
        "item_code": {**_OPTIONAL_TEXT, "description": "Amazon's code for this event."},
        "item_message": {
            **_OPTIONAL_TEXT,
            "description": "Amazon's message without personal data, or `missing_index` or `contradictory`.",
        },
        "request_id": {**_OPTIONAL_TEXT, "description": "Amazon's request id."},
        "message": {
            **_OPTIONAL_TEXT,
            "description": "Amazon's message for the request, or why there is none.",
        },
        "events_in_request": INTEGER,
    }
)

_LISTED_EVENT: Schema = {
    "event_id": TEXT,
    "status": {"type": "string", "enum": list(Status)},
    "code": {"type": ["string", "null"], "enum": [*JourneyCode, None]},
    "reason": _OPTIONAL_TEXT,
    "accepted_at": TIME,
    "event_time": TIME,
    "event_type": TEXT,
    "execution_id": _OPTIONAL_TEXT,
    "mapping_id": _OPTIONAL_TEXT,
    "mapping_version": INTEGER,
    "amazon_code": _OPTIONAL_TEXT,
    "amazon_message": _OPTIONAL_TEXT,
}

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
    "StatusCallback": members(
        {
            "enabled": {"type": "boolean"},
            "configured": {
                **YES,
                "description": "STATUS_CALLBACK_URL is set; without it no callback is sent.",
            },
            "waiting": {**INTEGER, "description": "Final states not acknowledged yet."},
            "oldest_waiting": or_null(TIME),
            "problem": {
                **or_null(TEXT),
                "description": "Why the last call failed: a word, or e.g. status_500.",
            },
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
    "ListedEvent": members(_LISTED_EVENT),
    "EventHistory": members(
        {
            **_LISTED_EVENT,
            "destination_id": TEXT,
            "match_keys": list_of(TEXT),
            "warnings": list_of(members({"code": TEXT, "field": _OPTIONAL_TEXT})),
            "attempts": {**list_of(_ATTEMPT), "description": "Every request that carried the event."},
            "attempts_complete": {**YES, "description": "False if only the newest thousand are listed."},
            "tries": {**INTEGER, "description": "Failed attempts; 429, 401 and 403 do not count."},
            "dead_letter": {"type": ["string", "null"], "enum": [*DeadLetter, None]},
            "next_attempt_at": _OPTIONAL_TIME,
            "expires_at": _OPTIONAL_TIME,
            "delivered_at": {**_OPTIONAL_TIME, "description": "Remains after an erasure."},
            "erased_at": _OPTIONAL_TIME,
            "replays": list_of(members({"replay_id": TEXT, "at": TIME, "by": TEXT})),
            "duplicate_of": {
                **or_null(
                    members(
                        {
                            "event_id": _OPTIONAL_TEXT,
                            "destination_id": _OPTIONAL_TEXT,
                            "mapping_id": _OPTIONAL_TEXT,
                            "answered_at": TIME,
                        }
                    )
                ),
                "description": "The event that first used the same mapped Amazon eventId; all other members "
                "describe that event. Its ids are null if this key may not see its destination.",
            },
            "explanation": TEXT,
        }
    ),
    "Stats": members(
        {
            "destination_id": TEXT,
            "state": {"type": "string", "enum": list(State)},
            "counts": members(dict.fromkeys(("accepted", "duplicates", "rejected", *Status), INTEGER)),
            "waiting": INTEGER,
            "oldest_waiting_seconds": or_null(_NUMBER),
            "earliest_expiry_at": _OPTIONAL_TIME,
            "rate_limit": members({"requests_per_second": _NUMBER, "burst": INTEGER}),
            "learned_rate": or_null(_NUMBER),
            "rates": members(
                {
                    "accepted_per_second": {**or_null(_NUMBER), "description": "Events."},
                    "delivered_per_second": {
                        **or_null(_NUMBER),
                        "description": "Events that Amazon accepted.",
                    },
                    "requests_per_second": or_null(_NUMBER),
                    "failed_requests_per_second": or_null(_NUMBER),
                }
            ),
            "match_key_coverage": {"type": "object"},
            "unreadable_batches": {**INTEGER, "description": "Damaged; not in the match key coverage."},
            "breaker": members({"state": TEXT, "error_rate": _NUMBER}),
            "lane_owned": YES,
            "rejections": list_of(members({"code": TEXT, "reason": TEXT, "count": INTEGER})),
            "dead_letters": list_of(
                members(
                    {
                        "code": TEXT,
                        "reason": TEXT,
                        "count": INTEGER,
                        "class": {"type": "string", "enum": list(DeadLetter)},
                        "remedy": TEXT,
                    }
                )
            ),
        }
    ),
}

EVENT_RESPONSES: dict[tuple[str, str], str] = {
    ("POST", "/destinations/{destination_id}/replay"): "Replayed",
    ("GET", "/destinations/{destination_id}/status-callback"): "StatusCallback",
    ("POST", "/destinations/{destination_id}/status-callback"): "StatusCallback",
    ("GET", "/destinations/{destination_id}/consent-records"): "ConsentRecord*",
    ("POST", "/subjects/erase"): "Erasure",
    ("POST", "/subjects/find"): "SubjectSearch",
    ("GET", "/subjects/erasures/{erasure_id}"): "ErasureReceipt",
    ("GET", "/events/{event_id}"): "EventHistory",
    ("GET", "/destinations/{destination_id}/events"): "ListedEvent*",
    ("GET", "/destinations/{destination_id}/stats"): "Stats",
}
