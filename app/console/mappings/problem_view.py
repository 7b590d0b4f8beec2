"""The view of problems in a mapping document: label, sentence and anchor. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain.mapping.fields import FIELDS

_LABELS: Mapping[str, str] = {
    "": "The mapping",
    "name": "Mapping name",
    "action": "Action",
    "event_type": "Event Type",
    "event_source": "Event Source",
    "event_name": "Event Name",
    "country_code": "Country Code",
    "fields": "Match Keys",
    "custom_data": "Custom Data Fields",
    "consent": "Consent",
    "consent.mode": "Consent",
    "prehashed": "Match keys that come hashed",
    "consent.user_data": "Consent: user data",
    "consent.ad_storage": "Consent: ad storage",
    "consent.string": "Consent string",
}
_PARTS: Mapping[str, str] = {
    "pipe": "transform",
    "path": "event field",
    "default": "default value",
    "const": "value",
    "template": "text with placeholders",
    "first_of": "source",
    "on_error": "if unreadable",
}
_PART = re.compile(rf"^(.+)\.({'|'.join(_PARTS)})(?:\[(\d+)\])?$")
_ROW = re.compile(r"^custom_data\[(\d+)\](?:\.name)?$")
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


def label(place: str) -> str:
    """Return the form's label of a place in a mapping document."""
    if place in _LABELS:
        return _LABELS[place]
    if part := _PART.match(place):
        number = f" {int(part[3]) + 1}" if part[2] == "first_of" and part[3] else ""
        return f"{label(part[1])}, {_PARTS[part[2]]}{number}"
    if row := _ROW.match(place):
        return f"Custom Data Fields, row {int(row[1]) + 1}"
    name = place.removeprefix("fields.")
    if name in FIELDS and name != place:
        return FIELDS[name].label
    if place.startswith("custom_data."):
        return f"Custom data: {place.removeprefix('custom_data.')}"
    return place


def problem_views(problems: Iterable[tuple[str, str]]) -> list[ProblemView]:
    """Return the views of the problems of a document. Each problem is a pair of place and sentence."""
    return [
        ProblemView(label(place), _sentence(place, sentence), _anchor(place)) for place, sentence in problems
    ]


def _sentence(place: str, sentence: str) -> str:
    # The form's own limits prevent every problem of a name except a blank name.
    if place == "name":
        return "Required."
    # The API's sentence repeats the member's name, but the page already shows its label.
    return "Required." if sentence == f"To publish, a mapping needs {place}." else sentence


def _anchor(place: str) -> str:
    top = re.split(r"[.\[]", place, maxsplit=1)[0]
    return f"f-{top}" if top in _INPUTS else _SECTIONS.get(top, "mapping")
