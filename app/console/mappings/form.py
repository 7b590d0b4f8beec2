"""Convert a mapping document to a form and back. Pure.

`source_inputs` has the inputs of a source.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.mappings.source_inputs import (
    SourceInputs,
    expand_source,
    from_inputs,
    place_of_source,
    to_inputs,
)
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE_ONLY
from app.domain.mapping.document import ACTION, ALWAYS_REJECT, MAX_CUSTOM_FIELDS
from app.domain.mapping.fields import FIELDS, Field, Group
from app.domain.mapping.sources import MappingProblem
from app.store.mappings import Document

_MAX_ROW_NAME = 24  # characters of `custom.N.name`; allows far more rows than a form has
FROM_EVENT = "@event"  # option of a list of constants: read the value from the event instead
PRIMARY_MATCH_KEYS = ("email", "phone", "maid", "first_name", "last_name")  # R2, in its order
CONSENT_SOURCES = {"amazon": ("user_data", "ad_storage"), "tcf": ("string",), "gpp": ("string",)}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A row of the form: the inputs of a field, with its label and help."""

    inputs: SourceInputs
    label: str
    help: str
    required: bool
    purchases_only: bool


@dataclass(frozen=True, slots=True)
class CustomRow:
    """A row of custom data: its name on Amazon and its source."""

    name: str
    inputs: SourceInputs
    problem: str | None


@dataclass(frozen=True, slots=True)
class MappingForm:
    """The values that the mapping form shows.

    `problems` maps the path of each problem in the mapping to a sentence. For a problem of a source, the
    template shows `SourceInputs.problem` instead.
    """

    name: str
    event_type: str
    event_type_source: SourceInputs
    event_source: str
    event_source_source: SourceInputs
    event_name: str
    country: SourceInputs
    groups: Mapping[str, Sequence[FieldRow]]
    custom: Sequence[CustomRow]
    consent: str
    consent_sources: Mapping[str, SourceInputs]
    prehashed: str
    problems: Mapping[str, str]


def to_form(document: Document, problems: Sequence[MappingProblem] = ()) -> MappingForm:
    """Return the form for a document. Each problem is shown at its field."""
    sentences = _sentences_by_field(problems)
    fields = _object(document.get("fields"))
    consent = _object(document.get("consent"))
    type_choice, type_source = _choice(document.get("event_type"), "event_type", EVENT_TYPES, sentences)
    source_choice, source_source = _choice(
        document.get("event_source"), "event_source", EVENT_SOURCES, sentences
    )
    groups: dict[str, list[FieldRow]] = {}
    for field in FIELDS.values():
        row = _row(field, fields.get(field.name), sentences)
        # Hide empty match keys in a folded section, except those in PRIMARY_MATCH_KEYS.
        folded = (
            field.group is Group.MATCH_KEY
            and field.name not in PRIMARY_MATCH_KEYS
            and not any((row.inputs.path, row.inputs.default, row.inputs.problem))
        )
        groups.setdefault("more_match_keys" if folded else field.group.value, []).append(row)
    groups["match_key"].sort(key=lambda row: _place(row.inputs.name))
    mode = str(consent.get("mode") or "")
    return MappingForm(
        name=str(document.get("name") or ""),
        event_type=type_choice,
        event_type_source=type_source,
        event_source=source_choice,
        event_source_source=source_source,
        event_name=_constant(document.get("event_name")),
        country=to_inputs("country_code", document.get("country_code"), "const", sentences),
        groups=groups,
        custom=[
            _custom(number, row, sentences) for number, row in enumerate(_list(document.get("custom_data")))
        ],
        consent=mode,
        consent_sources={
            name: to_inputs(f"consent.{name}", consent.get(name), "path", sentences)
            for name in ("user_data", "ad_storage", "string")
        },
        prehashed=str(document.get("prehashed") or "unknown"),
        problems=sentences,
    )


def _sentences_by_field(problems: Sequence[MappingProblem]) -> dict[str, str]:
    sentences: dict[str, str] = {}
    for problem in problems:
        sentences.setdefault(problem.path, problem.sentence)
        # A problem may concern a part of a source, such as `fields.email.path`. The form shows it at the
        # source.
        sentences.setdefault(place_of_source(problem.path), problem.sentence)
    return sentences


def _place(name: str) -> int:
    field = name.removeprefix("fields.")
    return PRIMARY_MATCH_KEYS.index(field) if field in PRIMARY_MATCH_KEYS else len(PRIMARY_MATCH_KEYS)


def _takes_text(field: Field) -> bool:
    return field.takes in ("text", "time")


def _row(field: Field, source: Any, sentences: Mapping[str, str]) -> FieldRow:
    takes = {"time": "time", "number": "number", "integer": "number"}.get(field.takes, "")
    inputs = to_inputs(
        f"fields.{field.name}", source, "path", sentences,
        text=_takes_text(field), takes=takes, decides=field.name not in ALWAYS_REJECT,
    )  # fmt: skip
    return FieldRow(
        inputs, field.label, field.help, field.name == "event_timestamp", field.name in PURCHASE_ONLY
    )


def _choice(
    source: Any, name: str, choices: Container[str], sentences: Mapping[str, str]
) -> tuple[str, SourceInputs]:
    constant = source.get("const") if isinstance(source, dict) else source
    if isinstance(constant, str) and constant in choices:
        return constant, SourceInputs(name, problem=sentences.get(name))
    inputs = to_inputs(name, source, "const", sentences)
    return (FROM_EVENT if source is not None else ""), inputs


def _constant(source: Any) -> str:
    if isinstance(source, dict):
        source = source.get("const")
    return "" if source is None else str(source)


def _custom(number: int | str, source: Any, sentences: Mapping[str, str]) -> CustomRow:
    at = f"custom_data[{number}]"
    if not isinstance(source, dict):
        path = str(source or "")
        source = {"name": path.rpartition(".")[2], "path": path}
    name = str(source.get("name") or "")
    rest = {key: value for key, value in source.items() if key != "name"}
    problem = sentences.get(f"{at}.name") or sentences.get(f"custom_data.{name}")
    inputs = to_inputs(
        f"custom.{number}", rest or None, "path", sentences, at=at, text=False, takes="number", decides=True
    )
    return CustomRow(name, inputs, problem)


def empty_row(number: int | str) -> CustomRow:
    """Return an empty row of custom data."""
    return _custom(number, {}, {})


def _object(source: Any) -> dict[str, Any]:
    return source if isinstance(source, dict) else {}


def _list(source: Any) -> list[Any]:
    return source if isinstance(source, list) else []


def from_form(values: Mapping[str, str]) -> Document:
    """Return the document that the form describes. Leave out empty fields."""
    mode = values.get("consent", "")
    consent: dict[str, Any] = {"mode": mode}
    for name in CONSENT_SOURCES.get(mode, ()):
        if (source := from_inputs(values, f"consent.{name}", text=True)) is not None:
            consent[name] = source
    fields = {
        name: source
        for name, field in FIELDS.items()
        if (source := from_inputs(values, f"fields.{name}", text=_takes_text(field))) is not None
    }
    document = {
        "name": values.get("name", "").strip(),
        "action": ACTION,
        "event_type": _chosen(values, "event_type"),
        "event_source": _chosen(values, "event_source"),
        "event_name": values.get("event_name", "").strip() or None,
        "country_code": from_inputs(values, "country_code", text=True),
        "fields": fields or None,
        "custom_data": _rows(values) or None,
        "consent": consent if mode else None,
        "prehashed": values.get("prehashed") if values.get("prehashed") != "unknown" else None,
    }
    return {name: value for name, value in document.items() if value is not None}


def _chosen(values: Mapping[str, str], name: str) -> Any:
    chosen = values.get(name, "")
    return from_inputs(values, name, text=True) if chosen == FROM_EVENT else chosen or None


def _row_numbers(values: Mapping[str, str]) -> list[int]:
    numbers = sorted(
        int(name[len("custom.") : -len(".name")])
        for name in values
        if name.startswith("custom.")
        and name.endswith(".name")
        and name[7:-5].isascii()
        and name[7:-5].isdigit()
        and len(name) < _MAX_ROW_NAME
    )
    return numbers[: 4 * MAX_CUSTOM_FIELDS]


def custom_numbers(values: Mapping[str, str]) -> dict[str, int]:
    """Map each name of custom data to the number of its row on the form."""
    return {values[f"custom.{number}.name"].strip(): number for number in reversed(_row_numbers(values))}


def _rows(values: Mapping[str, str]) -> list[Any]:
    rows = []
    for number in _row_numbers(values):
        name = values[f"custom.{number}.name"].strip()
        source = from_inputs(values, f"custom.{number}", text=False)
        if name or source is not None:
            rows.append({"name": name, **(source or {"path": ""})})
    return rows


def canonical(document: Document) -> Document:
    """Return a document in which every short form of a source is expanded.

    Equal documents then compare equal.
    """
    expanded = dict(document)
    for name in ("event_type", "event_source", "event_name", "country_code"):
        if name in expanded:
            expanded[name] = expand_source(expanded[name], "const")
    for name in ("fields", "consent"):
        if isinstance(expanded.get(name), dict):
            expanded[name] = {
                key: source if key == "mode" else expand_source(source, "path")
                for key, source in expanded[name].items()
            }
    if isinstance(expanded.get("custom_data"), list):
        expanded["custom_data"] = [
            {"name": row.rpartition(".")[2], "path": row}
            if isinstance(row, str)
            else expand_source(row, "path")
            for row in expanded["custom_data"]
        ]
    return expanded


def keep_short_forms(before: Document, after: Document) -> Document:
    """Return `after` with the notation of `before` for members whose meaning is the same in both.

    An API caller may have used short forms. Saving an unchanged form then changes nothing.
    """
    old, new = canonical(before), canonical(after)
    merged = {name: before[name] if name in old and old[name] == new[name] else after[name] for name in after}
    for name in ("fields", "consent"):
        if (
            isinstance(merged.get(name), dict)
            and isinstance(before.get(name), dict)
            and merged[name] is after[name]
        ):
            merged[name] = {
                key: before[name][key] if old[name].get(key) == new[name][key] else source
                for key, source in after[name].items()
            }
    return merged
