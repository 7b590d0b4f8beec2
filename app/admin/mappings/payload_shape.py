"""Use case: list the fields of an event's payload, without values, from the event's mapping version."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.admin.context import AppContext
from app.domain.identity import MATCH_KEYS
from app.domain.ids import MappingId
from app.domain.mapping.document import compile_parts
from app.domain.mapping.fields import FIELDS, Group
from app.store import mappings
from app.store.destinations.destinations import Destination

_WIRE = {rule.field: rule.type.value for rule in MATCH_KEYS}
_TOP = ("event_type", "event_source", "event_name", "country_code")


@dataclass(frozen=True, slots=True)
class PayloadField:
    """A field of the payload. `source` is a path of the event, None for a constant.

    `is_sent` says whether the event has this match key. It is None for all other fields.
    """

    name: str
    label: str
    type: str
    source: str | None
    is_match_key: bool
    is_sent: bool | None


async def payload_shape(
    context: AppContext,
    destination: Destination,
    mapping_id: str | None,
    version: int | None,
    match_keys: Collection[str],
) -> list[PayloadField]:
    """Return the fields that a mapping version sends; empty if the version was deleted."""
    if mapping_id is None or version is None:
        return []
    async with context.engine.connect() as connection:
        mapping = await mappings.find(connection, destination.id, mapping_id)
        found = await mappings.version(connection, MappingId(mapping_id), version) if mapping else None
    return [] if found is None else list(fields_of(found.document, match_keys))


def fields_of(document: Mapping[str, Any], match_keys: Collection[str]) -> Iterator[PayloadField]:
    """Yield the fields of a mapping document, match keys in the order of the form."""
    mapping = compile_parts(dict(document))
    sources = mapping.by_field
    for name in _TOP:
        if name in document:
            label, path = name.replace("_", " ").title(), sources[name].path if name in sources else None
            yield PayloadField(name, label, "text", path, False, None)
    for name, field in FIELDS.items():
        if name in sources:
            is_key = field.group is Group.MATCH_KEY
            is_sent = _WIRE[name] in match_keys if is_key else None
            yield PayloadField(name, field.label, field.takes, sources[name].path, is_key, is_sent)
    for row in mapping.custom_data:
        yield PayloadField(row.name, row.name, "custom data", row.source.path, False, None)
