"""The advertisers of this sandbox, and their visibility to sign-ins.

A sign-in sees every advertiser of its region that is not hidden. The list is in memory and, if a path is
given, in a JSON file that each change replaces atomically.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

from sandbox.vocabulary import COUNTRIES, CURRENCIES

Region = Literal["NA", "EU", "FE"]

_DIGITS: Final = re.compile(r"[0-9]{1,32}", re.ASCII).fullmatch
GLOBAL_ID_PREFIX: Final = "amzn1.ads-account.g."
_REGION: Final[dict[str, Region]] = {"NA": "NA", "EU": "EU", "FE": "FE"}


class Advertiser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One DSP advertiser. `advertiser_id` is the numeric id for the AccountId header."""

    advertiser_id: str
    region: Region
    name: str = ""
    currency: str = "USD"
    country: str = "US"
    timezone: str = "UTC"
    hidden: bool = False

    @classmethod
    def of(cls, advertiser_id: str, region: str) -> "Advertiser":
        """Create an advertiser with the usual currency and country of its region."""
        place = _REGION[region]
        _, country, currency = PROFILES[place]
        name = f"Advertiser {advertiser_id}"
        return cls(advertiser_id=advertiser_id, region=place, name=name, currency=currency, country=country)

    @property
    def global_id(self) -> str:
        """The Ads-API-wide id of the same advertiser; the events call accepts it too."""
        return f"{GLOBAL_ID_PREFIX}{self.advertiser_id}"

    def problem(self) -> str | None:
        """Return the problem of a new advertiser's description, or None."""
        if not _DIGITS(self.advertiser_id):
            return "advertiser_id must be digits"
        if self.currency not in CURRENCIES:
            return "currency is not one of Amazon's"
        if self.country not in COUNTRIES:
            return "country is not one of Amazon's"
        return None


PROFILES: Final[dict[Region, tuple[int, str, str]]] = {
    "NA": (4_000_001, "US", "USD"),
    "EU": (4_000_002, "DE", "EUR"),
    "FE": (4_000_003, "JP", "JPY"),
}
"""The one agency profile of each region: id, country, currency."""


def _examples() -> Iterable[Advertiser]:
    rows: tuple[tuple[str, Region, str, str, str], ...] = (
        ("1000000001", "NA", "Example Outfitters", "USD", "US"),
        ("1000000002", "NA", "Example Bikes", "USD", "US"),
        ("1000000003", "NA", "Example Maple", "CAD", "CA"),
        ("2000000001", "EU", "Beispiel Versand", "EUR", "DE"),
        ("2000000002", "EU", "Example Tea", "GBP", "GB"),
        ("3000000001", "FE", "Example Denki", "JPY", "JP"),
        ("3000000002", "FE", "Example Surf", "AUD", "AU"),
    )
    for advertiser_id, region, name, currency, country in rows:
        yield Advertiser(
            advertiser_id=advertiser_id, region=region, name=name, currency=currency, country=country
        )


@dataclass(slots=True)
class Advertisers:
    """The advertisers by region."""

    path: Path | None = None
    _known: dict[tuple[str, str], Advertiser] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in _examples():
            self._known[one.region, one.advertiser_id] = one
        if self.path is not None and self.path.exists():
            for one in msgspec.json.decode(self.path.read_bytes(), type=list[Advertiser]):
                self._known[one.region, one.advertiser_id] = one

    def add(self, added: Iterable[Advertiser]) -> None:
        """Add advertisers, or replace advertisers with the same region and id."""
        for one in added:
            self._known[one.region, one.advertiser_id] = one
        if self.path is not None:
            draft = self.path.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(self.all()))
            os.replace(draft, self.path)

    def all(self) -> list[Advertiser]:
        return list(self._known.values())

    def known(self, region: str, advertiser_id: str) -> Advertiser | None:
        """Return the advertiser of a numeric id, hidden or not."""
        return self._known.get((region, advertiser_id))

    def welcome(self, region: str, asked_for: Iterable[str]) -> None:
        """Add advertisers for numeric ids that no region knows and make them visible.

        Users can therefore try the product with the id of their account. Hidden advertisers and advertisers
        of another region stay invisible.
        """
        strangers = [
            Advertiser.of(one, region)
            for one in asked_for
            if _DIGITS(one) and not any((place, one) in self._known for place in PROFILES)
        ]
        if strangers:
            self.add(strangers)

    def visible(self, region: str) -> list[Advertiser]:
        """Return the advertisers that a sign-in of `region` sees, in insertion order."""
        return [one for one in self._known.values() if one.region == region and not one.hidden]

    def find(self, region: str, account_id: str) -> Advertiser | None:
        """Return the visible advertiser of a numeric or global id, or None."""
        one = self._known.get((region, account_id.removeprefix(GLOBAL_ID_PREFIX)))
        return None if one is None or one.hidden else one
