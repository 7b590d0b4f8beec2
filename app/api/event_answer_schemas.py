"""The answers about accepted events as the API describes them; a part of `answers`."""

from app.api.schema_parts import INTEGER, TEXT, TIME, YES, Schema, list_of, members, or_null
from app.domain.destination import State
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.reasons import DeadLetter, JourneyCode
from app.domain.outcomes.status import Status

_NUMBER: Schema = {"type": "number"}
_MAYBE_TIME, _MAYBE_TEXT = or_null(TIME), or_null(TEXT)

_ATTEMPT = members(
    {
        "id": TEXT,
        "started_at": TIME,
        "settled_at": _MAYBE_TIME,
        "outcome": {"type": "string", "enum": [*OUTCOMES.values(), "under_way"]},
        "http_status": or_null(INTEGER),
        "duration_ms": or_null(INTEGER),
        "item_outcome": {
            **_MAYBE_TEXT,
            "description": "What the answer said of this event: `accepted`, or a reason. Null where nothing.",
        },
        "item_code": {**_MAYBE_TEXT, "description": "Amazon's code for this event."},
        "item_message": {
            **_MAYBE_TEXT,
            "description": "Amazon's message without personal data; `missing_index` or `contradictory`.",
        },
        "request_id": {**_MAYBE_TEXT, "description": "Amazon's."},
        "message": {**_MAYBE_TEXT, "description": "Amazon's message for the request, or why none came."},
        "events_in_request": INTEGER,
    }
)

_LISTED: Schema = {
    "event_id": TEXT,
    "status": {"type": "string", "enum": list(Status)},
    "code": {"type": ["string", "null"], "enum": [*JourneyCode, None]},
    "reason": _MAYBE_TEXT,
    "accepted_at": TIME,
    "event_time": TIME,
    "event_type": TEXT,
    "execution_id": _MAYBE_TEXT,
    "mapping_id": _MAYBE_TEXT,
    "mapping_version": INTEGER,
    "amazon_code": _MAYBE_TEXT,
    "amazon_message": _MAYBE_TEXT,
}

EVENTS_SHAPES: dict[str, Schema] = {
    "ListedEvent": members(_LISTED),
    "EventHistory": members(
        {
            **_LISTED,
            "destination_id": TEXT,
            "match_keys": list_of(TEXT),
            "warnings": list_of(members({"code": TEXT, "field": _MAYBE_TEXT})),
            "attempts": {**list_of(_ATTEMPT), "description": "Every request that carried the event."},
            "attempts_complete": {**YES, "description": "False where only the newest thousand are shown."},
            "tries": {**INTEGER, "description": "Failed ones; 429, 401 and 403 cost none."},
            "dead_letter": {"type": ["string", "null"], "enum": [*DeadLetter, None]},
            "next_attempt_at": _MAYBE_TIME,
            "expires_at": _MAYBE_TIME,
            "delivered_at": {**_MAYBE_TIME, "description": "An erasure does not change it."},
            "erased_at": _MAYBE_TIME,
            "replays": list_of(members({"replay_id": TEXT, "at": TIME, "by": TEXT})),
            "duplicate_of": {
                **or_null(
                    members(
                        {
                            "event_id": _MAYBE_TEXT,
                            "destination_id": _MAYBE_TEXT,
                            "mapping_id": _MAYBE_TEXT,
                            "answered_at": TIME,
                        }
                    )
                ),
                "description": "The event whose mapped Amazon eventId made this one its duplicate; the facts "
                "are that event's. Null ids: it belongs to a destination that this key may not see.",
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
            "earliest_expiry_at": _MAYBE_TIME,
            "rate_limit": members({"requests_per_second": _NUMBER, "burst": INTEGER}),
            "learned_rate": or_null(_NUMBER),
            "rates": members(
                {
                    "accepted_per_second": {**_NUMBER, "description": "Events."},
                    "delivered_per_second": {**_NUMBER, "description": "Events that Amazon accepted."},
                    "requests_per_second": _NUMBER,
                    "failed_requests_per_second": _NUMBER,
                }
            ),
            "match_key_coverage": {"type": "object"},
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

EVENTS_SHOWN: dict[tuple[str, str], str] = {
    ("GET", "/events/{event_id}"): "EventHistory",
    ("GET", "/destinations/{destination_id}/events"): "ListedEvent*",
    ("GET", "/destinations/{destination_id}/stats"): "Stats",
}
