"""The schema of recent events: their paths and the types of values. Samples have no values."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from app.domain.mapping.document import FIELDS, compile_parts
from app.domain.mapping.paths import parse_path
from app.domain.observed.schema_sample import MAX_ITEMS, SchemaSample, is_below
from app.domain.observed.value_kinds import EMPTY, ValueKind

_MEMBERS: Final = re.compile(r"((?:\[(?:\*|-1)\])+)")
_SAMPLED: Final = rf"(?:\[[0-{MAX_ITEMS - 1}]\])"
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
            found[kind.json_type] += times
        return dict(found.most_common())


@dataclass(frozen=True, slots=True)
class EventSchema:
    """The paths of `events` recent events. The keys of `entries` are the paths, in alphabetical order.

    `complete` is False if the events have more paths than `entries`.
    """

    events: int
    entries: Mapping[str, SchemaEntry]
    complete: bool = True

    def find(self, path: str) -> SchemaEntry | None:
        """Return the entry of a path of a mapping. For a list, it is that of its first member with one."""
        is_sampled = re.compile(_pattern(path)).fullmatch
        return next((entry for each, entry in self.entries.items() if is_sampled(each)), None)

    def has_members(self, path: str) -> bool:
        """Return whether the path is that of an object or a list, whose members are in the schema."""
        return any(map(re.compile(rf"{_pattern(path)}[.\[]").match, self.entries))


def _pattern(path: str) -> str:
    """Return the pattern of the paths that samples have for a path of a mapping.

    An object stands for a list of one, so they may have fewer members. The time is linear in the path.
    """
    return "".join(
        f"{_SAMPLED}{{0,{part.count('[')}}}" if _MEMBERS.fullmatch(part) else re.escape(part)
        for part in _MEMBERS.split(path)
    )


def merge_samples(samples: Iterable[tuple[SchemaSample, int]]) -> EventSchema:
    """Merge samples, each with its number of events, into a schema of their most frequent paths."""
    events = 0
    kinds: defaultdict[str, Counter[ValueKind]] = defaultdict(Counter)
    for sample, times in samples:
        events += times
        for entry in sample:
            kinds[entry.path][entry.kind] += times
    common = sorted(kinds.items(), key=lambda row: -row[1].total())[:MOST_PATHS]
    entries = {}
    for path, found in sorted(common):
        filled = sum(n for kind, n in found.items() if kind not in EMPTY)
        entries[path] = SchemaEntry(path, found.total(), filled, found)
    return EventSchema(events, entries, complete=len(entries) == len(kinds))


# --- Drafts against the event schema ---------------------------------------------------------------


_EPOCHS: Final = frozenset({ValueKind.EPOCH_SECONDS, ValueKind.EPOCH_MILLISECONDS})
# The JSON type that fields of a type usually have, if it is another word.
_JSON_TYPES: Final = {"time": "text", "integer": "number"}


class SchemaMismatch(NamedTuple):
    """A path of a draft that does not fit recent events.

    `code` is stable, `field` is the place in the document, and `path` is the path in the event.
    """

    code: str
    field: str
    path: str


def schema_mismatches(document: Mapping[str, Any], schema: EventSchema) -> list[SchemaMismatch]:
    """Return the paths of a draft that no recent event has, or whose type does not fit the field.

    Templates and `first_of` are left out, and the type is not checked if the source has a pipe, which can
    change it. Without events, the result is empty.
    """
    if not schema.events:
        return []
    found = []
    draft = compile_parts(dict(document))
    places = {row.field: f"custom_data[{place}]" for place, row in enumerate(draft.custom_data)}
    places |= {name: f"fields.{name}" for name in FIELDS}
    for name, source in draft.sources:
        if source.path is None or source.rule.startswith(("template", "first_of")):
            continue
        place, entry = places.get(name, name), schema.find(source.path)
        if entry is None:
            if not schema.has_members(source.path) and not _is_unsampled(source.path, schema):
                found.append(SchemaMismatch("path_unknown", place, source.path))
        elif entry.filled and not source.rule and not _fits(name, entry):
            found.append(SchemaMismatch("path_type_unusual", place, source.path))
    return found


def _fits(name: str, entry: SchemaEntry) -> bool:
    row = FIELDS.get(name)
    is_epoch = name == "event_timestamp" and not _EPOCHS.isdisjoint(entry.kinds)
    return row is None or is_epoch or _JSON_TYPES.get(row.takes, row.takes) in entry.types


def _is_unsampled(path: str, schema: EventSchema) -> bool:
    """Return whether the schema may lack the path.

    Samples leave out the contents of lists and objects, and a schema is limited to the most frequent paths.
    """
    is_later = any(isinstance(step, int) and step > 0 for step in parse_path(path) or ())
    return (not schema.complete or is_later) or any(
        is_below(path, sampled) and {ValueKind.OBJECT, ValueKind.LIST} & set(entry.kinds)
        for sampled, entry in schema.entries.items()
    )
