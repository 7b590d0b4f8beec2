"""Suggest a mapping from samples of events, which have paths and kinds of values, but no values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app.domain.mapping.document import compile_parts
from app.domain.observed.schema_sample import Fingerprint, SchemaSample
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.event_kinds import EVENT_NAMES, spellings
from app.domain.suggestions.suggest import Suggestion, SuggestionSettings, suggest

MAX_SAMPLES: Final = 50  # of different events, the most frequent ones


def suggest_from_samples(
    samples: Sequence[tuple[SchemaSample, int]], settings: SuggestionSettings, fingerprint: Fingerprint
) -> Suggestion:
    """Suggest a mapping from samples, each with its number of events.

    `fingerprint` is that of the samples, with which the usual names of events are found in them.
    """
    common = sorted(samples, key=lambda counted: -counted[1])[:MAX_SAMPLES]
    names = {fingerprint(text): text for name in EVENT_NAMES for text in spellings(name)} if common else {}
    events = [_event(sample, names, settings.now) for sample, _ in common]
    times = [number for _, number in common]
    return suggest(events, settings, times)


def _event(sample: SchemaSample, names: Mapping[bytes, str], now: datetime) -> dict[str, Any]:
    """Return an event with invented values, but for the names of events."""
    known = (entry._replace(word=names.get(entry.word)) for entry in sample if isinstance(entry.word, bytes))
    words = {entry.path: entry for entry in known if entry.word}
    return synthetic_event(tuple(words.get(entry.path, entry) for entry in sample), now)


def paths_by_field(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the paths that the suggested source of each field reads, the first one first."""
    found: dict[str, list[str]] = {}
    for field, path in compile_parts(suggestion.mapping).paths:
        found.setdefault(field, []).append(path)
    return found


def fields_by_path(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the fields whose suggested source reads each path."""
    found: dict[str, list[str]] = {}
    for field, path in compile_parts(suggestion.mapping).paths:
        found.setdefault(path, []).append(field)
    return found
