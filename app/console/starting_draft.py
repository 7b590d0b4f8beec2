"""The draft with which the form of a new mapping starts, and what each event type adds to it. Pure."""

from typing import Any

from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.domain.mapping.presets import PRESETS
from app.domain.suggestions.suggest import Suggestion


def starting_draft(suggestion: Suggestion) -> dict[str, Any]:
    """Return the suggested draft as far as the form shows it, or the example's without recent events."""
    if not suggestion.rows:
        return {name: EXAMPLE_MAPPING[name] for name in ("event_source", "country_code", "fields")}
    draft = {name: suggestion.mapping.get(name) for name in ("event_source", "country_code")}
    fields = {
        name: source
        for name in EXAMPLE_MAPPING["fields"]
        if (source := _first_path(suggestion.mapping["fields"].get(name)))
    }
    shown = {**draft, "country_code": _first_path(draft["country_code"]), "fields": fields}
    return {name: value for name, value in shown.items() if value}


def _first_path(source: Any) -> dict[str, Any] | None:
    """Return a source that the form has inputs for: of several paths the first one."""
    source = source["first_of"][0] if source and "first_of" in source else source
    return source if source and "path" in source else None


def additions_by_type(suggestion: Suggestion) -> dict[str, dict[str, str]]:
    """Return, for each event type, the fields that its events should have, each with a path."""
    suggested = {row.field: row.source for row in suggestion.rows}
    additions: dict[str, dict[str, str]] = {name: {} for name in EVENT_TYPES}
    for preset in PRESETS:
        usual = suggested if suggestion.rows else preset.document()["fields"]
        for name in (*preset.needs, *preset.only):
            source = usual.get(name)
            if source and source.keys() == {"path"}:
                additions[preset.event_type][name] = source["path"]
    return additions


def preset_event_names() -> dict[str, str]:
    """Return the preset event name of each event type."""
    return {preset.event_type: preset.event_name for preset in PRESETS}
