"""The draft with which a new mapping starts, and the fields that each event type adds to it."""

from typing import Any

from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.domain.mapping.presets import PRESETS
from app.domain.observed.event_schema import EventSchema, suggest
from app.domain.observed.schema_sample import ValueKind

_EPOCHS = {ValueKind.EPOCH_SECONDS: "epoch_s", ValueKind.EPOCH_MILLISECONDS: "epoch_ms"}


def starting_draft(schema: EventSchema) -> dict[str, Any]:
    """Return a draft whose paths fit recent events, or the paths of the example event if there are none."""
    draft = {name: EXAMPLE_MAPPING[name] for name in ("event_source", "country_code", "fields")}
    if not schema.events:
        return draft
    suggested = suggest(schema)
    draft["fields"] = {
        name: _source(suggested[name][0], schema) for name in EXAMPLE_MAPPING["fields"] if name in suggested
    }
    if "country_code" in suggested:
        draft["country_code"] = {**draft["country_code"], "path": suggested["country_code"][0]}
    return draft


def _source(path: str, schema: EventSchema) -> dict[str, Any]:
    kinds = schema.entries[path].kinds
    usual = max(kinds, key=lambda kind: kinds[kind])
    return {"path": path, **({"pipe": [_EPOCHS[usual]]} if usual in _EPOCHS else {})}


def additions_by_type(schema: EventSchema) -> dict[str, dict[str, str]]:
    """Return, for each event type, the fields that its events should have, each with a path."""
    suggested = suggest(schema) if schema.events else {}
    additions: dict[str, dict[str, str]] = {name: {} for name in EVENT_TYPES}
    for preset in PRESETS:
        usual = preset.document()["fields"]
        for name in (*preset.needs, *preset.only):
            path = suggested.get(name, [""])[0] if schema.events else usual[name]["path"]
            if path:
                additions[preset.event_type][name] = path
    return additions


def preset_event_names() -> dict[str, str]:
    """Return the preset event name of each event type."""
    return {preset.event_type: preset.event_name for preset in PRESETS}
