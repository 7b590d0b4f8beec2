"""The sentences of rejections that are stored: one for each reason, with names and paths of the mapping.

The response to the sender can contain more. A stored rejection must contain no text and no member name of an
event, which can be personal data.
"""

from collections.abc import Mapping
from typing import Final

_SENTENCES: Final[Mapping[str, str]] = {
    "not_an_object": "The event is not a JSON object.",
    "malformed_line": "The line is not valid JSON.",
    "wrong_type": "{field} has the wrong JSON type for {mapping_field}.",
    "value_too_long": "{field} is too long for {mapping_field}.",
    "event_id_invalid": "event_id is not a text of 1 to 256 characters without control characters.",
    "event_id_personal": "event_id looks like an e-mail address or a phone number.",
    "event_id_conflict": "This id was accepted before with other content.",
    "destination_missing": "The event has no destination_id.",
    "destination_unknown": "The destination does not exist.",
    "destination_draft": "The destination was never connected to Amazon.",
    "destination_archived": "The destination was deleted.",
    "mapping_unknown": "The mapping does not exist in this destination.",
    "mapping_not_published": "The mapping is not published.",
    "mapping_ambiguous": "The destination has several published mappings, and the event has no mapping_id.",
    "timestamp_missing": "Event Timestamp is mapped to {field}, which is absent.",
    "timestamp_invalid": "Event Timestamp is mapped to {field}, which cannot be read as a time.",
    "timestamp_future": "{field} is in the future.",
    "event_too_old": "{field} is older than the age limit.",
    "no_match_key": "No mapped match key has a usable value.",
    "match_key_invalid": "{field} gives no match key for {mapping_field}.",
    "country_missing": "The event has no country code, and the mapping has no default.",
    "country_invalid": "{field} is not a country code.",
    "consent_missing": "The event has no consent although it is required.",
    "consent_denied": "The event's consent does not allow sending it.",
    "consent_invalid": "The consent of the event cannot be read.",
    "event_name_conflict": "The mapping's event name differs from the pinned one.",
    "transform_failed": "A transform of {mapping_field} could not convert {field}.",
    "too_much_work": "The request's events before it took all the work that a request may cost.",
    "backlog_too_long": "The destination's queue is too long for a new event to be sent in time.",
}
_OTHER: Final = "{field} has no value that Amazon accepts as {mapping_field}."


def rejection_detail(reason: str, field: str | None, mapping_field: str | None) -> str:
    sentence = _SENTENCES.get(reason, _OTHER)
    return sentence.format(field=field or "A field", mapping_field=mapping_field or "its destination field")
