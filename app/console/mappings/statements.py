"""Describe a mapping document in words: the content of a version, and the differences between two versions.
Pure.

Statements have the order of the form, not the order of the document.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.admin import catalog
from app.console.mappings.form import CHOICES, CONSENT_MEMBERS, canonical, members_of
from app.console.mappings.source_inputs import ON_ERROR
from app.console.mappings.text import write_pipe, write_value
from app.console.mappings.view import Change, changes_of
from app.domain.mapping.fields import FIELDS
from app.store.mappings import Document

_SOURCES = ("event_type", "event_source", "event_name", "country_code")
_CONSENT_MODES = {mode.value: mode.label for mode in catalog.AMAZON.consent_modes}


def statement_changes(before: Document | None, after: Document) -> list[Change]:
    """Return every difference between two mappings in words, in the order of the form.

    Without `before`, each member of `after` is a difference: the content of the mapping.
    """
    found = changes_of(_statements(before) if before else {}, _statements(after))
    return sorted(found, key=lambda change: _rank(change.place))


def _statements(document: Document) -> dict[str, str]:
    return {place: _words(place, source) for place, source in _places(canonical(document))}


def _places(document: Document) -> Iterable[tuple[str, Any]]:
    yield "name", document.get("name", "")
    for name in _SOURCES:
        if document.get(name) is not None:
            yield name, document[name]
    for name, source in members_of(document.get("fields")).items():
        if source is not None:
            yield f"fields.{name}", source
    rows = document.get("custom_data")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping):
            yield f"custom_data.{row.get('name', '')}", {k: v for k, v in row.items() if k != "name"}
    consent = members_of(document.get("consent"))
    if "mode" in consent:
        yield "consent", _CONSENT_MODES.get(consent["mode"], str(consent["mode"]))
    for name in CONSENT_MEMBERS:
        if consent.get(name) is not None:
            yield f"consent.{name}", consent[name]
    if document.get("prehashed") is not None:
        yield "prehashed", str(document["prehashed"])


_RANKS = {
    place: rank
    for rank, place in enumerate(
        [
            "name",
            *(f"fields.{name}" for name in FIELDS),
            "custom_data",
            *_SOURCES,
            "consent",
            *(f"consent.{name}" for name in CONSENT_MEMBERS),
            "prehashed",
        ]
    )
}


def _rank(place: str) -> int:
    """Return the rank of a place in the form. Custom data keeps the order of the document."""
    return _RANKS.get("custom_data" if place.startswith("custom_data.") else place, 999)


def _words(place: str, source: Any) -> str:
    if isinstance(source, str):
        return source
    choices = CHOICES.get(place, {})

    def value(written: Any) -> str:
        choice = choices.get(written) if isinstance(written, str) else None
        return choice.label if choice else str(written) if isinstance(written, str) else write_value(written)

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
    text = str(member.get("path") or member.get("template") or "")
    return f"{text}, transformed by {write_pipe(member['pipe'])}" if member.get("pipe") else text
