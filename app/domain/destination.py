"""A destination: an advertiser's account at Amazon, its region and its state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.ids import AdvertiserId


class Region(StrEnum):
    """The region of the DSP account. It alone determines Amazon's host (contract §1)."""

    NA = "NA"
    EU = "EU"
    FE = "FE"


REGION_NAMES: Mapping[Region, str] = {Region.NA: "North America", Region.EU: "Europe", Region.FE: "Far East"}


class State(StrEnum):
    """The state of a destination, which the database derives from other columns.

    It depends on the sign-in to Amazon, the pause, the published mappings and the archiving.
    """

    DRAFT = "draft"
    CONNECTED = "connected"
    ACTIVE = "active"
    PAUSED = "paused"
    NEEDS_RECONNECT = "needs_reconnect"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class RequestRate:
    """The maximum request rate to Amazon, and how many requests may follow each other at once."""

    requests_per_second: float
    burst: int

    def lowest(self, other: "RequestRate") -> "RequestRate":
        """Return the lower rate and the lower burst of both."""
        rate = min(self.requests_per_second, other.requests_per_second)
        return RequestRate(rate, min(self.burst, other.burst))


DEFAULT_RATE = RequestRate(requests_per_second=5.0, burst=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSettings:
    """What a caller sets of a destination.

    Requests, responses, the table, forms, the audit and configuration files follow the fields of this class.
    """

    name: str
    advertiser_id: AdvertiserId
    region: Region
    currency: str
    identity_profile: str
    dataset_name: str | None
    rate_limit: RequestRate


# P2: digits, or the global account id. ASCII only, because the id is sent in a header.
_ADVERTISER_ID = re.compile(r"(?:[0-9]{1,32}|amzn1\.ads-account\.g\.[A-Za-z0-9]{1,100})", re.ASCII)
_DATASET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{4,99}", re.ASCII)  # P13


def advertiser_id_problem(text: str) -> str | None:
    """Return a sentence for the operator if the advertiser id is invalid, else None (P2)."""
    if _ADVERTISER_ID.fullmatch(text):
        return None
    if text.upper().startswith("ENTITY"):
        return (
            "This is an entity id. Amazon requires the advertiser ID: in the DSP console open Advertisers; "
            "it is the numeric ID next to the advertiser's name."
        )
    return "An advertiser ID has up to 32 digits, or starts with amzn1.ads-account.g."


def dataset_name_problem(text: str) -> str | None:
    """Return a sentence for the operator if the dataset name is invalid, else None (P13)."""
    if _DATASET_NAME.fullmatch(text):
        return None
    return "A dataset name starts with a letter and has 5 to 100 letters, digits, '_' or '-'."
