"""The result of each row of the mapping form, from the preview of a sample event. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.mappings.text import write_value
from app.domain.identity import Profile
from app.domain.mapping.fields import FIELDS
from app.domain.observed.preview import FieldPreview

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
    """The result of a field for the sample event. `input` is the name of the field's row on the form."""

    input: str
    rule: str  # the rule that was applied, shown as a tooltip
    text: str
    note: str
    tone: str


def field_results(fields: Sequence[FieldPreview], custom: Mapping[str, int]) -> dict[str, FieldResult]:
    """Return the results by row of the form. `custom` maps each custom data name to its row number."""
    results = (_result(field, custom) for field in fields)
    return {result.input: result for result in results}


def _result(field: FieldPreview, custom: Mapping[str, int]) -> FieldResult:
    text = _text(field.result)
    # A normalisation rule has a name such as `amazon.email`.
    normalised = "normalised and hashed" if text.startswith("sha256:") else "normalised"
    return FieldResult(
        input=row_of(field.field, custom),
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


def _text(result: Any) -> str:
    if result is None:
        return ""
    return result if isinstance(result, str) else write_value(result)
