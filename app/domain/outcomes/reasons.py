"""The journey's vocabulary for failures: nine codes, and every reason word under its code."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JourneyCode(StrEnum):
    """The nine codes a journey canvas shows per node (product.md, the journey's vocabulary)."""

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
    """A stable machine word, the code it falls under, and what to do about it in one sentence."""

    word: str
    code: JourneyCode
    remedy: str


def _rows(*rows: tuple[str, JourneyCode, str]) -> Mapping[str, Reason]:
    return {word: Reason(word, code, remedy) for word, code, remedy in rows}


# What the door says of an event that it does not take.
INGEST_REASONS = _rows(
    ("not_an_object", JourneyCode.EVENT_PARSING_FAILED, "Send each event as a JSON object."),
    (
        "malformed_line",
        JourneyCode.EVENT_PARSING_FAILED,
        "Mend the NDJSON line; the others were judged on their own.",
    ),
    (
        "wrong_type",
        JourneyCode.EVENT_PARSING_FAILED,
        "Send the field with the JSON type that its destination field takes.",
    ),
    (
        "value_too_long",
        JourneyCode.EVENT_PARSING_FAILED,
        "Shorten the value to the limit named in the detail.",
    ),
    (
        "event_id_invalid",
        JourneyCode.BAD_REQUEST,
        "Send event_id as a string of 1 to 256 characters without control characters.",
    ),
    (
        "event_id_personal",
        JourneyCode.BAD_REQUEST,
        "Never use an e-mail address or a phone number as event_id; use an order or message id.",
    ),
    (
        "event_id_conflict",
        JourneyCode.BAD_REQUEST,
        "The id was taken by an event with other content; send a new id.",
    ),
    (
        "destination_missing",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Name destination_id in the event or in the query.",
    ),
    (
        "destination_unknown",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Check destination_id; it does not exist or this key may not use it.",
    ),
    (
        "destination_draft",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Connect the destination to Amazon and publish a mapping.",
    ),
    (
        "destination_archived",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "The destination was deleted; attach the node to another one.",
    ),
    (
        "mapping_unknown",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Check mapping_id; it does not exist under this destination.",
    ),
    ("mapping_not_published", JourneyCode.ENDPOINT_NOT_FOUND, "Publish the mapping first."),
    (
        "mapping_ambiguous",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Name mapping_id: the destination has several published mappings.",
    ),
    (
        "timestamp_missing",
        JourneyCode.BAD_REQUEST,
        "Map Event Timestamp to a field that every event carries.",
    ),
    (
        "timestamp_invalid",
        JourneyCode.EVENT_PARSING_FAILED,
        "Send an ISO 8601 time with a zone, or map an epoch with epoch_s or epoch_ms.",
    ),
    (
        "timestamp_future",
        JourneyCode.BAD_REQUEST,
        "Mend the sender's clock: the time lies more than five minutes ahead.",
    ),
    (
        "event_too_old",
        JourneyCode.BAD_REQUEST,
        "Amazon takes nothing older than 21 days; send events sooner.",
    ),
    ("no_match_key", JourneyCode.BAD_REQUEST, "Send at least one match key that is left after normalising."),
    ("country_missing", JourneyCode.BAD_REQUEST, "Map a country or give the mapping a constant one."),
    (
        "country_invalid",
        JourneyCode.EVENT_PARSING_FAILED,
        "Send an ISO 3166-1 alpha-2 code such as US or DE.",
    ),
    ("event_type_invalid", JourneyCode.BAD_REQUEST, "Send one of Amazon's twelve conversion types."),
    ("event_source_invalid", JourneyCode.BAD_REQUEST, "Send one of Amazon's six event sources."),
    (
        "event_name_conflict",
        JourneyCode.BAD_REQUEST,
        "Use the name pinned for this event type, or rename the pin.",
    ),
    ("value_invalid", JourneyCode.BAD_REQUEST, "Send value as a finite number; not negative for purchases."),
    ("currency_invalid", JourneyCode.BAD_REQUEST, "Send one of Amazon's 81 currency codes."),
    ("units_invalid", JourneyCode.BAD_REQUEST, "Send units sold as a whole number from 1 to 2147483647."),
    ("ip_address_invalid", JourneyCode.BAD_REQUEST, "Send a public IPv4 or IPv6 address."),
    ("user_agent_invalid", JourneyCode.BAD_REQUEST, "Send a user agent of at most 512 characters."),
    ("limited_data_use_invalid", JourneyCode.BAD_REQUEST, "Send true or false."),
    ("measurement_token_invalid", JourneyCode.BAD_REQUEST, "Send the aref tokens as Amazon gave them."),
    ("ad_event_key_invalid", JourneyCode.BAD_REQUEST, "Send Amazon's ad event key as it was given."),
    (
        "amazon_event_id_invalid",
        JourneyCode.BAD_REQUEST,
        "Map event_id to a text of 1 to 512 characters without '@' or control characters.",
    ),
    (
        "custom_data_invalid",
        JourneyCode.BAD_REQUEST,
        "Send custom data as text, number or boolean, at most 256 characters, no control characters.",
    ),
    (
        "transform_failed",
        JourneyCode.EVENT_PARSING_FAILED,
        "A pipe step could not read the value; mend the event or the mapping.",
    ),
    (
        "backlog_too_long",
        JourneyCode.RATE_LIMIT,
        "The queue is longer than events may grow old; send again later, or have its limit raised.",
    ),
    (
        "consent_missing",
        JourneyCode.CONSENT_NOT_PROVIDED,
        "Map consent: region or country requires it on every event.",
    ),
    ("consent_denied", JourneyCode.CONSENT_NOT_PROVIDED, "The person said no; the event is never sent."),
    (
        "consent_invalid",
        JourneyCode.CONSENT_NOT_PROVIDED,
        "Send the consent signal in the form that the mapping names.",
    ),
)

# What becomes of an event after acceptance.
DELIVERY_REASONS = _rows(
    (
        "amazon_refused",
        JourneyCode.BAD_REQUEST,
        "Amazon refused this event; its own words are shown. Mend the mapping or the event.",
    ),
    (
        "amazon_request_refused",
        JourneyCode.BAD_REQUEST,
        "Amazon refuses a request that holds this event alone; mend the mapping.",
    ),
    (
        "endpoint_not_found",
        JourneyCode.ENDPOINT_NOT_FOUND,
        "Amazon does not know this address or account: check region and advertiser id. It is tried again "
        "automatically.",
    ),
    (
        "amazon_unexpected",
        JourneyCode.MISC_ERROR,
        "Amazon answered something its contract does not name; replay once it is understood.",
    ),
    (
        "amazon_item_failed",
        JourneyCode.SERVER_ERROR,
        "Amazon asked to send this event again later; it is tried again by itself.",
    ),
    ("amazon_error", JourneyCode.SERVER_ERROR, "Amazon failed; the event is tried again by itself."),
    (
        "amazon_unreachable",
        JourneyCode.SERVICE_UNAVAILABLE,
        "No answer from Amazon; the event is tried again by itself.",
    ),
    (
        "amazon_unreadable",
        JourneyCode.SERVER_ERROR,
        "Amazon's answer could not be read; the same bytes are sent again.",
    ),
    (
        "outcome_unknown",
        JourneyCode.SERVICE_UNAVAILABLE,
        "It is not known whether Amazon took it; the same bytes are sent again.",
    ),
    (
        "gave_up",
        JourneyCode.SERVER_ERROR,
        "Amazon kept failing for this event alone; replay it when Amazon is well.",
    ),
    ("throttled", JourneyCode.RATE_LIMIT, "Amazon asked to wait; nothing to do."),
    ("sign_in_revoked", JourneyCode.AUTHENTICATION_ERROR, "Reconnect the destination; the events wait."),
    ("sign_in_unauthorized", JourneyCode.AUTHENTICATION_ERROR, "Reconnect the destination; the events wait."),
    (
        "sign_in_forbidden",
        JourneyCode.AUTHENTICATION_ERROR,
        "Give the signed-in user access to the advertiser, then reconnect.",
    ),
    ("sign_in_disconnected", JourneyCode.AUTHENTICATION_ERROR, "Reconnect the destination; the events wait."),
    ("expired", JourneyCode.MISC_ERROR, "The event passed Amazon's age limit while it waited."),
    ("discarded", JourneyCode.MISC_ERROR, "Discarded when its destination was deleted."),
    (
        "replayed",
        JourneyCode.MISC_ERROR,
        "Put back on the road; it is sent again by itself, after what is new.",
    ),
    ("erased", JourneyCode.MISC_ERROR, "The person's data was erased on request; nothing to do."),
    (
        "unreadable",
        JourneyCode.MISC_ERROR,
        "What is stored of the event is damaged or missing, or its encryption key is: see Damaged data in "
        "docs/operations.md, then replay.",
    ),
)

REASONS: Mapping[str, Reason] = {**INGEST_REASONS, **DELIVERY_REASONS}


class DeadLetter(StrEnum):
    """Who can help a dead event: the customer, by mending what it says, or the operator of what failed."""

    CUSTOMER = "customer"
    SYSTEM = "system"


# The class of every reason that an event can die of.
DEAD_LETTERS: Mapping[str, DeadLetter] = {
    "amazon_refused": DeadLetter.CUSTOMER,
    "amazon_request_refused": DeadLetter.CUSTOMER,
    "discarded": DeadLetter.CUSTOMER,
    "amazon_unexpected": DeadLetter.SYSTEM,
    "gave_up": DeadLetter.SYSTEM,
    "unreadable": DeadLetter.SYSTEM,
}

# Said beside an accepted event; none of them keeps it back.
WARNINGS: Mapping[str, str] = {
    "event_id_derived": "No event_id was sent; it was derived from the content.",
    "event_aging": "Older than seven days: some of Amazon's reports may leave it out.",
    "match_key_dropped": "A match key was left out: nothing usable remained of it.",
    "country_uk_read_as_gb": "UK was read as GB.",
    "custom_value_unusual": "A custom value holds characters outside letters, digits and underscore.",
    "value_rounded": "The value was rounded to two decimals.",
    "currency_ignored": "Currency goes out with purchases only.",
    "units_ignored": "Units sold go out with purchases only.",
}
