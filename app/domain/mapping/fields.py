"""The fields that a mapping can fill, in the order of the form on the mapping screen."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.identity import MATCH_KEYS


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


_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "email": ("Email", "Normalised and hashed."),
    "phone": (
        "Phone Number",
        "With country code, or national: then the event's country completes it. Hashed.",
    ),
    "first_name": ("First Name", "Normalised and hashed."),
    "last_name": ("Last Name", "Normalised and hashed."),
    "address": ("Street Address", "Normalised and hashed."),
    "city": ("City", "Normalised and hashed."),
    "state": ("State", "Two-letter code in the US and Canada; hashed."),
    "postal": ("Postal Code", "Normalised and hashed."),
    "maid": ("MAID", "Mobile advertising id (ADID, IDFA or Fire ad id); sent unchanged."),
    "ramp_id": ("RampID", "LiveRamp's id; sent unchanged."),
    "match_id": ("Match ID", "Your own opaque id, also sent by the Amazon Ad Tag; sent unchanged."),
    "real_id": ("Real ID", "Partner id; sent unchanged."),
    "merkle_id": ("Merkle ID", "Partner id; sent unchanged."),
    "kantar_id": ("Kantar ID", "Partner id; sent unchanged."),
    "fip": ("Full IP Address", "Used to match people, unlike the IP address below; sent unchanged."),
}


_ROWS: Final = (
    Field(
        "event_timestamp", Group.EVENT_ATTRIBUTE, "Event Timestamp", "time", "ISO 8601 with a zone. Required."
    ),
    *(Field(k.field, Group.MATCH_KEY, _WORDS[k.field][0], "text", _WORDS[k.field][1]) for k in MATCH_KEYS),
    Field(
        "value", Group.PURCHASE, "Value", "number", "Money for purchases, a score otherwise; two decimals."
    ),
    Field("currency", Group.PURCHASE, "Currency", "text", "Overrides the destination's; purchases only."),
    Field("units_sold", Group.PURCHASE, "Units Sold", "integer", "At least 1; purchases only."),
    Field(
        "event_id",
        Group.DELIVERY,
        "Deduplication ID",
        "text",
        "The id that the Ad Tag sends for the same event; derived if left out.",
    ),
    Field(
        "ip_address",
        Group.DELIVERY,
        "IP Address",
        "text",
        "Public address; sent in addition to the consent signal.",
    ),
    Field("user_agent", Group.DELIVERY, "User Agent", "text", "At most 512 characters."),
    Field(
        "limited_data_use",
        Group.DELIVERY,
        "Limited Data Use",
        "boolean",
        "Amazon stores the event but does not use it.",
    ),
    Field(
        "amazon_ad_event_key",
        Group.DELIVERY,
        "Amazon Ad Event Key",
        "text",
        "Amazon's own id of the ad event.",
    ),
    Field(
        "aref_measurement_tokens", Group.DELIVERY, "Measurement Tokens", "text", "From the ad click's aref."
    ),
)

FIELDS: Final[Mapping[str, Field]] = {row.name: row for row in _ROWS}
MATCH_KEY_FIELDS: Final = tuple(rule.field for rule in MATCH_KEYS)
