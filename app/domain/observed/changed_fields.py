"""Find the fields that two mappings may fill with different values. A field with the same source has none."""

from typing import Final

from app.domain.identity import MATCH_KEYS
from app.domain.mapping.document import Mapping
from app.domain.mapping.sources import Source

NO_KEY: Final = "no_match_key"
KEYS: Final = {rule.field: rule.type.value for rule in MATCH_KEYS}
# Fields whose value depends on another field.
_BY_COUNTRY: Final = frozenset({"phone", "address", "state", "postal", "consent"})
REJECTING: Final = frozenset(
    {"event_type", "event_source", "country_code", "consent", "event_timestamp", "limited_data_use"}
    | {"value", "currency", "units_sold", "event_id"}
)
_BY_TYPE: Final = frozenset({"value", "currency", "units_sold"})


def changed_fields(was: Mapping, becomes: Mapping) -> set[str]:
    """Return the fields that two mappings may fill with different values."""
    before, after = dict(was.sources), dict(becomes.sources)
    changed = {
        field_of(name)
        for name in before.keys() | after.keys()
        if not _is_same(before.get(name), after.get(name))
    }
    if was.consent.mode is not becomes.consent.mode:
        changed.add("consent")
    if "country_code" in changed:
        changed |= _BY_COUNTRY
    if "event_type" in changed:
        changed |= _BY_TYPE
    if "refuse" in {was.prehashed, becomes.prehashed} and was.prehashed != becomes.prehashed:
        changed |= {rule.field for rule in MATCH_KEYS if rule.hashed}
    if changed & KEYS.keys():
        changed.add(NO_KEY)
    return changed


def _is_same(was: Source | None, becomes: Source | None) -> bool:
    """Return whether two sources give the same value for each event."""
    return was is becomes or (
        was is not None
        and becomes is not None
        and all(
            getattr(was, name) == getattr(becomes, name)
            for name in ("paths", "const", "default", "fallbacks", "pipe", "on_error")
        )
    )


def field_of(name: str) -> str:
    return "consent" if name.startswith("consent") else name
