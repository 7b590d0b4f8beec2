"""The head of a request: its headers, and what it says about its body and its cost."""

import re
from typing import Final

import msgspec

from app.api.http.headers import FirstHeaders, RawHeaders, first_headers

KIB: Final = 1024
MIB: Final = 1024 * KIB
PATH: Final = "/events"
EVENTS_PATH: Final = PATH.encode()
_LARGE: Final = (b"/mappings/suggest", b"/dedupe/compare")

# The cost of a request before its body arrives (`app.domain.admission.POST_COST`). The first row that matches
# the request target decides. Measured: 13 KiB of a post of events take about a millisecond of CPU time.
_COSTS: Final = (
    # Probes must be answered under any load. A live stream waits almost always.
    (re.compile(rb"^/(health/|metrics|console/static/)|/live(\?|$)"), 0),
    # These merge stored samples, or read many rows.
    (
        re.compile(
            rb"/(event-schema|backtest|suggest|event-search|search|match-quality|dedupe|reconciliation)\b"
            rb"|[?&]format=(csv|ndjson)|^/subjects/find"
        ),
        512 * KIB,
    ),
    (re.compile(rb"^/console"), 64 * KIB),
    (re.compile(rb""), 32 * KIB),
)


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request. `headers` has the first value of each of the `raw` headers.

    `path` is the target without its query. `length` is the declared length of the body: 0 without a body,
    None if it is chunked or not a number.
    """

    method: bytes
    target: bytes
    path: bytes
    raw: RawHeaders
    headers: FirstHeaders
    length: int | None


def read_head(method: bytes, target: bytes, raw: RawHeaders) -> RequestHead:
    """Return the head of a request. Blanks around a length, and its leading zeros, are ignored."""
    headers, length = first_headers(raw), None
    if b"transfer-encoding" not in headers:
        digits = headers.get(b"content-length", b"0").strip(b" \t").lstrip(b"0")[:20] or b"0"
        length = int(digits) if digits.isdigit() else None
    return RequestHead(method, target, target.partition(b"?")[0], raw, headers, length)


def max_body_bytes(path: bytes) -> int:
    """Return the largest body that a path accepts, in bytes: more for many events or ids."""
    return 5 * MIB if path == EVENTS_PATH or path.endswith(_LARGE) else MIB


def route_cost(target: bytes) -> int:
    """Return the cost of a request other than a post of events; 0 for a request that is never shed."""
    return next(cost for pattern, cost in _COSTS if pattern.search(target))
