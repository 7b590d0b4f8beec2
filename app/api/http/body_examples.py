"""An example of each request body, for the API description. `POST /events` has separate examples.

Those that need no other module are in `body_examples.toml`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.api.access.secured_route import ONE
from app.domain.mapping.presets import EXAMPLE_MAPPING, example_event
from app.domain.toml_files import read_toml

_EVENT: Final = example_event(datetime(2026, 11, 24, 10, tzinfo=UTC))

BODY_EXAMPLES: Final[Mapping[tuple[str, ...], Any]] = {
    **{tuple(operation.split()): body for operation, body in read_toml(__file__).items()},
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
    ("POST", ONE + "/mappings/{mapping_id}/preview"): {"event": _EVENT},
    ("POST", ONE + "/mappings/suggest"): {"events": [_EVENT], "zone": "Europe/Berlin"},
}
