"""Find valid settings of a mapping draft that are usually mistakes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from app.domain.conversion.amazon_codes import PURCHASE, PURCHASE_ONLY, read_country
from app.domain.conversion.consent import Mode, is_required
from app.domain.conversion.values import CHECKS, check_price
from app.domain.destination import Region
from app.domain.mapping.document import FIELDS, MATCH_KEY_FIELDS, NAMING_TRAITS, compile_parts
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.mapping.paths import last_name, parse_path
from app.domain.mapping.presets import PRESETS
from app.domain.mapping.reading import SourceFailed
from app.domain.mapping.sources import Source

LINT_WARNINGS: Final[Mapping[str, str]] = {
    "path_names_another_field": "A match key's path ends in the name of another field.",
    "custom_data_personal": "Custom data reads a field that must be hashed: email, phone, name, address.",
    "field_ignored": "This event type does not support the field.",
    "field_advised": "Events of this type need this field to be useful in reports.",
    "same_for_every_event": "The source is or can be a constant, although the value should differ per event.",
    "every_event_rejected": "Every event would be rejected.",
}

_PRESETS: Final = {preset.event_type: preset for preset in PRESETS}
_REJECTING: Final = ("value", "units_sold", "event_id")  # a constant that Amazon does not take
_DIFFERS: Final = frozenset({"event_id", *MATCH_KEY_FIELDS})


class LintWarning(NamedTuple):
    """A likely mistake: a key of `LINT_WARNINGS`, and the path in the document."""

    code: str
    field: str


def lint(document: Mapping[str, Any], region: Region) -> Iterator[LintWarning]:
    """Yield the likely mistakes of a valid draft, which may be incomplete."""
    draft = compile_parts(dict(document))
    sources = {name: source for name, source in draft.by_field.items() if name in FIELDS}
    for name, source in sources.items():
        is_other = any(word in FIELDS and word != name for word in _last_words(source.paths))
        if is_other and name in MATCH_KEY_FIELDS:
            yield LintWarning("path_names_another_field", f"fields.{name}")
    for place, row in enumerate(draft.custom_data):
        if not _last_words(row.source.clear_paths).isdisjoint(NAMING_TRAITS):
            yield LintWarning("custom_data_personal", f"custom_data[{place}]")
    event_type = _const(draft, "event_type")
    yield from _by_type(event_type, sources)
    for name in _REJECTING:
        check = check_price if name == "value" and event_type == PURCHASE else CHECKS[name]
        const = _const(draft, name)
        if const is not None and isinstance(check(const), SourceFailed):
            yield LintWarning("every_event_rejected", f"fields.{name}")
    for name in sorted(_DIFFERS & sources.keys()):
        if sources[name].constants:
            yield LintWarning("same_for_every_event", f"fields.{name}")
    country = _const(draft, "country_code")
    known = read_country(country) if isinstance(country, str) else None
    is_without = draft.consent is not None and draft.consent.mode is Mode.NONE
    if is_without and is_required(region, known or ""):
        yield LintWarning("every_event_rejected", "consent.mode")


def _const(draft: CompiledMapping, name: str) -> Any:
    source = draft.by_field.get(name)
    return None if source is None else source.const


def _by_type(event_type: Any, sources: Mapping[str, Source]) -> Iterator[LintWarning]:
    preset = _PRESETS.get(event_type) if isinstance(event_type, str) else None
    if preset is None:
        return  # the type is read from the event, so each type is possible
    if event_type != PURCHASE:
        for name in PURCHASE_ONLY:
            if name in sources:
                yield LintWarning("field_ignored", f"fields.{name}")
    for name in preset.needs:
        if name not in sources:
            yield LintWarning("field_advised", f"fields.{name}")


def _last_words(paths: tuple[str, ...]) -> set[str]:
    return {last_name(parse_path(path) or ()) for path in paths}
