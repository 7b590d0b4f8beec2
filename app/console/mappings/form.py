"""Convert a mapping document to a form and back. Pure.

`inputs` has the inputs of a source.
"""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.mappings.inputs import SourceInputs, expand_source, from_inputs, source_place, to_inputs
from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES, PURCHASE_ONLY, Choice
from app.domain.mapping.diff import is_same
from app.domain.mapping.document import ACTION, ALWAYS_REJECT, FIELDS, MAX_CUSTOM_FIELDS, Field, Group
from app.domain.mapping.sources import MappingProblem
from app.store.mappings import Document

_is_row_name = re.compile(r"custom\.([0-9]{1,11})\.name").fullmatch
CHOICES: Mapping[str, Mapping[str, Choice]] = {"event_type": EVENT_TYPES, "event_source": EVENT_SOURCES}
FROM_EVENT = "@event"  # option of a list of constants: read the value from the event instead
PRIMARY_MATCH_KEYS = ("email", "phone", "maid", "first_name", "last_name")  # R2, in its order
CONSENT_MEMBERS = ("user_data", "ad_storage", "string")
CONSENT_SOURCES = {"amazon": ("user_data", "ad_storage"), "tcf": ("string",), "gpp": ("string",)}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A row of the form: a field, with the inputs of its source."""

    field: Field
    inputs: SourceInputs

    @property
    def required(self) -> bool:
        return self.field.name == "event_timestamp"

    @property
    def purchases_only(self) -> bool:
        return self.field.name in PURCHASE_ONLY


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
    event_name: str
    consent: str
    prehashed: str
    choices: Mapping[str, str]  # a constant, or `FROM_EVENT`
    sources: Mapping[str, SourceInputs]  # of the members besides fields and custom data
    groups: Mapping[str, Sequence[FieldRow]]
    custom: Sequence[CustomRow]
    problems: Mapping[str, str]


def to_form(document: Document, problems: Sequence[MappingProblem] = ()) -> MappingForm:
    """Return the form for a document. Each problem is shown at its field."""
    sentences = _sentences_by_field(problems)
    fields = members_of(document.get("fields"))
    consent = members_of(document.get("consent"))
    choices = {name: _choice(document.get(name), options) for name, options in CHOICES.items()}
    constants = {name: document.get(name) if choices[name] == FROM_EVENT else None for name in CHOICES}
    constants["country_code"] = document.get("country_code")
    paths = {f"consent.{name}": consent.get(name) for name in CONSENT_MEMBERS}
    groups: dict[str, list[FieldRow]] = {}
    for name in dict.fromkeys([*PRIMARY_MATCH_KEYS, *FIELDS]):
        field = FIELDS[name]
        row = _row(field, fields.get(name), sentences)
        # Hide empty match keys in a folded section, except those in PRIMARY_MATCH_KEYS.
        folded = (
            field.group is Group.MATCH_KEY
            and name not in PRIMARY_MATCH_KEYS
            and not any((row.inputs.path, row.inputs.default, row.inputs.problem))
        )
        groups.setdefault("more_match_keys" if folded else field.group.value, []).append(row)
    return MappingForm(
        name=str(document.get("name") or ""),
        event_name=_constant(document.get("event_name")),
        consent=str(consent.get("mode") or ""),
        prehashed=str(document.get("prehashed") or "unknown"),
        choices=choices,
        sources={
            name: to_inputs(name, source, bare, sentences)
            for bare, sources in (("const", constants), ("path", paths))
            for name, source in sources.items()
        },
        groups=groups,
        custom=[
            _custom(number, row, sentences) for number, row in enumerate(rows_of(document.get("custom_data")))
        ],
        problems=sentences,
    )


def _sentences_by_field(problems: Sequence[MappingProblem]) -> dict[str, str]:
    sentences: dict[str, str] = {}
    for problem in problems:
        sentences.setdefault(problem.path, problem.sentence)
        # A problem may concern a part of a source, such as `fields.email.path`. The form shows it at the
        # source.
        sentences.setdefault(source_place(problem.path), problem.sentence)
    return sentences


def _takes_text(field: Field) -> bool:
    return field.takes in ("text", "time")


def _row(field: Field, source: Any, sentences: Mapping[str, str]) -> FieldRow:
    takes = {"time": "time", "number": "number", "integer": "number"}.get(field.takes, "")
    inputs = to_inputs(
        f"fields.{field.name}", source, "path", sentences,
        text=_takes_text(field), takes=takes, decides=field.name not in ALWAYS_REJECT,
    )  # fmt: skip
    return FieldRow(field, inputs)


def _choice(source: Any, options: Container[str]) -> str:
    constant = source.get("const") if isinstance(source, dict) else source
    if isinstance(constant, str) and constant in options:
        return constant
    return "" if source is None else FROM_EVENT


def _constant(source: Any) -> str:
    if isinstance(source, dict):
        source = source.get("const")
    return "" if source is None else str(source)


def _custom(number: int | str, source: Any, sentences: Mapping[str, str]) -> CustomRow:
    at = f"custom_data[{number}]"
    if not isinstance(source, dict):
        source = _expanded_row(str(source or ""))
    name = str(source.get("name") or "")
    rest = {key: value for key, value in source.items() if key != "name"}
    problem = sentences.get(f"{at}.name") or sentences.get(f"custom_data.{name}")
    inputs = to_inputs(
        f"custom.{number}", rest or None, "path", sentences, at=at, text=False, takes="number", decides=True
    )
    return CustomRow(name, inputs, problem)


def _expanded_row(path: str) -> dict[str, Any]:
    return {"name": path.rpartition(".")[2], "path": path}


def empty_row(number: int | str) -> CustomRow:
    """Return an empty row of custom data."""
    return _custom(number, {}, {})


def members_of(source: Any) -> dict[str, Any]:
    """Return the members of a member of a document; none if it is no object."""
    return source if isinstance(source, dict) else {}


def rows_of(source: Any) -> list[Any]:
    """Return the rows of a member of a document; none if it is no list."""
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
    numbers = sorted(int(found[1]) for found in map(_is_row_name, values) if found)
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
            _expanded_row(row) if isinstance(row, str) else expand_source(row, "path")
            for row in expanded["custom_data"]
        ]
    return expanded


def keep_short_forms(before: Document, after: Document) -> Document:
    """Return `after` with the notation of `before` for members whose meaning is the same in both.

    An API caller may have used short forms. Saving an unchanged form then changes nothing.
    """
    old, new = canonical(before), canonical(after)
    merged = _same_as_before(before, after, old, new)
    for name in ("fields", "consent"):
        if isinstance(before.get(name), dict) and isinstance(after.get(name), dict):
            merged[name] = _same_as_before(before[name], after[name], old[name], new[name])
    return merged


def _same_as_before(before: Document, after: Document, old: Document, new: Document) -> dict[str, Any]:
    return {
        name: before[name] if name in old and is_same(old[name], new[name]) else after[name] for name in after
    }
