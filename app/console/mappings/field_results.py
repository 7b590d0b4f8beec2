"""What the mapping form says at its rows: results for a sample event, suggestions, and problems. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.console.mappings.inputs import write_value
from app.console.wording import place_label, share
from app.domain.identity.keys import Profile
from app.domain.mapping.document import FIELDS
from app.domain.mapping.sources import MappingProblem
from app.domain.observed.preview import FieldPreview
from app.domain.suggestions.suggest import Suggestion
from app.domain.toml_files import read_toml

# The section of the form for each member that is not a labelled input.
_SECTIONS: Mapping[str, str] = {
    "fields": "fields",
    "custom_data": "fields",
    "country_code": "settings",
    "consent": "consent",
    "prehashed": "fields",
}
_INPUTS = ("name", "event_type", "event_source", "event_name")


@dataclass(frozen=True, slots=True)
class ProblemView:
    """One problem. `anchor` is the id of its element on the form."""

    label: str
    sentence: str
    anchor: str


def problem_view(place: str, sentence: str) -> ProblemView:
    """Return the view of a problem at a place in a document."""
    # The form's own limits prevent every problem of a name except a blank name. The API's sentence repeats
    # the member's name, but the page already shows its label.
    is_blank = place == "name" or sentence == f"To publish, a mapping needs {place}."
    top = re.split(r"[.\[]", place, maxsplit=1)[0]
    anchor = f"f-{top}" if top in _INPUTS else _SECTIONS.get(top, "mapping")
    return ProblemView(place_label(place), "Required." if is_blank else sentence, anchor)


def problem_views(problems: Iterable[MappingProblem]) -> list[ProblemView]:
    """Return the views of the problems of a document."""
    return [problem_view(problem.path, problem.sentence) for problem in problems]


_CUSTOM = "custom_data."
NO_ROWS: Mapping[str, int] = {}
_is_normaliser = re.compile(rf"(?:{'|'.join(Profile)})\.\w+", re.ASCII).fullmatch
# The labels of rules. A function of a pipe has no label and is shown by its name.
_RULE_LABELS: Mapping[str, str] = {
    "": "unchanged",
    "const": "constant",
    "absent": "absent",
    "dropped": "invalid, left out",
    "gate": "consent checked",
}


@dataclass(frozen=True, slots=True)
class FieldResult:
    """The result of a field for the sample event."""

    rule: str  # the rule that was applied, shown as a tooltip
    text: str
    note: str
    tone: str


def field_results(fields: Sequence[FieldPreview], custom: Mapping[str, int]) -> dict[str, FieldResult]:
    """Return the results by row of the form. `custom` maps each custom data name to its row number."""
    return {row_of(field.field, custom): _result(field) for field in fields}


def _result(field: FieldPreview) -> FieldResult:
    text = field.result if isinstance(field.result, str) else write_value(field.result)
    # A normalisation rule has a name such as `amazon.email`.
    normalised = "normalised and hashed" if text.startswith("sha256:") else "normalised"
    return FieldResult(
        rule=_RULE_LABELS.get(field.rule) or (normalised if _is_normaliser(field.rule) else field.rule),
        text=text,
        note=field.note or ("Sent unchanged; not shown here." if field.result == "…" else ""),
        tone="bad" if field.rejects else "warn" if field.note else "good",
    )


def row_of(field: str, custom: Mapping[str, int] = NO_ROWS) -> str:
    """Return the name of a field's row on the form. `custom` maps custom data names to row numbers."""
    if field in FIELDS:
        return f"fields.{field}"
    if field.startswith(_CUSTOM):
        return f"custom.{custom.get(field.removeprefix(_CUSTOM), '')}"
    return field


UNDECIDED: Final[Mapping[str, str]] = read_toml(__file__)


def reasons_of(suggestion: Suggestion) -> Mapping[str, str]:
    """Return why each row is suggested, by the name of the row on the form."""
    custom = {row["name"]: number for number, row in enumerate(suggestion.mapping.get("custom_data", ()))}
    return {
        row_of(row.field, custom): row.reason
        + ("" if row.share == 1 else f" Usable in {share(round(row.share * 10_000), 10_000)} of the events.")
        for row in suggestion.rows
    }


def undecided_of(suggestion: Suggestion) -> list[ProblemView]:
    """Return what a person must decide before the suggested mapping is published."""
    return [problem_view(row_of(each.field), UNDECIDED[each.reason]) for each in suggestion.undecided]
