"""What the console shows of a response of Amazon: some headers and the scrubbed errors, at most 2 KiB."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from app.amazon import messages, wire
from app.domain.outcomes.outcome import (
    Divisible,
    ItemAccepted,
    ItemError,
    ItemUnknown,
    Missing,
    Outcome,
    PerItemReply,
    Reply,
    ResponseDetails,
    Unexpected,
)

MAX_BYTES: Final = 2_048
HEADERS: Final = (
    "content-type",
    "content-length",
    "retry-after",
    "x-amzn-errortype",
    "x-amzn-ratelimit-limit",
)
_MOST_ITEMS: Final = 20
_LONGEST_HEADER: Final = 50  # so that headers and message alone fit


def response_details(
    reply: Reply, headers: Mapping[str, str], body: bytes, conversions: Sequence[bytes]
) -> ResponseDetails:
    """Return the details of a response that did not accept every conversion.

    Values of the request are removed from Amazon's texts, and every text that looks like a value.
    """
    code, message, errors = "", "", list[ItemError]()
    match reply:
        case PerItemReply(outcomes):
            errors = _item_errors(outcomes)
        case Divisible() | Missing() | Unexpected():
            code, message = reply.code, reply.message
        case _:
            code, message = wire.request_error(body, "", conversions)
    details = ResponseDetails(
        headers=tuple(
            (name, messages.scrub(value.encode("ascii", "replace").decode(), limit=_LONGEST_HEADER))
            for name in HEADERS
            if (value := headers.get(name)) is not None
        ),
        code=code or None,
        message=message,
        items=tuple(errors[:_MOST_ITEMS]),
        left_out=max(0, len(errors) - _MOST_ITEMS),
    )
    while details.items and len(msgspec.json.encode(details)) > MAX_BYTES:
        details = msgspec.structs.replace(details, items=details.items[:-1], left_out=details.left_out + 1)
    return details


def _item_errors(outcomes: Sequence[Outcome]) -> list[ItemError]:
    """Return the errors of a response, equal ones once, in the order of their first conversion."""
    found: dict[tuple[str, str, str | None], list[int]] = {}
    for index, outcome in enumerate(outcomes):
        match outcome:
            case ItemAccepted():
                continue
            case ItemUnknown(why):
                key = (why, "", None)
            case _:
                key = (outcome.code, outcome.message, getattr(outcome, "field", None))
        found.setdefault(key, []).append(index)
    return [
        ItemError(places[0], len(places), code, message, field)
        for (code, message, field), places in found.items()
    ]
