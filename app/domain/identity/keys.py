"""Match keys: wire type, the mapping field that supplies them, and whether they are hashed."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class MatchKeyType(StrEnum):
    """The kinds of match key, by their names on the wire. Source: Amazon's schema, `MatchKeyType`."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    FIRST_NAME = "FIRST_NAME"
    LAST_NAME = "LAST_NAME"
    ADDRESS = "ADDRESS"
    CITY = "CITY"
    STATE = "STATE"
    POSTAL = "POSTAL"
    MAID = "MAID"
    RAMP_ID = "RAMP_ID"
    MATCH_ID = "MATCH_ID"
    REAL_ID = "REAL_ID"
    MERKLE_ID = "MERKLE_ID"
    KANTAR_ID = "KANTAR_ID"
    FIP = "FIP"


class Profile(StrEnum):
    """The rules that turn a trait into a match key; chosen per destination. Source: position P8."""

    AMAZON = "amazon"
    SEGMENT = "segment"
    AMAZON_GTM = "amazon_gtm"


@dataclass(frozen=True, slots=True)
class MatchKeyRule:
    """A mapping field with a match key: the field's name, the wire type, and whether it is hashed."""

    field: str
    type: MatchKeyType
    hashed: bool


# In the order in which events are sent.
MATCH_KEYS: Final[tuple[MatchKeyRule, ...]] = (
    MatchKeyRule("email", MatchKeyType.EMAIL, hashed=True),
    MatchKeyRule("phone", MatchKeyType.PHONE, hashed=True),
    MatchKeyRule("first_name", MatchKeyType.FIRST_NAME, hashed=True),
    MatchKeyRule("last_name", MatchKeyType.LAST_NAME, hashed=True),
    MatchKeyRule("address", MatchKeyType.ADDRESS, hashed=True),
    MatchKeyRule("city", MatchKeyType.CITY, hashed=True),
    MatchKeyRule("state", MatchKeyType.STATE, hashed=True),
    MatchKeyRule("postal", MatchKeyType.POSTAL, hashed=True),
    MatchKeyRule("maid", MatchKeyType.MAID, hashed=False),
    MatchKeyRule("ramp_id", MatchKeyType.RAMP_ID, hashed=False),
    MatchKeyRule("match_id", MatchKeyType.MATCH_ID, hashed=False),
    MatchKeyRule("real_id", MatchKeyType.REAL_ID, hashed=False),
    MatchKeyRule("merkle_id", MatchKeyType.MERKLE_ID, hashed=False),
    MatchKeyRule("kantar_id", MatchKeyType.KANTAR_ID, hashed=False),
    MatchKeyRule("fip", MatchKeyType.FIP, hashed=False),
)


@dataclass(frozen=True, slots=True)
class MatchKey:
    """A match key's wire value and the name of the rule that produced it. The value is left out of `repr`."""

    value: str = field(repr=False)
    rule: str


class DropReason(StrEnum):
    """Why a trait has no match key."""

    EMPTY = "empty"
    PLACEHOLDER = "placeholder"
    NOT_AN_EMAIL = "not_an_email"
    IMPOSSIBLE_PHONE = "impossible_phone"
    NOT_A_UUID = "not_a_uuid"
    NOT_AN_IP_ADDRESS = "not_an_ip_address"
    UNUSABLE_DIGEST = "unusable_digest"
    CONTROL_CHARACTER = "control_character"
    TOO_LONG = "too_long"
    PERSONAL = "personal"  # an id that is sent unhashed and contains an e-mail address


@dataclass(frozen=True, slots=True)
class DroppedKey:
    """A trait without a match key, with the reason code; never a value."""

    why: DropReason
