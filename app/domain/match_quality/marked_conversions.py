"""Marked conversions with invented identities, for a test at Amazon, which has no test mode."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from app.domain.conversion.consent import GRANTED_PAIR
from app.domain.destination import Region

EVENT_TYPE: Final = "OTHER"
MARK: Final = {"name": "test_conversion", "value": "true"}
_COUNTRIES: Final = {Region.NA: "US", Region.EU: "DE", Region.FE: "JP"}
_AGE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class MarkedConversion:
    """A conversion of an invented person, with its Amazon eventId."""

    event_id: str
    body: bytes = field(repr=False)


def marked_conversions(
    tokens: Sequence[str], *, region: Region, event_name: str, dataset_name: str, now: datetime
) -> list[MarkedConversion]:
    """Return a conversion for each token, which is random text: its id and its invented address."""
    description = {
        "name": event_name,
        "conversionType": EVENT_TYPE,
        "eventSource": "WEBSITE",
        "eventIngestionMethod": "SERVER_TO_SERVER",
        "dataSetName": dataset_name,
    }
    at = (now - _AGE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for token in tokens:
        address = f"test-{token}@example.com"  # a domain that RFC 2606 reserves: it belongs to no person
        event = {
            "eventDescription": description,
            "countryCode": _COUNTRIES[region],
            "eventTime": at,
            "matchKeys": [{"type": "EMAIL", "values": [hashlib.sha256(address.encode()).hexdigest()]}],
            "eventId": f"test-{token}",
            "consent": GRANTED_PAIR,
            "customData": [MARK],
        }
        found.append(MarkedConversion(event["eventId"], msgspec.json.encode(event)))  # type: ignore[arg-type]
    return found
