"""Amazon's Events API, generation 2, without I/O: endpoints, requests, replies (P1, P3, P4).

Implement the next generation of the API in a separate module. Nothing here opens a connection or reads a
clock.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

import msgspec

from app.amazon import messages
from app.amazon.json_reader import read_json
from app.domain.destination import Region
from app.domain.outcomes.outcome import (
    ACCEPTED,
    Divisible,
    Forbidden,
    ItemAccepted,
    ItemFailed,
    ItemRefused,
    ItemUnknown,
    Missing,
    Outcome,
    PerItemReply,
    Reply,
    ServerError,
    Throttled,
    Unauthorized,
    Unexpected,
)
from app.domain.personal_text import holds_personal_text

MAX_EVENTS = 500  # P12; the schema's limit
MAX_BYTES = 1_000_000  # P12; our limit, because Amazon publishes none
MAX_RETRY_AFTER_S = 3_600.0  # a longer Retry-After is assumed to be a mistake

EVENTS_PATH = "/adsApi/v1/create/events"

# P4. Temporary by their descriptions in Amazon's schema; every other code is permanent.
RETRYABLE_CODES = frozenset({"CONFLICT", "INTERNAL_ERROR", "TOO_MANY_REQUESTS"})

# Headers with the id of a request (contract §4.1), the documented one first.
REQUEST_ID_HEADERS = ("amazon-advertising-api-requestid", "x-amzn-requestid", "x-amz-request-id", "x-amz-rid")

# Printable ASCII without spaces, which cannot end a header line; at most 2,048 bytes (contract §5).
_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)


def usable_token(token: object) -> TypeGuard[str]:
    """Return whether a token may be stored and sent in a header (contract §5)."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three addresses of a region: the API, the sign-in page, the token server."""

    api: str
    authorize: str
    token: str


# Contract §1 (hosts) and §5 (sign-in), by the region of the advertiser's account.
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
    """Return a region's addresses; all below `base_url` if it replaces Amazon's hosts."""
    if base_url is None:
        return _AMAZON[region]
    root = f"{base_url.rstrip('/')}/{region.value.lower()}"
    return Endpoints(api=root, authorize=f"{root}/ap/oa", token=f"{root}/auth/o2/token")


_OPEN, _CLOSE = b'{"events":[', b"]}"


def request_body(conversions: Sequence[bytes]) -> bytes:
    """Return the body of a request: the stored bytes of the conversions, joined and unchanged (P5).

    Raises ValueError for none or more than `MAX_EVENTS` conversions.
    """
    if not 1 <= len(conversions) <= MAX_EVENTS:
        raise ValueError(f"a request carries 1 to {MAX_EVENTS} conversions, not {len(conversions)}")
    return _OPEN + b",".join(conversions) + _CLOSE


def event_headers(access_token: str, client_id: str, advertiser_id: str) -> dict[str, str]:
    """Return the headers of the events call (P1). The profile scope belongs to older calls only."""
    return {
        "Authorization": f"Bearer {access_token}",
        "Amazon-Ads-ClientId": client_id,
        "Amazon-Ads-AccountId": advertiser_id,
        "Content-Type": "application/json",
        "Accept": "application/json",
    }


def read_reply(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    sent: int,
    conversions: Sequence[bytes] = (),
    now: datetime | None = None,
) -> Reply:
    """Parse the reply to a request of `sent` conversions.

    The body of every 2xx is read (P3): a PerItemReply has exactly `sent` outcomes, in the order sent.
    `conversions` are the bytes of the request: their values are redacted from messages. `now` is used for a
    Retry-After date in a reply without a Date header.
    """
    match status:
        case _ if 200 <= status <= 299:
            return _read_outcomes(body, sent, conversions)
        case 400 | 413:
            default = "BAD_REQUEST" if status == 400 else "CONTENT_TOO_LARGE"
            return Divisible(*_request_error(body, default, conversions))
        case 401:
            return Unauthorized()
        case 403:
            return Forbidden()
        case 429:
            return Throttled(retry_after(headers, now))
        case _ if status == 408 or 500 <= status <= 599:
            return ServerError("amazon_error", retry_after(headers, now))
        case 404 | 301 | 302 | 307 | 308:  # a redirected POST also says nothing about the events
            return Missing(*_request_error(body, f"HTTP_{status}", conversions))
        case _:
            return Unexpected(status, *_request_error(body, f"HTTP_{status}", conversions))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, 0 to `MAX_RETRY_AFTER_S`, or None.

    A date is relative to the reply's Date header, so that only Amazon's clock matters.
    """
    text = _header(headers, "retry-after")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return min(float(text), MAX_RETRY_AFTER_S)
    until, since = _http_date(text), _http_date(_header(headers, "date")) or now
    if until is None or since is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return Amazon's id of the request, at most 128 printable ASCII characters, or None."""
    for name in REQUEST_ID_HEADERS:
        clean = "".join(letter for letter in _header(headers, name) or "" if " " <= letter <= "~").strip()
        if clean and not holds_personal_text(clean):
            return clean[:128]
    return None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    for key, value in headers.items():
        if key.lower() == name:
            return value.strip()
    return None


def _http_date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text and len(text) <= 64 else None
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    if found is None:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@dataclass(slots=True)
class _IndexEntries:
    """The entries of a reply for one index."""

    accepted: bool = False
    errors: list[Any] = field(default_factory=list)
    refused: bool = False


def _read_outcomes(body: bytes, sent: int, conversions: Sequence[bytes]) -> Reply:
    """Return an outcome for each conversion; a conversion missing in the reply is unknown, never a success.

    An empty body and an object without the two lists contain no conversion; any other body is unreadable.
    """
    if _all_accepted(body, sent):
        return PerItemReply((ACCEPTED,) * sent)
    reply = read_json(body) if body.strip() else {}
    if not isinstance(reply, dict):
        return ServerError("amazon_unreadable")
    named = [_IndexEntries() for _ in range(sent)]
    indexes: set[int] = set()
    for index, _ in _entries(reply.get("success")):
        indexes.add(index)
        if 0 <= index < sent:
            named[index].accepted = True
    for index, entry in _entries(reply.get("error")):
        indexes.add(index)
        if 0 <= index < sent:
            named[index].refused = True
            named[index].errors += _list(entry.get("errors"))
    if sent in indexes and 0 not in indexes and sent > 1:
        # Older generations count from one (contract §8.2). Their indexes would assign every conversion the
        # outcome of the next one.
        return PerItemReply(tuple(ItemUnknown("contradictory") for _ in named))
    return PerItemReply(
        tuple(_outcome(entries, conversions[index : index + 1]) for index, entries in enumerate(named))
    )


class _SuccessRow(msgspec.Struct, gc=False):
    """An entry under `success`. Its echo of the event is ignored."""

    index: int


class _SuccessReply(msgspec.Struct, forbid_unknown_fields=True):
    """The usual reply: every conversion accepted."""

    success: list[_SuccessRow]
    error: tuple[()] | None = None


_success_reply = msgspec.json.Decoder(_SuccessReply)


def _all_accepted(body: bytes, sent: int) -> bool:
    """Return whether a reply lists every index once, in order, as a success: the fast path.

    False only means that the reply needs the full parser, for example because of another index or an escape
    in a member's name.
    """
    if body.count(b'"index"') != sent or b"\\u00" in body:
        return False
    try:
        reply = _success_reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return [row.index for row in reply.success] == list(range(sent))


def _entries(rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the entries whose index is an integer; `true` and `"0"` are not."""
    for row in _list(rows):
        if isinstance(row, dict) and type(index := row.get("index")) is int:
            yield index, row


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _outcome(entries: _IndexEntries, conversion: Sequence[bytes]) -> Outcome:
    match entries.accepted, entries.refused:
        case True, True:
            return ItemUnknown("contradictory")
        case True, False:
            return ItemAccepted()
        case False, True:
            return _refusal(entries.errors, _values(conversion))
        case _:
            return ItemUnknown("missing_index")


def _refusal(errors: Sequence[Any], values: Collection[str]) -> ItemRefused | ItemFailed:
    """Return the outcome of a conversion's errors: a permanent one outweighs temporary ones (P4)."""
    readable = [error for error in errors if isinstance(error, dict)]
    codes = [messages.error_code(error.get("code"), default="UNSPECIFIED") for error in readable]
    for code, error in zip(codes, readable, strict=True):
        if code not in RETRYABLE_CODES:
            message = messages.scrub(error.get("message"), sent=values)
            return ItemRefused(code, message, messages.field_path(error.get("fieldLocation"), sent=values))
    if not readable:
        return ItemRefused("UNSPECIFIED", "Amazon listed the event as an error and gave no reason.")
    return ItemFailed(codes[0], messages.scrub(readable[0].get("message"), sent=values))


def _request_error(body: bytes, default: str, conversions: Sequence[bytes]) -> tuple[str, str]:
    """Return the code and the message of an error about the complete request: `{"code", "message"}`."""
    error = read_json(body)
    if not isinstance(error, dict):
        return default, ""
    message = error.get("message") or error.get("details") or error.get("Message")
    return messages.error_code(error.get("code"), default=default), messages.scrub(
        message, sent=_values(conversions)
    )


def _values(conversions: Sequence[bytes]) -> frozenset[str]:
    return messages.values_sent(read_json(conversion) for conversion in conversions)
