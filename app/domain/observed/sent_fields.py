"""Read the values of a finished Amazon event by the fields of the mapping."""

from typing import Any, Final

import msgspec

from app.domain.conversion.convert import Conversion
from app.domain.conversion.members import FIELDS_OF_MEMBERS
from app.domain.identity import MATCH_KEYS

KEY_FIELDS: Final = {rule.type.value: rule.field for rule in MATCH_KEYS}
_DESCRIPTION: Final = {"name": "event_name", "conversionType": "event_type", "eventSource": "event_source"}


def sent_fields(conversion: Conversion) -> dict[str, Any]:
    """Return the values of the finished Amazon event by mapping field.

    The consent signal has the name `consent`, and a row of custom data `custom_data.<name>`. Nothing
    hides the result from logs: for real events, use only its names and comparisons.
    """
    event = msgspec.json.decode(conversion.body)
    description = event["eventDescription"]
    sent = {field: description[member] for member, field in _DESCRIPTION.items()}
    sent |= {field: event[member] for member, field in FIELDS_OF_MEMBERS.items() if member in event}
    sent |= {KEY_FIELDS[key["type"]]: key["values"] for key in event["matchKeys"]}
    sent |= {f"custom_data.{row['name']}": row["value"] for row in event.get("customData", ())}
    signal = dict(event.get("consent", {}))
    if "geo" in signal:
        sent["ip_address"] = signal.pop("geo")
    if signal:
        sent["consent"] = signal
    return sent
