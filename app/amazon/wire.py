"""Amazon's Events API, generation 2, without I/O: where it is, what is sent, how it answers (P1, P3, P4).

The next generation of the API is a new module beside this one. Nothing here opens a connection or reads a
clock.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app.amazon import messages
from app.amazon.reading import read_json
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

MAX_EVENTS = 500  # P12; the schema's own bound
MAX_BYTES = 1_000_000  # P12; Amazon publishes none, so the cap is ours
MAX_RETRY_AFTER_S = 3_600.0  # a gate shut for longer than this is a mistake of somebody's

EVENTS_PATH = "/adsApi/v1/create/events"

# P4. By their descriptions in Amazon's schema these pass by themselves; every other code is for good.
RETRYABLE_CODES = frozenset({"CONFLICT", "INTERNAL_ERROR", "TOO_MANY_REQUESTS"})

# Headers in which Amazon's front ends name a request (contract §4.1), the documented one first.
REQUEST_ID_HEADERS = ("amazon-advertising-api-requestid", "x-amzn-requestid", "x-amz-request-id", "x-amz-rid")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three addresses of a region: the API, the sign-in page, the token server."""

    api: str
    authorize: str
    token: str


# Contract §1 (hosts) and §5 (sign-in). The region is the advertiser account's, never the event's country.
# In the order of the fields of Endpoints.
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
    """Return where a region's calls go; all under `base_url` where that names a stand-in for Amazon."""
    if base_url is None:
        return _AMAZON[region]
    root = f"{base_url.rstrip('/')}/{region.value.lower()}"
    return Endpoints(api=root, authorize=f"{root}/ap/oa", token=f"{root}/auth/o2/token")


_OPEN, _CLOSE = b'{"events":[', b"]}"


def request_body(conversions: Sequence[bytes]) -> bytes:
    """Return the request that carries these conversions: their frozen bytes, joined and untouched (P5).

    Raises ValueError for none or more than `MAX_EVENTS`: who builds a request counts first.
    """
    if not 1 <= len(conversions) <= MAX_EVENTS:
        raise ValueError(f"a request carries 1 to {MAX_EVENTS} conversions, not {len(conversions)}")
    return _OPEN + b",".join(conversions) + _CLOSE


def body_size(sizes: Iterable[int]) -> int:
    """Return the length of `request_body` for conversions of these lengths, in bytes."""
    count = total = 0
    for size in sizes:
        count, total = count + 1, total + size
    return len(_OPEN) + total + max(count - 1, 0) + len(_CLOSE)


def event_headers(access_token: str, client_id: str, advertiser_id: str) -> dict[str, str]:
    """Return the headers of the events call (P1). No profile scope: that belongs to older calls."""
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
    """Return what an answer means for the `sent` conversions of its request; a 2xx by itself means little.

    Every 2xx is read to its body (P3): its outcomes are exactly `sent`, in the order sent. `conversions`,
    where given, are the bytes that went out, so that no value of theirs can come back in a message. `now`
    serves a Retry-After that is a date in an answer without a Date header.
    """
    match status:
        case _ if 200 <= status <= 299:
            return _read_outcomes(body, sent, conversions)
        case 400 | 413:
            default = "BAD_REQUEST" if status == 400 else "CONTENT_TOO_LARGE"
            return Divisible(*_whole_error(body, default, conversions))
        case 401:
            return Unauthorized()
        case 403:
            return Forbidden()
        case 429:
            return Throttled(retry_after(headers, now))
        case _ if status == 408 or 500 <= status <= 599:
            return ServerError("amazon_error", retry_after(headers, now))
        case 404 | 301 | 302 | 307 | 308:  # a redirect of a POST says as little of the events
            return Missing(*_whole_error(body, f"HTTP_{status}", conversions))
        case _:
            return Unexpected(status, *_whole_error(body, f"HTTP_{status}", conversions))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds Amazon asks to wait, 0 to `MAX_RETRY_AFTER_S`, or None where it names none.

    A date is measured from the answer's own Date header, so that no clock but Amazon's matters.
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
    """Return Amazon's id of the request, printable ASCII of at most 128 characters, or None."""
    for name in REQUEST_ID_HEADERS:
        clean = "".join(letter for letter in _header(headers, name) or "" if " " <= letter <= "~").strip()
        if clean:
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
    """What the reply says of one index."""

    accepted: bool = False
    errors: list[Any] = field(default_factory=list)
    refused: bool = False


def _read_outcomes(body: bytes, sent: int, conversions: Sequence[bytes]) -> Reply:
    """Return an outcome for each conversion sent; what the reply does not name is unknown, never a success.

    An empty body and an object without the two lists name nobody; any other body is not the contract's.
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
        # Older generations count from one (contract §8.2). Believing such a reply would give every
        # conversion its neighbour's outcome, so it is not believed.
        return PerItemReply(tuple(ItemUnknown("contradictory") for _ in named))
    return PerItemReply(tuple(_outcome(one, conversions[at : at + 1]) for at, one in enumerate(named)))


class _SuccessRow(msgspec.Struct, gc=False):
    """An entry under `success`. The event's echo beside it decides nothing and is passed over."""

    index: int


class _SuccessReply(msgspec.Struct, forbid_unknown_fields=True):
    """The reply as nearly every one is."""

    success: list[_SuccessRow]
    error: tuple[()] | None = None


_taken = msgspec.json.Decoder(_SuccessReply)


def _all_accepted(body: bytes, sent: int) -> bool:
    """Tell whether a reply names every index once, in order, as a success, and in one reading only.

    A glance: what it does not see, the long way may. An index that is named beside these, or could be by an
    escape, is the long way's to judge.
    """
    if body.count(b'"index"') != sent or b"\\u00" in body:
        return False
    try:
        reply = _taken.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return [row.index for row in reply.success] == list(range(sent))


def _entries(rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the entries whose index is a whole number; `true` and `"0"` are not."""
    for row in _list(rows):
        if isinstance(row, dict) and type(index := row.get("index")) is int:
            yield index, row


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _outcome(one: _IndexEntries, conversion: Sequence[bytes]) -> Outcome:
    match one.accepted, one.refused:
        case True, True:
            return ItemUnknown("contradictory")
        case True, False:
            return ItemAccepted()
        case False, True:
            return _worst(one.errors, _values(conversion))
        case _:
            return ItemUnknown("missing_index")


def _worst(errors: Sequence[Any], values: Collection[str]) -> ItemRefused | ItemFailed:
    """Return what a conversion's errors come to: one that is for good outweighs all that may pass (P4)."""
    spoken = [error for error in errors if isinstance(error, dict)]
    codes = [messages.error_code(error.get("code"), otherwise="UNSPECIFIED") for error in spoken]
    for name, error in zip(codes, spoken, strict=True):
        if name not in RETRYABLE_CODES:
            message = messages.scrub(error.get("message"), sent=values)
            return ItemRefused(name, message, messages.field_path(error.get("fieldLocation"), sent=values))
    if not spoken:
        return ItemRefused("UNSPECIFIED", "Amazon listed the event as an error and gave no reason.")
    return ItemFailed(codes[0], messages.scrub(spoken[0].get("message"), sent=values))


def _whole_error(body: bytes, default: str, conversions: Sequence[bytes]) -> tuple[str, str]:
    """Return the code and the message of an error that speaks of the whole request: `{"code", "message"}`."""
    error = read_json(body)
    if not isinstance(error, dict):
        return default, ""
    message = error.get("message") or error.get("details") or error.get("Message")
    return messages.error_code(error.get("code"), otherwise=default), messages.scrub(
        message, sent=_values(conversions)
    )


def _values(conversions: Sequence[bytes]) -> frozenset[str]:
    return messages.values_sent(read_json(conversion) for conversion in conversions)
