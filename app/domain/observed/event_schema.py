"""The schema of recent events: their paths and the types of values. Samples have no values."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.mapping.fields import FIELDS
from app.domain.mapping.paths import parse_path
from app.domain.observed.schema_sample import SchemaSample
from app.domain.observed.value_kinds import EMPTY, TYPES, ValueKind

MOST_PATHS: Final = 2_000
"""The number of paths of a schema. Events whose member names are values would have any number of paths."""


@dataclass(frozen=True, slots=True)
class SchemaEntry:
    """A path, and how many events have the path, a value at the path, and each kind of value."""

    path: str
    present: int
    filled: int
    kinds: Mapping[ValueKind, int]

    @property
    def types(self) -> dict[str, int]:
        """The number of events by JSON type of the value, the most frequent type first."""
        found: Counter[str] = Counter()
        for kind, times in self.kinds.items():
            found[TYPES[kind]] += times
        return dict(found.most_common())


@dataclass(frozen=True, slots=True)
class EventSchema:
    """The paths of `events` recent events. The keys of `entries` are the paths, in alphabetical order.

    `complete` is False if the events have more paths than `entries`.
    """

    events: int
    entries: Mapping[str, SchemaEntry]
    complete: bool = True


def merge_samples(samples: Iterable[tuple[SchemaSample, int]]) -> EventSchema:
    """Merge samples, each with its number of events, into a schema of their most frequent paths."""
    samples = list(samples)
    totals: Counter[str] = Counter()
    for sample, times in samples:
        for entry in sample:
            totals[entry.path] += times
    kinds: dict[str, Counter[ValueKind]] = {path: Counter() for path, _ in totals.most_common(MOST_PATHS)}
    for sample, times in samples:
        for entry in sample:
            if entry.path in kinds:
                kinds[entry.path][entry.kind] += times
    entries = {
        path: SchemaEntry(
            path, found.total(), sum(n for kind, n in found.items() if kind not in EMPTY), found
        )
        for path, found in sorted(kinds.items())
    }
    return EventSchema(sum(times for _, times in samples), entries, complete=len(entries) == len(totals))


# --- Drafts against the event schema ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchemaMismatch:
    """A path of a draft that does not fit recent events. `field` is where the draft reads it."""

    code: str
    field: str
    path: str


# The JSON types that each type of field accepts.
_ACCEPTED_TYPES: Final[Mapping[str, Collection[str]]] = {
    "text": ("text",),
    "time": ("text",),
    "number": ("number",),
    "integer": ("number",),
    "boolean": ("boolean",),
}


def schema_mismatches(document: Mapping[str, Any], schema: EventSchema) -> list[SchemaMismatch]:
    """Return the paths of a draft that no recent event has, or whose type does not fit the field.

    The type is not checked if the source has a pipe, which can change it. Without events, the result is
    empty.
    """
    if not schema.events:
        return []
    found = []
    for place, name, path, piped in _paths(document):
        entry = schema.entries.get(path)
        if entry is None:
            if not _is_unsampled(path, schema):
                found.append(SchemaMismatch("path_unknown", place, path))
        elif entry.filled and not piped and not _fits(name, entry):
            found.append(SchemaMismatch("path_type_unusual", place, path))
    return found


def _fits(name: str, entry: SchemaEntry) -> bool:
    row = FIELDS.get(name)
    return row is None or bool(set(entry.types) & set(_ACCEPTED_TYPES[row.takes]))


def _is_unsampled(path: str, schema: EventSchema) -> bool:
    """Return whether the schema may lack the path.

    Samples leave out the contents of lists and objects, and a schema is limited to the most frequent paths.
    """
    if not schema.complete:
        return True
    steps = parse_path(path) or ()
    if any(isinstance(step, int) and step > 0 for step in steps):
        return True
    return any(
        path.startswith(sampled) and {ValueKind.OBJECT, ValueKind.LIST} & set(entry.kinds)
        for sampled, entry in schema.entries.items()
    )


def _paths(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str, bool]]:
    """Yield (place in the document, field, path, has a pipe) for each source that reads the event."""
    rows = document.get("custom_data")
    choices = ((name, document.get(name)) for name in ("event_type", "event_source", "country_code"))
    sources = (
        *((name, name, source) for name, source in choices if not isinstance(source, str)),
        *((f"fields.{name}", name, source) for name, source in _members(document.get("fields"))),
        *((f"custom_data[{n}]", "", row) for n, row in enumerate(rows if isinstance(rows, list) else ())),
        *((f"consent.{n}", "", source) for n, source in _members(document.get("consent")) if n != "mode"),
    )
    for place, name, source in sources:
        written = {"path": source} if isinstance(source, str) else source
        if isinstance(written, Mapping) and isinstance(written.get("path"), str):
            yield place, name, written["path"], bool(written.get("pipe"))


def _members(written: Any) -> Iterable[tuple[str, Any]]:
    return written.items() if isinstance(written, Mapping) else ()
