"""An example of each request body, for the API description. `POST /events` has separate examples."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.api.access.secured_route import ONE
from app.domain.mapping.presets import EXAMPLE_MAPPING, example_event

_MAPPING: Final = ONE + "/mappings/{mapping_id}"
_EVENT: Final = example_event(datetime(2026, 11, 24, 10, tzinfo=UTC))

# Users copy these examples, so each example must be a valid body of its operation.
BODY_EXAMPLES: Final[Mapping[tuple[str, str], Any]] = {
    ("POST", "/destinations"): {
        "name": "Acme US",
        "advertiser_id": "580123456789012345",
        "region": "NA",
        "currency": "USD",
        "rate_limit": {"requests_per_second": 5, "burst": 5},
    },
    ("PATCH", ONE): {
        "name": "Acme US shop",
        "alerting": {"backlog": {"minutes": 30}, "dead_letters": {"enabled": False}},
    },
    ("POST", ONE + "/status-callback"): {"enabled": True},
    ("PUT", ONE + "/notifications"): {"channels": ["ops"], "kinds": "all", "min_severity": "warning"},
    ("POST", ONE + "/replay"): {
        "status": "dead",
        "reason": "amazon_refused",
        "since": "2026-11-24T00:00:00Z",
        "dry_run": True,
    },
    ("POST", ONE + "/dead-letters/dismiss"): {
        "journey_id": "j1",
        "reason": "amazon_refused",
        "dry_run": True,
    },
    ("POST", ONE + "/mappings"): {
        **EXAMPLE_MAPPING,
        "fields": {
            **EXAMPLE_MAPPING["fields"],
            "event_timestamp": {
                "path": "event.timestamp",
                "pipe": [["time", {"formats": ["iso", "DD.MM.YYYY HH:mm:ss"], "zone": "Europe/Berlin"}]],
            },
            "email": {"first_of": ["user.email", {"path": "contact.mail", "pipe": ["trim"]}]},
            "value": {
                "first_of": [
                    "event.properties.total",
                    {"path": "event.properties.items", "pipe": [["sum", "price", "quantity"]]},
                ],
                "on_error": "omit",
            },
            "event_id": {"template": "{event.name}-{event.properties.sku | lower}"},
        },
    },
    ("PATCH", _MAPPING): {"event_name": "Added to cart", "fields": {"value": "event.properties.total"}},
    ("POST", _MAPPING + "/preview"): {"event": _EVENT},
    ("POST", ONE + "/mappings/suggest"): {"events": [_EVENT], "zone": "Europe/Berlin"},
    ("POST", _MAPPING + "/backtest"): {"events": 500},
    ("POST", _MAPPING + "/publish"): {"note": "Reads the phone from its new field."},
    ("POST", _MAPPING + "/rollback"): {"version": 1},
    ("POST", "/advertisers/{advertiser_id}/event-names/{event_type}/rename"): {"to": "Added to cart"},
    ("POST", "/identity/hash"): {"field": "email", "value": "Ada@Example.com", "country": "US"},
    ("POST", ONE + "/test-conversions"): {
        "count": 1,
        "dataset_name": "Shop_Events_Test",
        "event_name": "Test conversion",
    },
    ("POST", _MAPPING + "/shadow"): {"share": 0.1, "minutes": 60},
    ("POST", ONE + "/dedupe/compare"): {
        "ids": ["ord-1001", "ord-1002_Purchase"],
        "since": "2026-11-23T00:00:00Z",
    },
    ("POST", ONE + "/reconciliation/explain"): {
        "day": "2026-11-24",
        "event_name": "Added to cart",
        "amazon_count": 6100,
    },
    ("POST", "/identity/explain-hash"): {
        "field": "phone",
        "value": "+1 555 010 0199",
        "hash": "82fea6c5f54083ef6e2302f364430f7ca4e0daa597c74c81d61db3aa7bef6436",
        "country": "US",
    },
    ("POST", "/keys"): {"name": "journey engine", "scopes": ["events:write"]},
    ("POST", "/subjects/erase"): {"email": "ada@example.com"},
    ("POST", "/subjects/find"): {"email": "ada@example.com"},
    ("POST", "/incidents/{incident_id}/acknowledge"): {"note": "Amazon support ticket 4711"},
    ("POST", "/incidents/{incident_id}/mute"): {"until": "2026-11-24T18:00:00Z"},
    ("POST", "/organisations"): {
        "id": "acme",
        "name": "Acme",
        "limits": {"destinations": 50, "events_per_second": 500},
    },
    ("PATCH", "/organisations/{id}"): {"limits": {"events_per_second": 1000}},
}
