"""Write the stored configuration as a file."""

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from enum import StrEnum
from typing import Any

import yaml

from app.admin.destinations.settings import settings_of
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.config_as_code.file import VERSION
from app.config_as_code.plan import ExistingConfiguration, alerting_members
from app.domain.destination import State
from app.store.destinations.destinations import Destination
from app.store.incidents.alerting import DEFAULT_ROW, AlertingRow
from app.store.mappings import StoredMapping

# The order in which people write the members of a mapping.
_ORDER = tuple(DOCUMENT_SCHEMA["properties"])


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


def _destination(
    destination: Destination, mappings: Sequence[StoredMapping], row: AlertingRow, *, ids: bool
) -> dict[str, Any]:
    rate = destination.rate_limit
    per_second = rate.requests_per_second
    members = {
        "id": destination.id if ids else None,
        **asdict(settings_of(destination)),
        "rate_limit": {
            "requests_per_second": int(per_second) if per_second.is_integer() else per_second,
            "burst": rate.burst,
        },
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
    members |= {name: document[name] for name in _ORDER if name in document}
    return members | {name: value for name, value in document.items() if name not in _ORDER}


class _Plain(yaml.SafeDumper):
    """Writes plain values without aliases. It quotes texts that YAML 1.1 would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = f"{value:f}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else f"{text}.0")


_Plain.add_representer(Decimal, _number)
_Plain.add_multi_representer(StrEnum, lambda dumper, value: dumper.represent_str(value.value))
