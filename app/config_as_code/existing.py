"""The stored configuration: read it, and write it as a file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import yaml
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.destinations.settings import settings_of
from app.admin.incidents import NotificationPreference
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.config_as_code.file import VERSION
from app.domain.destination import State
from app.domain.incidents.thresholds import MUTED_UNTIL
from app.store import driver_of, mappings
from app.store.destinations import destinations
from app.store.destinations.destinations import Destination
from app.store.incidents import alerting
from app.store.incidents.alerting import DEFAULT_ROW, AlertingRow
from app.store.mappings import StoredMapping

# The order in which people write the members of a mapping.
_ORDER = tuple(DOCUMENT_SCHEMA["properties"])


@dataclass(frozen=True, slots=True)
class ExistingConfiguration:
    """All stored destinations and mappings, including archived ones, and alerting by destination id."""

    destinations: Sequence[Destination]
    mappings: Sequence[StoredMapping]
    alerting: Mapping[str, AlertingRow]


async def stored_configuration(connection: AsyncConnection) -> ExistingConfiguration:
    """Return the configuration of the acting organisation."""
    found = await destinations.everything(connection)
    rows = await alerting.read_all(await driver_of(connection), [each.id for each in found])
    return ExistingConfiguration(found, await mappings.everything(connection), rows)


def export(stored: ExistingConfiguration, *, ids: bool = True) -> str:
    """Return a YAML file with the stored configuration. Archived entries are left out.

    For a published mapping, the file has the published version and not the draft. A file without `ids` can be
    applied to another instance. That instance matches the entries by their names.
    """
    entries = [
        _destination(
            each,
            [mapping for mapping in stored.mappings if mapping.destination == each.id],
            stored.alerting.get(each.id, DEFAULT_ROW),
            ids=ids,
        )
        for each in stored.destinations
        if each.state is not State.ARCHIVED
    ]
    return yaml.dump(
        {"version": VERSION, "destinations": entries},
        Dumper=_Plain,
        sort_keys=False,
        allow_unicode=True,
        width=110,
    )


def alerting_members(row: AlertingRow) -> dict[str, Any]:
    """Return the members `alerting` and `notifications` of a destination in the file."""
    return {
        "alerting": {name: value for name, value in row.alerting.items() if name != MUTED_UNTIL},
        "notifications": NotificationPreference.of(row.preference).model_dump(),
    }


def _destination(
    destination: Destination, mappings: Sequence[StoredMapping], row: AlertingRow, *, ids: bool
) -> dict[str, Any]:
    settings = asdict(settings_of(destination))
    per_second = destination.rate_limit.requests_per_second
    if per_second.is_integer():
        settings["rate_limit"]["requests_per_second"] = int(per_second)
    members = {
        "id": destination.id if ids else None,
        **settings,
        "status_callback": destination.status_callback,
        **alerting_members(row),
        "mappings": [_mapping(mapping, ids=ids) for mapping in mappings if mapping.archived_at is None],
    }
    return {name: value for name, value in members.items() if value is not None}


def _mapping(mapping: StoredMapping, *, ids: bool) -> dict[str, Any]:
    document = mapping.draft if mapping.published is None else mapping.published
    members: dict[str, Any] = {"id": mapping.id} if ids else {}
    if mapping.published is None:
        members["published"] = False
    return members | {name: document[name] for name in (*_ORDER, *document) if name in document}


class _Plain(yaml.SafeDumper):
    """Writes plain values without aliases. It quotes texts that YAML 1.1 would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = f"{value:f}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else f"{text}.0")


_Plain.add_representer(Decimal, _number)
_Plain.add_multi_representer(StrEnum, lambda dumper, value: dumper.represent_str(value.value))
