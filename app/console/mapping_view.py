"""What changed between two documents, what a preview shows, which paths an event offers. Pure."""

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
from app.domain.outcomes.reasons import WARNINGS

MOST_PATHS = 200
_ENCODER = msgspec.json.Encoder(decimal_format="number")

# What journeys usually send; the paths of the sample at hand come before them.
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
    """One place at which two documents differ; `was` or `now` is None where it is absent."""

    place: str
    was: str | None
    now: str | None

    @property
    def label(self) -> str:
        """What the mapping's form calls the place."""
        return label(self.place)


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Change]:
    """Return every place at which `after` differs from `before`, in the order of the document."""
    old = dict(_leaves(canonical(before), "")) if before else {}
    new = dict(_leaves(canonical(after), ""))
    return [
        Change(place, old.get(place), new.get(place))
        for place in dict.fromkeys([*old, *new])
        if old.get(place) != new.get(place)
    ]


def _leaves(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and not _is_source(value):
        for name, one in value.items():
            yield from _leaves(one, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list) and at == "custom_data":
        for row in value:
            name = row.get("name") if isinstance(row, Mapping) else row
            yield f"{at}.{name}", _shown(row)
    else:
        yield at, _shown(value)


def _is_source(value: Mapping[str, Any]) -> bool:
    return "path" in value or "const" in value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("const"), str):
        return str(value["const"])  # a constant reads as what it is
    if isinstance(value, Mapping) and len(value) == 1 and "path" in value:
        return f"from {value['path']}"
    return _ENCODER.encode(value).decode()


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One field of a preview: where its value came from, what was done to it, and what it became."""

    label: str
    source: str
    found: bool
    rule: str
    word: str  # the rule's own, for those who look it up
    result: str


@dataclass(frozen=True, slots=True)
class PreviewView:
    """A preview for people: the JSON that would be sent with its lines, or the reason why nothing would."""

    ok: bool
    amazon: str
    lines: Sequence[PreviewLine]
    warnings: Sequence[str]
    code: str = ""
    reason: str = ""
    detail: str = ""
    mapping_field: str = ""


def preview(answer: Mapping[str, Any]) -> PreviewView:
    """Return a preview as the API answers it, for people."""
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
    """Return what is odd about a draft, each with the member it is about and a sentence."""
    return [(one.field, LINT_WARNINGS[one.code]) for one in lint(document, Region(region))]


_PROFILED = re.compile(rf"(?:{'|'.join(Profile)})\.\w+", re.ASCII).fullmatch
_ON_A_LINE = 110  # characters: a match key with its hash, an attribute with its value


def pretty_json(value: Any, indent: str = "") -> str:
    """Return JSON for reading: what is short stands on one line, so that an event fits beside its form."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or (indent and len(short) <= _ON_A_LINE):
        return short
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name, ensure_ascii=False)}: {pretty_json(one, deeper)}"
            for name, one in value.items()
        ]
    else:
        parts = [pretty_json(one, deeper) for one in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n" + ",\n".join(deeper + part for part in parts) + f"\n{indent}{right}"


# What was done to a value, in the words of who reads it; a pipe's functions keep their names.
_DONE: Mapping[str, str] = {
    "": "as it is",
    "const": "the same for every event",
    "absent": "left out",
    "dropped": "unreadable, left out",
    "gate": "consent checked",
}


def _line(step: Mapping[str, Any]) -> PreviewLine:
    result = "–" if step["result"] is None else _shown(step["result"])
    rule = step["rule"] or ""
    # A rule of an identity profile is its name, such as `amazon.email`.
    normalised = "normalised and hashed" if result.startswith("sha256:") else "normalised"
    return PreviewLine(
        label=_label(step["field"]),
        source=step["source"] or "the mapping",
        found=bool(step["found"]),
        rule=_DONE.get(rule) or (normalised if _PROFILED(rule) else rule),
        word=rule,
        result=result,
    )


def _label(field: str) -> str:
    """Return what the form calls a field that a conversion names: there, `email` is one of `fields`."""
    return label(f"fields.{field}" if field in FIELDS else field)


def _warning(warning: Mapping[str, Any]) -> str:
    at = f" ({_label(warning['field'])})" if warning.get("field") else ""
    return WARNINGS.get(warning["code"], str(warning["code"])) + at


@dataclass(frozen=True, slots=True)
class PathOffer:
    """A path that a field of the form offers, with why."""

    path: str
    why: str


def paths(event: Any, learned: Sequence[Mapping[str, Any]] = ()) -> list[PathOffer]:
    """Return the paths that accepted events had (the catalogue), then the sample's, then the usual ones."""
    found = {
        one["path"]: PathOffer(one["path"], f"in {one['fill_rate']:.0%} of recent events") for one in learned
    }
    for path in _paths(event, ""):
        found.setdefault(path, PathOffer(path, "in the sample"))
    for path in USUAL_PATHS:
        found.setdefault(path, PathOffer(path, "usual"))
    return list(found.values())[:MOST_PATHS]


def _paths(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in list(value.items())[:MOST_PATHS]:
            plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
            if plain and len(at) + len(name) < 250:
                yield from _paths(one, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        if value and at:
            yield from _paths(value[0], f"{at}[0]")
    elif at:
        yield at
