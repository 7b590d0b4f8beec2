"""What the form of a new mapping has before any event came in, and what each event type adds to it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.domain.mapping.example import EXAMPLE_MAPPING
from app.domain.mapping.presets import PRESETS

STARTING_DRAFT: Final[Mapping[str, Any]] = {
    "event_source": EXAMPLE_MAPPING["event_source"],
    # Without a default: each event without a country would be an event of this country.
    "country_code": {"path": EXAMPLE_MAPPING["country_code"]["path"]},
    "fields": EXAMPLE_MAPPING["fields"],
}
EVENT_NAMES: Final = {preset.event_type: preset.event_name for preset in PRESETS}


def _additions() -> dict[str, str]:
    """Return, for each event type, the paths of the fields that its events should have, as JSON."""
    usual = {
        preset.event_type: (preset.document()["fields"], (*preset.needs, *preset.only)) for preset in PRESETS
    }
    paths = {
        event_type: {name: fields[name]["path"] for name in names}
        for event_type, (fields, names) in usual.items()
    }
    return {event_type: msgspec.json.encode(added).decode() for event_type, added in paths.items() if added}


ADDITIONS: Final = _additions()
