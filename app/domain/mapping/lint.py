"""Find valid settings of a mapping draft that are usually mistakes."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.domain.conversion.consent import Mode, is_required
from app.domain.conversion.countries import read_country
from app.domain.conversion.event_types import PURCHASE
from app.domain.destination import Region
from app.domain.mapping.document import NAMING_TRAITS
from app.domain.mapping.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.mapping.paths import last_name, parse_path
from app.domain.mapping.presets import PRESETS

LINT_WARNINGS: Final[Mapping[str, str]] = {
    "path_names_another_field": "A match key's path ends in the name of another field.",
    "custom_data_personal": "Custom data reads a field that must be hashed: email, phone, name, address.",
    "field_ignored": "This event type does not support the field.",
    "field_advised": "Events of this type need this field to be useful in reports.",
    "same_for_every_event": "The source is a constant although the value should differ per event.",
    "every_event_rejected": "Every event would be rejected.",
}

_PRESETS: Final = {preset.event_type: preset for preset in PRESETS}
_ONLY_WITH_PURCHASES: Final = _PRESETS[PURCHASE].only
_DIFFERS: Final = frozenset({"event_id", *MATCH_KEY_FIELDS})


class LintWarning(NamedTuple):
    """A likely mistake: a key of `LINT_WARNINGS`, and the path in the document."""

    code: str
    field: str


def lint(document: Mapping[str, Any], region: Region) -> Iterator[LintWarning]:
    """Yield the likely mistakes of a draft, which may be incomplete."""
    written = document.get("fields")
    fields = (
        {name: member for name, member in written.items() if member is not None}
        if isinstance(written, dict)
        else {}
    )
    yield from _by_paths(fields, document.get("custom_data"))
    yield from _by_type(constant_of(document.get("event_type"), bare="const"), fields)
    for name in sorted(_DIFFERS & fields.keys()):
        if constant_of(fields[name], bare="path") is not None:
            yield LintWarning("same_for_every_event", f"fields.{name}")
    consent = document.get("consent")
    country = constant_of(document.get("country_code"), bare="const")
    known = read_country(country) if isinstance(country, str) else None
    if isinstance(consent, dict) and consent.get("mode") == Mode.NONE:  # noqa: SIM102
        if is_required(region, known.code if known else ""):
            yield LintWarning("every_event_rejected", "consent.mode")


def _by_paths(fields: Mapping[str, Any], rows: Any) -> Iterator[LintWarning]:
    for name, source in fields.items():
        word = _last_word(source)
        if name in MATCH_KEY_FIELDS and word in FIELDS and word != name:
            yield LintWarning("path_names_another_field", f"fields.{name}")
    for place, row in enumerate(rows if isinstance(rows, list) else ()):
        hashed = isinstance(row, dict) and "sha256_lower" in (row.get("pipe") or ())
        if _last_word(row) in NAMING_TRAITS and not hashed:
            yield LintWarning("custom_data_personal", f"custom_data[{place}]")


def _by_type(event_type: Any, fields: Mapping[str, Any]) -> Iterator[LintWarning]:
    preset = _PRESETS.get(event_type) if isinstance(event_type, str) else None
    if preset is None:
        return  # the type is read from the event, so each type is possible
    if event_type != PURCHASE:
        for name in _ONLY_WITH_PURCHASES:
            if name in fields:
                yield LintWarning("field_ignored", f"fields.{name}")
    elif isinstance(value := constant_of(fields.get("value"), bare="path"), int | Decimal) and value < 0:
        yield LintWarning("every_event_rejected", "fields.value")
    for name in preset.needs:
        if name not in fields:
            yield LintWarning("field_advised", f"fields.{name}")


def constant_of(source: Any, *, bare: str) -> Any:
    """Return the constant of a source, or None if it reads the event.

    `bare` says how to read a source that is not an object: "const" for a constant, "path" for a path.
    """
    if isinstance(source, dict):
        return source.get("const")
    return source if bare == "const" else None


def _last_word(source: Any) -> str | None:
    path = source.get("path") if isinstance(source, dict) else source
    return last_name(parse_path(path) or ()) if isinstance(path, str) else None
