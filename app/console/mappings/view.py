"""View models of mappings: changes between documents, previews, warnings, and paths to choose from. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.console.mappings.field_results import label, row_of
from app.console.mappings.form import canonical
from app.console.mappings.text import json_text
from app.console.wording import share
from app.domain.conversion.convert import Conversion, EventWarning
from app.domain.event import Rejection
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.lint import LINT_WARNINGS, LintWarning
from app.domain.mapping.presets import EventIdPreset, event_id_presets
from app.domain.mapping.sources import KINDS
from app.domain.observed.event_schema import EventSchema, SchemaMismatch
from app.domain.outcomes.reasons import WARNINGS
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
        return label(self.place)


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
    return [
        (label(warning.field), WARNING_SENTENCES[warning.code], getattr(warning, "path", ""))
        for warning in warnings
    ]


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


def field_label(field: str) -> str:
    """Return the form's label of a conversion field, where `email` stands for `fields.email`."""
    return label(f"fields.{field}" if field in FIELDS else field)


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
