"""docs/event-types.md, from the presets of the event types and the checks of a mapping."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES, PURCHASE_ONLY
from app.domain.mapping.document import FIELDS, MATCH_KEY_FIELDS, Group, check_publishable
from app.domain.mapping.presets import PRESETS, Preset
from app.domain.outcomes.reasons import INGEST_REASONS

_WITHOUT: Final = {
    "event_type": "event_type_invalid",
    "event_source": "event_source_invalid",
    "event_name": None,
    "country_code": "country_missing",
    "fields.event_timestamp": "timestamp_missing",
    "fields": "no_match_key",
    "consent": "consent_missing",
}
"""Why an event without a required member is rejected; None for a constant of the mapping."""

_MONEY: Final = [name for name, field in FIELDS.items() if field.group is Group.PURCHASE]


def page() -> str:
    """Return docs/event-types.md."""
    rest = [name for name in FIELDS if name not in {*MATCH_KEY_FIELDS, *_MONEY, "event_timestamp"}]
    ignored = [f"`{warning}` for `{name}`" for name, warning in PURCHASE_ONLY.items()]
    text = Path(__file__).with_name("event_types.md").read_text()
    return text.format(
        required="\n".join(_required()),
        match_keys=_names(MATCH_KEY_FIELDS),
        warnings="the warning " + " or ".join(ignored),
        optional=_names(rest),
        types="\n".join(_type(preset) for preset in PRESETS),
        sources="\n".join(f"| `{source.value}` | {source.help} |" for source in EVENT_SOURCES.values()),
    )


def _required() -> Iterator[str]:
    for problem in check_publishable({"fields": {}}):
        reason = _WITHOUT[problem.path]
        name = "one match key in `fields`" if problem.path == "fields" else f"`{problem.path}`"
        result = (
            f"rejected with `{INGEST_REASONS[reason].word}`" if reason else "always has it: it is a constant"
        )
        yield f"| {name} | {result} |"


def _type(preset: Preset) -> str:
    kind = EVENT_TYPES[preset.event_type]
    ignored = [name for name in PURCHASE_ONLY if name not in preset.only]
    optional = [name for name in _MONEY if name not in {*preset.needs, *ignored}]
    fields = (_names(preset.needs), _names(optional), _names(ignored))
    return f"| {' | '.join((f'`{kind.value}`', kind.help, 'as above', *fields, preset.event_name))} |"


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"
