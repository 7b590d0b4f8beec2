"""View models of mappings: changes between documents, previews, suggested paths. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.console.mapping_form import canonical
from app.console.problem_view import label
from app.domain.destination import Region
from app.domain.identity import Profile
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.lint import LINT_WARNINGS, lint
from app.domain.observed.event_schema import EventSchema
from app.domain.outcomes.reasons import WARNINGS

MAX_PATHS = 200
MAX_OBSERVED_PATHS = 50  # the rest is on the page of the event schema
_ENCODER = msgspec.json.Encoder(decimal_format="number")

# Paths that journeys usually send. Observed paths and those of the sample come first.
USUAL_PATHS = (
    "event.name",
    "event.timestamp",
    "event.properties.brand",
    "event.properties.category",
    "event.properties.currency",
    "event.properties.quantity",
    "event.properties.sku",
    "event.properties.total",
    "user.email",
    "user.phone",
    "user.maid",
    "user.first_name",
    "user.last_name",
    "user.city",
    "user.state",
    "user.postal",
    "user.country",
    "consent.ad_storage",
    "consent.user_data",
    "consent.tcf",
    "consent.gpp",
    "journey.id",
    "journey.node_id",
    "journey.execution_id",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two documents; `was` or `now` is None where it is absent."""

    place: str
    was: str | None
    now: str | None

    @property
    def label(self) -> str:
        """Return the form's label of the place."""
        return label(self.place)


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Change]:
    """Return every difference between two documents, in document order."""
    old = dict(_leaves(canonical(before), "")) if before else {}
    new = dict(_leaves(canonical(after), ""))
    return [
        Change(place, old.get(place), new.get(place))
        for place in dict.fromkeys([*old, *new])
        if old.get(place) != new.get(place)
    ]


def _leaves(value: Any, parent: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and not _is_source(value):
        for name, child in value.items():
            yield from _leaves(child, f"{parent}.{name}" if parent else str(name))
    elif isinstance(value, list) and parent == "custom_data":
        for row in value:
            name = row.get("name") if isinstance(row, Mapping) else row
            yield f"{parent}.{name}", _value_text(row)
    else:
        yield parent, _value_text(value)


def _is_source(value: Mapping[str, Any]) -> bool:
    return "path" in value or "const" in value


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("const"), str):
        return str(value["const"])  # a constant reads as its value
    if isinstance(value, Mapping) and len(value) == 1 and "path" in value:
        return f"from {value['path']}"
    return _ENCODER.encode(value).decode()


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One field of a preview: source, rule and result."""

    label: str
    source: str
    found: bool
    rule: str
    word: str  # the rule's code, shown as a tooltip
    result: str


@dataclass(frozen=True, slots=True)
class PreviewView:
    """A preview: the JSON that would be sent and its fields, or the reason for a rejection."""

    ok: bool
    amazon: str
    lines: Sequence[PreviewLine]
    warnings: Sequence[str]
    code: str = ""
    reason: str = ""
    detail: str = ""
    mapping_field: str = ""


def preview(answer: Mapping[str, Any]) -> PreviewView:
    """Return the view of a preview response."""
    if not answer["ok"]:
        return PreviewView(
            False,
            "",
            (),
            (),
            answer["code"],
            answer["reason"],
            answer["detail"],
            _label(answer["mapping_field"]) if answer["mapping_field"] else "",
        )
    return PreviewView(
        True,
        pretty_json(answer["amazon_event"]),
        [_line(step) for step in answer["steps"]],
        [_warning(warning) for warning in answer["warnings"]],
    )


def lint_warnings(document: Mapping[str, Any], region: str) -> list[tuple[str, str]]:
    """Return the draft's lint warnings as (member, sentence)."""
    return [(warning.field, LINT_WARNINGS[warning.code]) for warning in lint(document, Region(region))]


_is_normaliser = re.compile(rf"(?:{'|'.join(Profile)})\.\w+", re.ASCII).fullmatch
_LINE_WIDTH = 110  # characters: fits a match key with its hash, or an attribute with its value


def pretty_json(value: Any, indent: str = "") -> str:
    """Return JSON with each short value on one line."""
    short = json.dumps(value, ensure_ascii=False)
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


# Labels of rules. Functions of a pipe keep their names.
_RULE_LABELS: Mapping[str, str] = {
    "": "unchanged",
    "const": "constant",
    "absent": "absent",
    "dropped": "invalid, left out",
    "gate": "consent checked",
}


def _line(step: Mapping[str, Any]) -> PreviewLine:
    result = "–" if step["result"] is None else _value_text(step["result"])
    rule = step["rule"] or ""
    # A normalisation rule has a name such as `amazon.email`.
    normalised = "normalised and hashed" if result.startswith("sha256:") else "normalised"
    return PreviewLine(
        label=_label(step["field"]),
        source=step["source"] or "the mapping",
        found=bool(step["found"]),
        rule=_RULE_LABELS.get(rule) or (normalised if _is_normaliser(rule) else rule),
        word=rule,
        result=result,
    )


def _label(field: str) -> str:
    """Return the form's label of a conversion field, where `email` stands for `fields.email`."""
    return label(f"fields.{field}" if field in FIELDS else field)


def _warning(warning: Mapping[str, Any]) -> str:
    suffix = f" ({_label(warning['field'])})" if warning.get("field") else ""
    return WARNINGS.get(warning["code"], str(warning["code"])) + suffix


@dataclass(frozen=True, slots=True)
class PathOffer:
    """A suggested path and the reason."""

    path: str
    why: str


def paths(event: Any, schema: EventSchema) -> list[PathOffer]:
    """Return the paths of the event schema, then those of the sample, then usual ones."""
    found = {
        entry.path: PathOffer(entry.path, f"in {entry.filled / schema.events:.0%} of recent events")
        for entry in list(schema.entries.values())[:MAX_OBSERVED_PATHS]
    }
    for path in _paths(event, ""):
        found.setdefault(path, PathOffer(path, "in the sample"))
    for path in USUAL_PATHS:
        found.setdefault(path, PathOffer(path, "usual"))
    return list(found.values())[:MAX_PATHS]


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
