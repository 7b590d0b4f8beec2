"""Marked conversions with invented identities, for a test at Amazon, which has no test mode."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from app.domain.conversion.consent import GRANTED_PAIR
from app.domain.destination import Region

EVENT_TYPE: Final = "OTHER"
MARK: Final = {"name": "test_conversion", "value": "true"}
_COUNTRIES: Final = {Region.NA: "US", Region.EU: "DE", Region.FE: "JP"}
_AGE: Final = timedelta(seconds=10)


def marked_conversions(
    tokens: Sequence[str], *, region: Region, event_name: str, dataset_name: str, now: datetime
) -> dict[str, bytes]:
    """Return a conversion by its Amazon eventId for each token, which is random text: its id and address."""
    description = {
        "name": event_name,
        "conversionType": EVENT_TYPE,
        "eventSource": "WEBSITE",
        "eventIngestionMethod": "SERVER_TO_SERVER",
        "dataSetName": dataset_name,
    }
    at = (now - _AGE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {}
    for token in tokens:
        event_id = f"test-{token}"
        address = f"{event_id}@example.com"  # a domain that RFC 2606 reserves: it belongs to no person
        event = {
            "eventDescription": description,
            "countryCode": _COUNTRIES[region],
            "eventTime": at,
            "matchKeys": [{"type": "EMAIL", "values": [hashlib.sha256(address.encode()).hexdigest()]}],
            "eventId": event_id,
            "consent": GRANTED_PAIR,
            "customData": [MARK],
        }
        found[event_id] = msgspec.json.encode(event)
    return found
