"""Writing what is there as a configuration file, such that applying it anywhere gives the same file again."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import yaml

from app.config_as_code.model import VERSION
from app.domain.destination import State
from app.store.destinations import Destination
from app.store.mappings import StoredMapping

# As a person would write a mapping: what it is called, what it is, what it reads.
_ORDER = (
    "name",
    "action",
    "event_type",
    "event_source",
    "event_name",
    "country_code",
    "fields",
    "custom_data",
    "consent",
)


def export(
    destinations: Sequence[Destination], mappings: Sequence[StoredMapping], *, ids: bool = True
) -> str:
    """Return the file of these destinations and mappings, without what was deleted and without secrets.

    A published mapping is written as events use it, whatever its draft holds meanwhile. Without `ids`
    things are told apart by name, so that the file serves another instance.
    """
    told = [
        _destination(one, [each for each in mappings if each.destination == one.id], ids=ids)
        for one in destinations
        if one.state is not State.ARCHIVED
    ]
    return yaml.dump(
        {"version": VERSION, "destinations": told},
        Dumper=_Plain,
        sort_keys=False,
        allow_unicode=True,
        width=110,
    )


def _destination(one: Destination, mappings: Sequence[StoredMapping], *, ids: bool) -> dict[str, Any]:
    rate = one.rate.requests_per_second
    said = {
        "id": one.id if ids else None,
        "name": one.name,
        "advertiser_id": str(one.advertiser_id),
        "region": one.region.value,
        "currency": one.currency,
        "identity_profile": one.identity_profile,
        "dataset_name": one.dataset_name,
        "rate_limit": {
            "requests_per_second": int(rate) if rate == int(rate) else rate,
            "burst": one.rate.burst,
        },
        "status_callback": one.status_callback,
        "mappings": [_mapping(each, ids=ids) for each in mappings if each.archived_at is None],
    }
    return {name: value for name, value in said.items() if value is not None}


def _mapping(one: StoredMapping, *, ids: bool) -> dict[str, Any]:
    document = one.draft if one.published is None else one.published
    said: dict[str, Any] = {"id": one.id} if ids else {}
    if one.published is None:
        said["published"] = False
    said |= {name: document[name] for name in _ORDER if name in document}
    return said | {name: value for name, value in document.items() if name not in _ORDER}


class _Plain(yaml.SafeDumper):
    """Writes plain values; what YAML 1.1 would read as something else stands in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = f"{value:f}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else f"{text}.0")


_Plain.add_representer(Decimal, _number)
