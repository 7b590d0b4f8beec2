"""The fields that a mapping can fill, in the order of the form on the mapping screen (`fields.toml`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.identity.keys import MATCH_KEYS
from app.domain.toml_files import read_toml


class Group(StrEnum):
    """The groups of fields on the mapping screen, which calls DELIVERY "Additional Settings"."""

    EVENT_ATTRIBUTE = "event_attribute"
    MATCH_KEY = "match_key"
    PURCHASE = "purchase"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a mapping: its type, its label, and the help text of the form."""

    name: str
    group: Group
    label: str
    takes: str  # 'time' | 'text' | 'number' | 'integer' | 'boolean'
    help: str


_FILE: Final = read_toml(__file__)
FIELDS: Final[Mapping[str, Field]] = {
    name: Field(name, Group(group), label, takes, text)
    for name, (group, takes, label, text) in _FILE["fields"].items()
}
MATCH_KEY_FIELDS: Final = tuple(rule.field for rule in MATCH_KEYS)
