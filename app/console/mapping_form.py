"""Convert a mapping document to a form and back. Pure.

Each source has three inputs: the path in the event (`x.path`), the functions (`x.pipe`) and the default
(`x.default`). A default without a path is a constant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.mapping_text import read_pipe, read_value, write_pipe, write_value
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.mapping.document import ACTION, MAX_CUSTOM_FIELDS, MappingProblem
from app.domain.mapping.fields import FIELDS, Field, Group

_MAX_ROW_NAME = 24  # characters of `custom.N.name`; allows far more rows than a form has
FROM_EVENT = "@event"  # option of a list of constants: read the value from the event instead
FIVE = ("email", "phone", "maid", "first_name", "last_name")  # R2, in its order
CONSENT_SOURCES = {"amazon": ("user_data", "ad_storage"), "tcf": ("string",), "gpp": ("string",)}


@dataclass(frozen=True, slots=True)
class SourceInputs:
    """The inputs of one source. `problem` is a sentence."""

    name: str
    path: str = ""
    pipe: str = ""
    default: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A row of the form: inputs, label and help of a field."""

    inputs: SourceInputs
    label: str
    help: str
    required: bool


@dataclass(frozen=True, slots=True)
class CustomRow:
    """A row of custom data: its name on Amazon and its source."""

    number: int
    name: str
    inputs: SourceInputs
    problem: str | None


@dataclass(frozen=True, slots=True)
class MappingForm:
    """The form. `problems` holds sentences by field, for fields that are not sources."""

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
    problems: Mapping[str, str]


def to_form(document: Mapping[str, Any], problems: Sequence[MappingProblem] = ()) -> MappingForm:
    """Return the form for a document, with each problem at its field."""
    told = _by_field(problems)
    fields = _object(document.get("fields"))
    consent = _object(document.get("consent"))
    type_choice, type_source = _choice(document.get("event_type"), "event_type", EVENT_TYPES, told)
    source_choice, source_source = _choice(document.get("event_source"), "event_source", EVENT_SOURCES, told)
    groups: dict[str, list[FieldRow]] = {}
    for field in FIELDS.values():
        row = _row(field, fields.get(field.name), told)
        # The owner's five keys and filled ones come first; the other match keys are folded away.
        aside = (
            field.group is Group.MATCH_KEY
            and field.name not in FIVE
            and row.inputs == SourceInputs(row.inputs.name)
        )
        groups.setdefault("more_match_keys" if aside else field.group.value, []).append(row)
    groups["match_key"].sort(key=lambda row: _place(row.inputs.name))
    mode = str(consent.get("mode") or "")
    return MappingForm(
        name=str(document.get("name") or ""),
        event_type=type_choice,
        event_type_source=type_source,
        event_source=source_choice,
        event_source_source=source_source,
        event_name=_constant(document.get("event_name")),
        country=_inputs("country_code", document.get("country_code"), "const", told),
        groups=groups,
        custom=[_custom(number, row, told) for number, row in enumerate(_list(document.get("custom_data")))],
        consent=mode,
        consent_sources={
            name: _inputs(f"consent.{name}", consent.get(name), "path", told)
            for name in ("user_data", "ad_storage", "string")
        },
        problems=told,
    )


def _by_field(problems: Sequence[MappingProblem]) -> dict[str, str]:
    told: dict[str, str] = {}
    for problem in problems:
        told.setdefault(problem.path, problem.sentence)
        # The form shows a problem of a part (`fields.email.path`) at its source.
        for end in (".path", ".pipe", ".default", ".const"):
            if end in problem.path:
                told.setdefault(problem.path.split(end)[0], problem.sentence)
    return told


def _place(name: str) -> int:
    field = name.removeprefix("fields.")
    return FIVE.index(field) if field in FIVE else len(FIVE)


def _takes_text(field: Field) -> bool:
    return field.takes in ("text", "time")


def _row(field: Field, written: Any, told: Mapping[str, str]) -> FieldRow:
    text = _takes_text(field)
    inputs = _inputs(f"fields.{field.name}", written, "path", told, text=text)
    return FieldRow(inputs, field.label, field.help, field.name == "event_timestamp")


def _inputs(
    name: str, written: Any, bare: str, told: Mapping[str, str], *, text: bool = True
) -> SourceInputs:
    if written is None:
        return SourceInputs(name, problem=told.get(name))
    if not isinstance(written, dict):
        written = {bare: written}
    value = written.get("const") if "const" in written else written.get("default")
    return SourceInputs(
        name,
        path=str(written.get("path") or ""),
        pipe=write_pipe(written.get("pipe")),
        # A text field shows text as typed; elsewhere 5 is a number and "5" a text.
        default=value if text and isinstance(value, str) else write_value(value),
        problem=told.get(name),
    )


def _choice(
    written: Any, name: str, choices: Mapping[str, Any], told: Mapping[str, str]
) -> tuple[str, SourceInputs]:
    constant = written.get("const") if isinstance(written, dict) else written
    if isinstance(constant, str) and constant in choices:
        return constant, SourceInputs(name, problem=told.get(name))
    inputs = _inputs(name, written, "const", told)
    return (FROM_EVENT if written is not None else ""), inputs


def _constant(written: Any) -> str:
    if isinstance(written, dict):
        written = written.get("const")
    return "" if written is None else str(written)


def _custom(number: int, written: Any, told: Mapping[str, str]) -> CustomRow:
    at = f"custom_data[{number}]"
    if not isinstance(written, dict):
        path = str(written or "")
        written = {"name": path.rpartition(".")[2], "path": path}
    name = str(written.get("name") or "")
    rest = {key: value for key, value in written.items() if key != "name"}
    problem = told.get(f"{at}.name") or told.get(f"custom_data.{name}")
    inputs = _inputs(at, rest or None, "path", told, text=False)
    return CustomRow(number, name, inputs, problem)


def _object(written: Any) -> dict[str, Any]:
    return written if isinstance(written, dict) else {}


def _list(written: Any) -> list[Any]:
    return written if isinstance(written, list) else []


def from_form(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that the form's values describe, without empty fields."""
    mode = given.get("consent", "")
    consent: dict[str, Any] = {"mode": mode}
    for name in CONSENT_SOURCES.get(mode, ()):
        if (source := _source(given, f"consent.{name}", text=True)) is not None:
            consent[name] = source
    fields = {
        name: source
        for name, field in FIELDS.items()
        if (source := _source(given, f"fields.{name}", text=_takes_text(field))) is not None
    }
    document = {
        "name": given.get("name", "").strip(),
        "action": ACTION,
        "event_type": _chosen(given, "event_type"),
        "event_source": _chosen(given, "event_source"),
        "event_name": given.get("event_name", "").strip() or None,
        "country_code": _source(given, "country_code", text=True),
        "fields": fields or None,
        "custom_data": _rows(given) or None,
        "consent": consent if mode else None,
    }
    return {name: value for name, value in document.items() if value is not None}


def _chosen(given: Mapping[str, str], name: str) -> Any:
    chosen = given.get(name, "")
    return _source(given, name, text=True) if chosen == FROM_EVENT else chosen or None


def _rows(given: Mapping[str, str]) -> list[Any]:
    numbers = sorted(
        int(name[len("custom.") : -len(".name")])
        for name in given
        if name.startswith("custom.")
        and name.endswith(".name")
        and name[7:-5].isascii()
        and name[7:-5].isdigit()
        and len(name) < _MAX_ROW_NAME
    )
    rows = []
    for number in numbers[: 4 * MAX_CUSTOM_FIELDS]:
        name = given[f"custom.{number}.name"].strip()
        source = _source(given, f"custom.{number}", text=False)
        if name or source is not None:
            rows.append({"name": name, **(source or {"path": ""})})
    return rows


def _source(given: Mapping[str, str], name: str, *, text: bool) -> dict[str, Any] | None:
    path, pipe, default = (given.get(f"{name}.{part}", "").strip() for part in ("path", "pipe", "default"))
    value = (default if text else read_value(default)) if default else None
    if not path:
        return None if value is None else {"const": value}
    source: dict[str, Any] = {"path": path}
    if pipe:
        steps = read_pipe(pipe)
        # Text that is not a pipe becomes a single step, so that validation reports it at its field.
        source["pipe"] = [pipe] if steps is None else steps
    if value is not None:
        source["default"] = value
    return source


def canonical(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with all short forms of sources expanded, so that equal documents compare equal."""
    made = dict(document)
    for name in ("event_type", "event_source", "event_name", "country_code"):
        if isinstance(made.get(name), str):
            made[name] = {"const": made[name]}
    for name in ("fields", "consent"):
        if isinstance(made.get(name), dict):
            made[name] = {
                key: {"path": one} if isinstance(one, str) and key != "mode" else one
                for key, one in made[name].items()
            }
    if isinstance(made.get("custom_data"), list):
        made["custom_data"] = [
            {"name": row.rpartition(".")[2], "path": row} if isinstance(row, str) else row
            for row in made["custom_data"]
        ]
    return made


def keep_short_forms(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return `after`, with each member that means the same as in `before` written as in `before`.

    So saving an untouched form changes nothing, whichever short forms an API caller used.
    """
    old, new = canonical(before), canonical(after)
    made = {name: before[name] if name in old and old[name] == new[name] else after[name] for name in after}
    for name in ("fields", "consent"):
        if (
            isinstance(made.get(name), dict)
            and isinstance(before.get(name), dict)
            and made[name] is after[name]
        ):
            made[name] = {
                key: before[name][key] if old[name].get(key) == new[name][key] else one
                for key, one in after[name].items()
            }
    return made
