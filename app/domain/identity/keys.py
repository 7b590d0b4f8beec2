"""The types of match key, the mapping field for each type, and whether it is hashed."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

import msgspec


class MatchKeyType(StrEnum):
    """The types of match key, with Amazon's names. Source: Amazon's schema, `MatchKeyType`."""

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
    """The identity profile of a destination: how traits are normalised. Source: position P8."""

    AMAZON = "amazon"
    SEGMENT = "segment"
    AMAZON_GTM = "amazon_gtm"


@dataclass(frozen=True, slots=True)
class MatchKeyRule:
    """A mapping field that becomes a match key. `hashed` means that Amazon gets its SHA-256 digest."""

    field: str
    type: MatchKeyType
    hashed: bool


_T = MatchKeyType
_UNHASHED: Final = {_T.MAID, _T.RAMP_ID, _T.MATCH_ID, _T.REAL_ID, _T.MERKLE_ID, _T.KANTAR_ID, _T.FIP}
# In the order of match keys in an Amazon event. A field has the name of its type.
MATCH_KEYS: Final = tuple(
    MatchKeyRule(kind.lower(), kind, hashed=kind not in _UNHASHED) for kind in MatchKeyType
)
RULES_BY_FIELD: Final = {rule.field: rule for rule in MATCH_KEYS}
HASHED_FIELDS: Final = frozenset(rule.field for rule in MATCH_KEYS if rule.hashed)
ALREADY_HASHED: Final = "already_hashed"  # the rule of a match key whose trait was a digest already


class MatchKey(msgspec.Struct, frozen=True, gc=False):
    """The value of a match key for Amazon, and the name of the rule that produced it."""

    value: str
    rule: str

    def __repr__(self) -> str:
        return f"MatchKey(rule={self.rule!r})"


class DropReason(Enum):
    """The reason why a trait has no match key. It is no text, so that it is never taken for a match key."""

    EMPTY = "empty"
    PLACEHOLDER = "placeholder"
    NOT_AN_EMAIL = "not_an_email"
    IMPOSSIBLE_PHONE = "impossible_phone"
    NOT_A_UUID = "not_a_uuid"
    NOT_AN_IP_ADDRESS = "not_an_ip_address"
    NOT_A_PUBLIC_ADDRESS = "not_a_public_address"  # many people share it
    UNUSABLE_DIGEST = "unusable_digest"
    CONTROL_CHARACTER = "control_character"
    TOO_LONG = "too_long"

    __hash__ = object.__hash__  # each reason is one object; the hash of its name takes longer
