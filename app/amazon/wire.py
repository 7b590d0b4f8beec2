"""Amazon's Events API, generation 2, without I/O: endpoints, requests and replies (P1, P3, P4).

`response_details` is what the console shows of a response: some headers and the scrubbed errors.

Write a separate module for the next generation of the API.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeGuard

import msgspec

from app.amazon import messages
from app.amazon.messages import objects, read_json
from app.domain.batch import MAX_EVENTS
from app.domain.destination import Region
from app.domain.outcomes import outcome
from app.domain.privacy.personal_text import holds_personal_text

MAX_RETRY_AFTER_S = 3_600.0
# A longer Retry-After is assumed to be a mistake. After this time a single request tries again.
MISTAKEN_RETRY_AFTER_S = 300.0

EVENTS_PATH = "/adsApi/v1/create/events"

# Amazon's schema describes these error codes as temporary. Every other code is permanent (P4).
RETRYABLE_CODES = frozenset({"CONFLICT", "INTERNAL_ERROR", "TOO_MANY_REQUESTS"})

# Headers that carry Amazon's id of a request (contract §4.1). Only the first header is documented.
REQUEST_ID_HEADERS = ("amazon-advertising-api-requestid", "x-amzn-requestid", "x-amz-request-id", "x-amz-rid")

# Of the details of a response.
MAX_DETAILS_BYTES: Final = 2_048
DETAILS_HEADERS: Final = (
    "content-type",
    "content-length",
    "retry-after",
    "x-amzn-errortype",
    "x-amzn-ratelimit-limit",
)
_MOST_ITEMS: Final = 20
_LONGEST_HEADER: Final = 50  # so that headers and message alone fit

# A token has at most 2,048 bytes of printable ASCII without spaces (contract §5). It cannot end a header
# line.
_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)


def usable_token(token: object) -> TypeGuard[str]:
    """Return whether a token is valid to store and to send in a header (contract §5)."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The URLs of a region: the API, the sign-in page, the token server."""

    api: str
    authorize: str
    token: str


# The region of the advertiser's account selects the URLs (contract §1 and §5).
_AMAZON: Mapping[Region, Endpoints] = {
    Region.NA: Endpoints(
        "https://advertising-api.amazon.com",
        "https://www.amazon.com/ap/oa",
        "https://api.amazon.com/auth/o2/token",
    ),
    Region.EU: Endpoints(
        "https://advertising-api-eu.amazon.com",
        "https://eu.account.amazon.com/ap/oa",
        "https://api.amazon.co.uk/auth/o2/token",
    ),
    Region.FE: Endpoints(
        "https://advertising-api-fe.amazon.com",
        "https://apac.account.amazon.com/ap/oa",
        "https://api.amazon.co.jp/auth/o2/token",
    ),
}


def endpoints(region: Region, base_url: str | None) -> Endpoints:
    """Return the URLs of a region. If `base_url` is set, it replaces Amazon's hosts."""
    if base_url is None:
        return _AMAZON[region]
    root = f"{base_url.rstrip('/')}/{region.value.lower()}"
    return Endpoints(api=root, authorize=f"{root}/ap/oa", token=f"{root}/auth/o2/token")


def request_body(conversions: Sequence[bytes]) -> bytes:
    """Return the body of a request. It contains the stored bytes of the conversions unchanged (P5).

    Raises ValueError for no conversions, and for more than `MAX_EVENTS`.
    """
    if not 1 <= len(conversions) <= MAX_EVENTS:
        raise ValueError(f"a request carries 1 to {MAX_EVENTS} conversions, not {len(conversions)}")
    return b'{"events":[' + b",".join(conversions) + b"]}"


def read_reply(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    conversions: Sequence[bytes],
    *,
    now: datetime | None = None,
) -> outcome.Reply:
    """Parse the reply to a request with these conversions.

    The function reads the body of every 2xx (P3). A PerItemReply has an outcome for each conversion, in the
    order of the request. Values of the conversions are removed from Amazon's messages. If the reply has no
    Date header, a date in Retry-After is compared with `now`. Headers are looked up by their names in lower
    case.
    """
    match status:
        case _ if 200 <= status <= 299:
            return _read_outcomes(body, conversions)
        case 400 | 413:
            default = "BAD_REQUEST" if status == 400 else "CONTENT_TOO_LARGE"
            return outcome.Divisible(*request_error(body, default, conversions))
        case 401:
            return outcome.Unauthorized()
        case 403:
            return outcome.Forbidden()
        case 429:
            return outcome.Throttled(retry_after(headers, now))
        case _ if status == 408 or 500 <= status <= 599:
            return outcome.ServerError("amazon_error", retry_after(headers, now))
        case 404 | 301 | 302 | 307 | 308:  # the URL is wrong, not an event
            return outcome.Missing(*request_error(body, f"HTTP_{status}", conversions))
        case _:
            return outcome.Unexpected(status, *request_error(body, f"HTTP_{status}", conversions))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, between 0 and `MAX_RETRY_AFTER_S`. Return None without a
    valid header, and `MISTAKEN_RETRY_AFTER_S` for a longer time.

    A date is compared with the Date header of the reply, so that an error of this machine's clock has no
    effect.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        seconds = float(text)
    else:
        until, since = _http_date(text), _http_date(headers.get("date", "").strip()) or now
        if until is None or since is None:
            return None
        seconds = max((until - since).total_seconds(), 0.0)
    return seconds if seconds <= MAX_RETRY_AFTER_S else MISTAKEN_RETRY_AFTER_S


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return Amazon's id of the request, cut to 128 characters of printable ASCII.

    Return None without an id.
    """
    for name in REQUEST_ID_HEADERS:
        clean = "".join([letter for letter in headers.get(name, "") if " " <= letter <= "~"]).strip()
        if clean and not holds_personal_text(clean):
            return clean[:128]
    return None


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text and len(text) <= 64 else None
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    if found is None:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class _SuccessRow(msgspec.Struct, gc=False):
    """An entry of the list `success`. The event that Amazon repeats in it is ignored."""

    index: int


class _SuccessReply(msgspec.Struct, forbid_unknown_fields=True):
    """The usual reply: Amazon accepted every conversion."""

    success: list[_SuccessRow]
    error: tuple[()] | None = None


_success_reply = msgspec.json.Decoder(_SuccessReply)


def _read_outcomes(body: bytes, conversions: Sequence[bytes]) -> outcome.Reply:
    """Return an outcome for each conversion.

    If the reply does not mention a conversion, its outcome is unknown, never a success. An empty body
    mentions no conversion, and neither does an object without the lists `success` and `error`. Any other body
    is unreadable.
    """
    sent = len(conversions)
    # The usual reply lists every index once, in order, under `success`. The full parser reads every other
    # reply, even if it accepts every conversion.
    if body.count(b'"index"') == sent and b"\\u00" not in body:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            rows = _success_reply.decode(body).success
            if [row.index for row in rows] == list(range(sent)):
                return outcome.PerItemReply((outcome.ACCEPTED,) * sent)
    reply = read_json(body) if body.strip() else {}
    if not isinstance(reply, dict):
        return outcome.ServerError("amazon_unreadable")
    accepted = {index for index, _ in _entries(reply.get("success"))}
    errors: dict[int, list[dict[str, Any]]] = {}
    for index, entry in _entries(reply.get("error")):
        errors.setdefault(index, []).extend(objects(entry.get("errors")))
    indexes = accepted | errors.keys()
    if sent in indexes and 0 not in indexes and sent > 1:
        # Older generations of the API count from one (contract §8.2). In such a reply, each outcome would be
        # assigned to the wrong conversion.
        return outcome.PerItemReply((outcome.ItemUnknown("contradictory"),) * sent)
    pairs = enumerate(conversions)
    return outcome.PerItemReply(tuple([_outcome(n in accepted, errors.get(n), each) for n, each in pairs]))


def _entries(rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index and the entry of each row with an integer index. `true` and `"0"` are not integers."""
    for row in objects(rows):
        if type(index := row.get("index")) is int:
            yield index, row


def _outcome(
    is_accepted: bool, errors: Sequence[dict[str, Any]] | None, conversion: bytes
) -> outcome.Outcome:
    """Return the outcome of a conversion. `errors` is None if the reply does not list it as an error."""
    if errors is None:
        return outcome.ItemAccepted() if is_accepted else outcome.ItemUnknown("missing_index")
    return outcome.ItemUnknown("contradictory") if is_accepted else _refusal(errors, _values([conversion]))


def _refusal(
    errors: Sequence[dict[str, Any]], values: Collection[str]
) -> outcome.ItemRefused | outcome.ItemFailed:
    """Return the outcome of a conversion with errors.

    One permanent error makes the outcome permanent (P4).
    """
    codes = [messages.error_code(error.get("code"), default="UNSPECIFIED") for error in errors]
    for code, error in zip(codes, errors, strict=True):
        if code not in RETRYABLE_CODES:
            message = messages.scrub(error.get("message"), sent=values)
            field = messages.field_path(error.get("fieldLocation"), sent=values)
            return outcome.ItemRefused(code, message, field)
    if not errors:
        return outcome.ItemRefused("UNSPECIFIED", "Amazon listed the event as an error and gave no reason.")
    return outcome.ItemFailed(codes[0], messages.scrub(errors[0].get("message"), sent=values))


def request_error(body: bytes, default: str, conversions: Sequence[bytes]) -> tuple[str, str]:
    """Return the code and the message of an error that concerns the complete request."""
    error = read_json(body)
    if not isinstance(error, dict):
        return default, ""
    message = error.get("message") or error.get("details") or error.get("Message")
    return messages.error_code(error.get("code"), default=default), messages.scrub(
        message, sent=_values(conversions)
    )


def _values(conversions: Sequence[bytes]) -> frozenset[str]:
    """Return the values of these conversions that must be removed from Amazon's messages."""
    return messages.values_sent(read_json(conversion) for conversion in conversions)


def response_details(
    reply: outcome.Reply, headers: Mapping[str, str], body: bytes, conversions: Sequence[bytes]
) -> outcome.ResponseDetails:
    """Return the details of a response that did not accept every conversion.

    Values of the request are removed from Amazon's texts, and every text that looks like a value.
    """
    code, message, errors = "", "", list[outcome.ItemError]()
    match reply:
        case outcome.PerItemReply(outcomes):
            errors = _item_errors(outcomes)
        case outcome.Divisible() | outcome.Missing() | outcome.Unexpected():
            code, message = reply.code, reply.message
        case _:
            code, message = request_error(body, "", conversions)
    details = outcome.ResponseDetails(
        headers=tuple(
            (name, messages.scrub(value.encode("ascii", "replace").decode(), limit=_LONGEST_HEADER))
            for name in DETAILS_HEADERS
            if (value := headers.get(name)) is not None
        ),
        code=code or None,
        message=message,
        items=tuple(errors[:_MOST_ITEMS]),
        left_out=max(0, len(errors) - _MOST_ITEMS),
    )
    while details.items and len(msgspec.json.encode(details)) > MAX_DETAILS_BYTES:
        details = msgspec.structs.replace(details, items=details.items[:-1], left_out=details.left_out + 1)
    return details


def _item_errors(outcomes: Sequence[outcome.Outcome]) -> list[outcome.ItemError]:
    """Return the errors of a response, equal ones once, in the order of their first conversion."""
    found: dict[tuple[str, str, str | None], list[int]] = {}
    for index, item in enumerate(outcomes):
        match item:
            case outcome.ItemAccepted():
                continue
            case outcome.ItemUnknown(why):
                key = (why, "", None)
            case _:
                key = (item.code, item.message, getattr(item, "field", None))
        found.setdefault(key, []).append(index)
    return [
        outcome.ItemError(places[0], len(places), code, message, field)
        for (code, message, field), places in found.items()
    ]
