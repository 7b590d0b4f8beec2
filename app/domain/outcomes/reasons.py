"""The nine failure codes of the journey engine, and the reasons that each code stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JourneyCode(StrEnum):
    """The nine failure codes that the journey's canvas shows at a node."""

    CONSENT_NOT_PROVIDED = "CONSENT_NOT_PROVIDED"
    EVENT_PARSING_FAILED = "EVENT_PARSING_FAILED"
    BAD_REQUEST = "BAD_REQUEST"
    AUTHENTICATION_ERROR = "AUTHENTICATION_ERROR"
    RATE_LIMIT = "RATE_LIMIT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
    MISC_ERROR = "MISC_ERROR"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an event was not delivered, with the journey's code and a remedy for the operator."""

    word: str
    code: JourneyCode
    remedy: str


def _rows(*rows: tuple[str, JourneyCode, str]) -> Mapping[str, Reason]:
    return {word: Reason(word, code, remedy) for word, code, remedy in rows}


_PARSING, _BAD_REQUEST = JourneyCode.EVENT_PARSING_FAILED, JourneyCode.BAD_REQUEST
_NOT_FOUND, _SIGN_IN = JourneyCode.ENDPOINT_NOT_FOUND, JourneyCode.AUTHENTICATION_ERROR
_RATE_LIMIT, _CONSENT = JourneyCode.RATE_LIMIT, JourneyCode.CONSENT_NOT_PROVIDED
_SERVER, _UNAVAILABLE = JourneyCode.SERVER_ERROR, JourneyCode.SERVICE_UNAVAILABLE
_MISC = JourneyCode.MISC_ERROR

# Why an event is rejected on receipt.
INGEST_REASONS = _rows(
    ("not_an_object", _PARSING, "Send each event as a JSON object."),
    ("malformed_line", _PARSING, "Fix the NDJSON line; the other lines are processed independently."),
    ("wrong_type", _PARSING, "Send the field with the JSON type that its Amazon field requires."),
    ("value_too_long", _PARSING, "Shorten the value to the limit named in the detail."),
    (
        "event_id_invalid",
        _BAD_REQUEST,
        "Send event_id as a string of 1 to 256 characters without control characters.",
    ),
    (
        "event_id_personal",
        _BAD_REQUEST,
        "Never use an e-mail address or a phone number as event_id; use an order or message id.",
    ),
    (
        "event_id_conflict",
        _BAD_REQUEST,
        "Another event with different content already has this id; send this event under a new id.",
    ),
    ("destination_missing", _NOT_FOUND, "Set destination_id in the event or in the query."),
    (
        "destination_unknown",
        _NOT_FOUND,
        "Check destination_id; it does not exist or this key may not use it.",
    ),
    ("destination_draft", _NOT_FOUND, "Connect the destination to Amazon and publish a mapping."),
    ("destination_archived", _NOT_FOUND, "The destination was deleted; attach the node to another one."),
    ("mapping_unknown", _NOT_FOUND, "Check mapping_id; it does not exist under this destination."),
    ("mapping_not_published", _NOT_FOUND, "Publish the mapping first."),
    ("mapping_ambiguous", _NOT_FOUND, "Set mapping_id: the destination has several published mappings."),
    ("timestamp_missing", _BAD_REQUEST, "Map Event Timestamp to a field that every event contains."),
    (
        "timestamp_invalid",
        _PARSING,
        "Send an ISO 8601 time with a zone, or name its formats in the mapping's pipe with time.",
    ),
    (
        "timestamp_future",
        _BAD_REQUEST,
        "Fix the sender's clock: the time is more than five minutes in the future.",
    ),
    ("event_too_old", _BAD_REQUEST, "Amazon accepts nothing older than 21 days; send events sooner."),
    ("no_match_key", _BAD_REQUEST, "Send at least one match key that is valid after normalization."),
    (
        "match_key_invalid",
        _BAD_REQUEST,
        "Send a value that is valid after normalization, or let the mapping leave the match key out.",
    ),
    ("country_missing", _BAD_REQUEST, "Map a country or set a constant country in the mapping."),
    ("country_invalid", _PARSING, "Send an ISO 3166-1 alpha-2 code such as US or DE."),
    ("event_type_invalid", _BAD_REQUEST, "Send one of Amazon's twelve conversion types."),
    ("event_source_invalid", _BAD_REQUEST, "Send one of Amazon's six event sources."),
    (
        "event_name_conflict",
        _BAD_REQUEST,
        "Use the pinned name of this event type, or rename the pinned name.",
    ),
    ("value_invalid", _BAD_REQUEST, "Send value as a finite number; not negative for purchases."),
    ("currency_invalid", _BAD_REQUEST, "Send one of Amazon's 81 currency codes."),
    ("units_invalid", _BAD_REQUEST, "Send units sold as a whole number from 1 to 2147483647."),
    ("ip_address_invalid", _BAD_REQUEST, "Send a public IPv4 or IPv6 address."),
    ("user_agent_invalid", _BAD_REQUEST, "Send a user agent of at most 512 characters."),
    ("limited_data_use_invalid", _BAD_REQUEST, "Send true or false."),
    ("measurement_token_invalid", _BAD_REQUEST, "Send the aref tokens exactly as Amazon issued them."),
    ("ad_event_key_invalid", _BAD_REQUEST, "Send the ad event key exactly as Amazon issued it."),
    (
        "amazon_event_id_invalid",
        _BAD_REQUEST,
        "Map event_id to a text of 1 to 512 characters without control characters.",
    ),
    (
        "custom_data_invalid",
        _BAD_REQUEST,
        "Send custom data as text, number or boolean, at most 256 characters, no control characters.",
    ),
    ("transform_failed", _PARSING, "A transform could not read the value; fix the event or the mapping."),
    (
        "backlog_too_long",
        _RATE_LIMIT,
        "Queued events would exceed the age limit; send again later, or raise the destination's rate limit.",
    ),
    (
        "too_much_work",
        _RATE_LIMIT,
        "The request's events before it took too much work; send fewer or smaller events in a request.",
    ),
    ("consent_missing", _CONSENT, "Map consent: the region or country requires it on every event."),
    ("consent_denied", _CONSENT, "The person did not consent; the event is never sent."),
    ("consent_invalid", _CONSENT, "Send the consent signal in the form that the mapping expects."),
)

# Why an accepted event waits, is retried, or was not delivered.
DELIVERY_REASONS = _rows(
    (
        "amazon_refused",
        _BAD_REQUEST,
        "Amazon rejected this event; read Amazon's message, then fix the mapping or the source data.",
    ),
    (
        "amazon_request_refused",
        _BAD_REQUEST,
        "Amazon rejects this event even when it is sent alone; fix the mapping.",
    ),
    (
        "endpoint_not_found",
        _NOT_FOUND,
        "Amazon does not know this address or account: check the region and the advertiser ID. "
        "Retried automatically.",
    ),
    (
        "amazon_unexpected",
        _MISC,
        "Amazon returned a response that its API does not define; find the cause, then replay.",
    ),
    ("amazon_item_failed", _SERVER, "Amazon asked to resend this event later; it is retried automatically."),
    ("amazon_error", _SERVER, "Amazon returned a server error; the event is retried automatically."),
    ("amazon_unreachable", _UNAVAILABLE, "No response from Amazon; the event is retried automatically."),
    (
        "amazon_unreadable",
        _SERVER,
        "Amazon's response could not be read; the same request is retried automatically.",
    ),
    (
        "outcome_unknown",
        _UNAVAILABLE,
        "It is unknown whether Amazon accepted the event; it is resent unchanged automatically.",
    ),
    ("gave_up", _SERVER, "Amazon kept failing for this event alone; replay it when Amazon has recovered."),
    ("throttled", _RATE_LIMIT, "Amazon is rate-limiting requests; no action needed."),
    ("sign_in_revoked", _SIGN_IN, "Reconnect the destination; its events wait until then."),
    ("sign_in_unauthorized", _SIGN_IN, "Reconnect the destination; its events wait until then."),
    ("sign_in_forbidden", _SIGN_IN, "Give the signed-in user access to the advertiser, then reconnect."),
    ("sign_in_disconnected", _SIGN_IN, "Reconnect the destination; its events wait until then."),
    ("expired", _MISC, "The event passed Amazon's age limit while it waited."),
    ("discarded", _MISC, "Discarded when its destination was deleted."),
    ("replayed", _MISC, "Queued again by a replay. It is sent automatically; live events have priority."),
    ("erased", _MISC, "The person's data was erased on request; no action needed."),
    (
        "unreadable",
        _MISC,
        "The stored event or its encryption key is damaged or missing: see Damaged data in "
        "docs/operations.md, then replay.",
    ),
)

REASONS: Mapping[str, Reason] = {**INGEST_REASONS, **DELIVERY_REASONS}


class DeadLetter(StrEnum):
    """Who can fix an event that failed permanently: the customer, or the operator of a system."""

    CUSTOMER = "customer"
    SYSTEM = "system"


# For each reason of a permanent failure: who can fix the event.
DEAD_LETTERS: Mapping[str, DeadLetter] = {
    "amazon_refused": DeadLetter.CUSTOMER,
    "amazon_request_refused": DeadLetter.CUSTOMER,
    "discarded": DeadLetter.CUSTOMER,
    "amazon_unexpected": DeadLetter.SYSTEM,
    "gave_up": DeadLetter.SYSTEM,
    "unreadable": DeadLetter.SYSTEM,
}

# Warnings about accepted events. An event with a warning is delivered.
WARNINGS: Mapping[str, str] = {
    "event_id_derived": "No event_id was sent; one was derived from the content.",
    "event_aging": "Older than seven days: some Amazon reports may omit it.",
    "field_omitted": "An optional value could not be used and was left out.",
    "match_key_dropped": "A match key was omitted: no valid value remained after normalization.",
    "country_uk_read_as_gb": "UK was treated as GB.",
    "custom_value_unusual": "A custom value contains characters other than letters, digits and underscores.",
    "custom_value_dropped": "A custom value looked like an e-mail address or phone number and was left out.",
    "value_unusual": "The value has decimals, and its currency has none: check the currency and the unit.",
    "value_rounded": "The value was rounded to two decimals.",
    "item_incomplete": "A member of a list lacks a number of a sum: it counted as 1.",
    "item_skipped": "A member of a list lacks the number to add up, and was left out of the sum.",
    "time_ambiguous": "The zone skips or repeats this local time: the offset before the change was used.",
    "currency_ignored": "Currency is sent with purchases only.",
    "units_ignored": "Units sold are sent with purchases only.",
}
