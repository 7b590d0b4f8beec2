"""View models of mappings: changes between documents, previews, warnings, and paths to choose from.

Also describe a mapping document in words. Its statements have the order of the form, not that of the
document. Pure.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.admin import catalog
from app.console.mappings.field_results import row_of
from app.console.mappings.form import CHOICES, CONSENT_MEMBERS, canonical, members_of, rows_of
from app.console.mappings.inputs import ON_ERROR, path_text, write_pipe, write_value
from app.console.wording import field_label, place_label, share
from app.domain.conversion.results import Conversion, EventWarning
from app.domain.event import Rejection
from app.domain.mapping.document import FIELDS
from app.domain.mapping.lint import LINT_WARNINGS, LintWarning
from app.domain.mapping.presets import EventIdPreset, event_id_presets
from app.domain.mapping.sources import KINDS
from app.domain.observed.event_schema import EventSchema, SchemaMismatch
from app.domain.outcomes.reasons import WARNINGS
from app.domain.strict_json import json_text
from app.domain.suggestions.names import rank
from app.store.mappings import Document

MAX_PATHS = 200
MAX_OBSERVED_PATHS = 50  # the event schema page has the rest

# Paths that journeys usually send. The form offers them after the paths of recent events and of the sample
# event.
USUAL_PATHS = (
    "event.name",
    "event.timestamp",
    *(f"event.properties.{name}" for name in ("brand", "category", "currency", "quantity", "sku", "total")),
    *(f"user.{name}" for name in ("email", "phone", "maid", "first_name", "last_name")),
    *(f"user.{name}" for name in ("city", "state", "postal", "country")),
    *(f"consent.{name}" for name in ("ad_storage", "user_data", "tcf", "gpp")),
    *(f"journey.{name}" for name in ("id", "node_id", "execution_id")),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between two documents.

    `was` or `now` is None if that document has no value at this place.
    """

    place: str
    was: str | None
    now: str | None

    @property
    def label(self) -> str:
        """Return the form's label of the place."""
        return place_label(self.place)


def changes(before: Document | None, after: Document) -> list[Change]:
    """Return every difference between two documents, in document order."""
    old = dict(_leaves(canonical(before), "")) if before else {}
    return changes_of(old, dict(_leaves(canonical(after), "")))


def changes_of(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """Return every difference between two contents, each by place, in their order."""
    return [
        Change(place, old.get(place), new.get(place))
        for place in dict.fromkeys([*old, *new])
        if old.get(place) != new.get(place)
    ]


def _leaves(value: Any, parent: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and value.keys().isdisjoint(KINDS):
        for name, child in value.items():
            yield from _leaves(child, f"{parent}.{name}" if parent else str(name))
    elif isinstance(value, list) and parent == "custom_data":
        for row in value:
            name = row.get("name") if isinstance(row, Mapping) else row
            yield f"{parent}.{name}", _value_text(row)
    else:
        yield parent, _value_text(value)


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("const"), str):
        return str(value["const"])  # a constant is shown as its value
    if isinstance(value, Mapping) and len(value) == 1 and "path" in value:
        return f"from {value['path']}"
    return json_text(value)


@dataclass(frozen=True, slots=True)
class PreviewView:
    """A preview: the JSON that would be sent with its warnings, or the rejection with the field's label."""

    amazon: str = ""
    warnings: Sequence[str] = ()
    rejection: Rejection | None = None
    mapping_field: str = ""


def preview(outcome: Conversion | Rejection) -> PreviewView:
    """Return the view of a preview."""
    if isinstance(outcome, Rejection):
        return PreviewView(rejection=outcome, mapping_field=field_label(outcome.mapping_field or ""))
    conversion = msgspec.json.decode(outcome.body)
    return PreviewView(pretty_json(conversion), [_warning(warning) for warning in outcome.warnings])


def warning_lines(warnings: Sequence[LintWarning | SchemaMismatch]) -> list[tuple[str, str, str]]:
    """Return a draft's warnings as (label, sentence, path or empty)."""
    lines = []
    for each in warnings:
        path = each.path if isinstance(each, SchemaMismatch) else ""
        lines.append((place_label(each.field), WARNING_SENTENCES[each.code], path))
    return lines


WARNING_SENTENCES: Mapping[str, str] = {
    **LINT_WARNINGS,
    "path_unknown": "No recent event had this field.",
    "path_type_unusual": "Recent events had another type of value in this field.",
}

_LINE_WIDTH = 110  # characters: fits a match key with its hash, or an attribute with its value


def pretty_json(value: Any, indent: str = "") -> str:
    """Return JSON with each short value on one line."""
    short = msgspec.json.format(json_text(value), indent=0)
    if not isinstance(value, (dict, list)) or not value or (indent and len(short) <= _LINE_WIDTH):
        return short
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name, ensure_ascii=False)}: {pretty_json(child, deeper)}"
            for name, child in value.items()
        ]
    else:
        parts = [pretty_json(child, deeper) for child in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n" + ",\n".join(deeper + part for part in parts) + f"\n{indent}{right}"


def _warning(warning: EventWarning) -> str:
    suffix = f" ({field_label(warning.field)})" if warning.field else ""
    return WARNINGS.get(warning.code, warning.code) + suffix


@dataclass(frozen=True, slots=True)
class PathOffer:
    """A path that the user can choose.

    It has its fill rate, its types, and the inputs that it probably fits.
    """

    path: str
    why: str
    fits: str = ""


def paths(event: Any, schema: EventSchema, fields: Mapping[str, Sequence[str]]) -> list[PathOffer]:
    """Return the paths of recent events, then the paths of the sample event, then the usual paths.

    `fields` are the fields for which a path is suggested.
    """
    observed = sorted(schema.entries.values(), key=lambda entry: (-entry.filled, entry.path))
    found = {
        entry.path: PathOffer(
            entry.path,
            " · ".join([f"{share(entry.filled, schema.events)} of events", *entry.types]),
            " ".join(row_of(name) for name in fields.get(entry.path, ())),
        )
        for entry in observed[:MAX_OBSERVED_PATHS]
    }
    for path in _paths(event, ""):
        found.setdefault(path, PathOffer(path, "in the sample"))
    for path in USUAL_PATHS:
        found.setdefault(path, PathOffer(path, "usual"))
    return list(found.values())[:MAX_PATHS]


_IS_ORDER = 50  # the rank of a path whose last name is a name of the order number


def event_ids(offers: Iterable[PathOffer], document: Document) -> tuple[EventIdPreset, ...]:
    """Return the presets of `event_id` for the order number among these paths, and the mapping's name."""
    ranks = {
        offer.path: rank("order_id", tuple(offer.path.split(".")))
        for offer in offers
        if "[" not in offer.path
    }
    order = max(ranks, key=lambda path: ranks[path], default="")
    name = document.get("event_name")
    return event_id_presets(
        order if ranks.get(order, 0) > _IS_ORDER else None,
        *([name] if name and isinstance(name, str) else []),
    )


def _paths(value: Any, parent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, child in list(value.items())[:MAX_PATHS]:
            plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
            if plain and len(parent) + len(name) < 250:
                yield from _paths(child, f"{parent}.{name}" if parent else name)
    elif isinstance(value, list):
        if value and parent:
            yield from _paths(value[0], f"{parent}[0]")
    elif parent:
        yield parent


_SOURCES = ("event_type", "event_source", "event_name", "country_code")
_CONSENT_MODES = {mode.value: mode.label for mode in catalog.AMAZON.consent_modes}


def statement_changes(before: Document | None, after: Document) -> list[Change]:
    """Return every difference between two mappings in words, in the order of the form.

    Without `before`, each member of `after` is a difference: the content of the mapping.
    """
    found = changes_of(statements(before) if before else {}, statements(after))
    return sorted(found, key=lambda change: _rank(change.place))


def statements(document: Document) -> dict[str, str]:
    """Return what a mapping or draft says at each place, in words."""
    places = _places(canonical(document))
    return {place: _words(place, source) for place, source in places.items() if source is not None}


def _places(document: Document) -> dict[str, Any]:
    consent = members_of(document.get("consent"))
    places = {"name": document.get("name", ""), **{name: document.get(name) for name in _SOURCES}}
    places |= {f"fields.{name}": source for name, source in members_of(document.get("fields")).items()}
    for row in rows_of(document.get("custom_data")):
        if isinstance(row, Mapping):
            rest = {name: value for name, value in row.items() if name != "name"}
            places[f"custom_data.{row.get('name', '')}"] = rest
    places |= {f"consent.{name}": consent.get(name) for name in CONSENT_MEMBERS}
    if "mode" in consent:
        places["consent"] = _CONSENT_MODES.get(consent["mode"], str(consent["mode"]))
    if document.get("prehashed") is not None:
        places["prehashed"] = str(document["prehashed"])
    return places


_ORDER = (
    "name",
    *(f"fields.{name}" for name in FIELDS),
    "custom_data",
    *_SOURCES,
    "consent",
    *(f"consent.{name}" for name in CONSENT_MEMBERS),
    "prehashed",
)
_RANKS = {place: rank for rank, place in enumerate(_ORDER)}


def _rank(place: str) -> int:
    """Return the rank of a place in the form. Custom data keeps the order of the document."""
    return _RANKS.get("custom_data" if place.startswith("custom_data.") else place, 999)


def _words(place: str, source: Any) -> str:
    if isinstance(source, str):
        return source
    choices = CHOICES.get(place, {})

    def value(written: Any) -> str:
        if isinstance(written, str):
            return choices[written].label if written in choices else written
        return write_value(written)

    if "const" in source:
        text = value(source["const"])
        return text if place in _SOURCES else f"always {text}"
    members = source["first_of"] if isinstance(source.get("first_of"), list) else [source]
    text = "from " + ", else ".join(_reading(member) for member in members)
    if members != [source] and source.get("pipe"):
        text += f", transformed by {write_pipe(source['pipe'])}"
    if source.get("default") is not None:
        text += f"; if empty: {value(source['default'])}"
    if source.get("on_error") is not None:
        text += f"; if unreadable: {ON_ERROR.get(source['on_error'], source['on_error'])}"
    return text


def _reading(member: Any) -> str:
    """Return what a member of a source reads, and how it changes it."""
    if not isinstance(member, Mapping) or "const" in member:
        return write_value(member["const"] if isinstance(member, Mapping) else member)
    text = path_text(member)
    return f"{text}, transformed by {write_pipe(member['pipe'])}" if member.get("pipe") else text
