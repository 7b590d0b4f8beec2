"""Suggest a mapping from samples of events, which have paths and kinds of values, but no values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app.domain.identity import Profile
from app.domain.observed.schema_sample import SchemaSample
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.suggest import Suggestion, suggest

MAX_SAMPLES: Final = 50  # of different events, the most frequent ones


def suggest_from_samples(
    samples: Sequence[tuple[SchemaSample, int]],
    *,
    zone: str | None,
    profile: Profile,
    pins: Mapping[str, str],
    now: datetime,
) -> Suggestion:
    """Suggest a mapping from samples, each with its number of events."""
    common = sorted(samples, key=lambda counted: -counted[1])[:MAX_SAMPLES]
    events = [synthetic_event(sample, now) for sample, _ in common]
    times = [number for _, number in common]
    return suggest(events, zone=zone, profile=profile, pins=pins, now=now, times=times)


def paths_by_field(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the paths that the suggested source of each field reads, the first one first."""
    found = {row.field: list(dict.fromkeys(_paths(row.source))) for row in suggestion.rows}
    return {field: paths for field, paths in found.items() if paths}


def fields_by_path(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the fields whose suggested source reads each path."""
    fields: dict[str, list[str]] = {}
    for field, paths in paths_by_field(suggestion).items():
        for path in paths:
            fields.setdefault(path, []).append(field)
    return fields


def _paths(source: Any) -> Iterable[str]:
    if isinstance(source, dict):
        if "path" in source:
            yield source["path"]
        for member in source.get("first_of", ()):
            yield from _paths(member)
