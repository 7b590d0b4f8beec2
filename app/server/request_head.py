"""Heads of requests: what they say about body and cost, and rules that the parser does not check. No I/O.

A proxy could read an ambiguous head differently from this server (request smuggling), so ambiguous heads are
refused and the connection closes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from app.admin import ErrorCode, Problem
from app.api.http.headers import FirstHeaders, RawHeaders
from app.domain.admission import MIB

KIB: Final = 1024
PATH: Final = "/events"
EVENTS_PATH: Final = PATH.encode()
_LARGE: Final = (b"/mappings/suggest", b"/dedupe/compare")  # ends of paths whose bodies carry much

# The cost of a request before its body arrives (`app.domain.admission.POST_COST`). The first row that matches
# the path decides, unless the query asks for an export. Measured: 13 KiB of a post of events take about a
# millisecond of CPU time.
_MANY_ROWS: Final = 512 * KIB
_COSTS: Final = (
    # Probes must be answered under any load. A live stream waits almost always.
    (re.compile(rb"^/(health/|metrics|console/static/)|^/console/(.*/)?live$"), 0),
    # These merge stored samples, or read many rows.
    (
        re.compile(
            rb"/(event-schema|backtest|suggest|event-search|search|match-quality|dedupe|reconciliation)\b"
            rb"|^/subjects/find|^/console/(events|tail)$"
        ),
        _MANY_ROWS,
    ),
    (re.compile(rb"^/console"), 64 * KIB),
    (re.compile(rb""), 32 * KIB),
)
_EXPORT: Final = re.compile(rb"(^|&)format=(csv|ndjson)")

_VERSIONS: Final = frozenset({"1.0", "1.1"})
# RFC 3986 §3.2.2 and §3.2.3: an optional host and an optional port.
_HOST: Final = re.compile(rb"(\[[0-9A-Za-z:.%_~-]*\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(:[0-9]*)?")
# RFC 9112 §3.2.2; RFC 9110 §4.2.4 forbids user information.
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://[^/?@]+([/?].*)?", re.DOTALL)
# Request lines of protocols besides HTTP, which the parser accepts for some methods.
_FIRST_LINE: Final = re.compile(rb"[\r\n]*[A-Z_-]+ +[^ \r\n]+ +(?:RTSP|ICE)/")
_ANY_LINE: Final = re.compile(rb"(?:^|\n)([A-Z_-]+) +([^ \r\n]+) +(?:RTSP|ICE)/")

UNREADABLE: Final = Problem(ErrorCode.MALFORMED, "This is not HTTP/1.1.")
CROWDED: Final = Problem(ErrorCode.UNAVAILABLE, "Too many connections. Use fewer and keep them open.")
_HOSTS: Final = Problem(ErrorCode.MALFORMED, "Send exactly one Host field: a host and an optional port.")
_FRAGMENT: Final = Problem(ErrorCode.MALFORMED, "The request target contains a fragment (#).")
_TARGET: Final = Problem(
    ErrorCode.MALFORMED, "The request target must be a path, or an http:// or https:// URL without user."
)
_OLD_CHUNKED: Final = Problem(
    ErrorCode.MALFORMED, "HTTP/1.0 has no Transfer-Encoding: the length is ambiguous."
)
_CODING: Final = Problem(ErrorCode.NOT_IMPLEMENTED, "The only supported transfer coding is chunked, once.")
_CONNECT: Final = Problem(ErrorCode.NOT_IMPLEMENTED, "CONNECT is not supported.")
_VERSION: Final = Problem(ErrorCode.HTTP_VERSION_NOT_SUPPORTED)
_EXPECTATION: Final = Problem(ErrorCode.EXPECTATION_FAILED)


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request. `headers` has the first value of each of the `raw` headers.

    `path` is the path by which the request is routed, `query` is as received. `length` is the declared length
    of the body: 0 without a body, None if it is chunked or not a number. `max_body` is the largest body that
    the path accepts, in bytes.
    """

    method: bytes
    path: bytes
    query: bytes
    raw: RawHeaders
    headers: FirstHeaders
    length: int | None
    max_body: int


def read_head(method: bytes, target: bytes, raw: RawHeaders) -> RequestHead:
    """Return the head of a request. Blanks around a length, and its leading zeros, are ignored."""
    headers, length = dict(reversed(raw)), None
    if b"transfer-encoding" not in headers:
        digits = headers.get(b"content-length", b"0").strip(b" \t").lstrip(b"0")[:20] or b"0"
        length = int(digits) if digits.isdigit() else None
    path, _, query = target.partition(b"?")
    if b"%" in path or not path.startswith(b"/"):
        path = _routed_path(path)
    max_body = 5 * MIB if path == EVENTS_PATH or path.endswith(_LARGE) else MIB
    return RequestHead(method, path, query, raw, headers, length, max_body)


def _routed_path(path: bytes) -> bytes:
    """Return an encoded path, or that of a URL, as the router reads it: another spelling costs the same."""
    if not path.startswith(b"/"):
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(path)


def route_cost(path: bytes, query: bytes) -> int:
    """Return the cost of a request other than a post of events; 0 for a request that is never shed."""
    if _EXPORT.search(unquote_to_bytes(query)):
        return _MANY_ROWS
    return next(cost for pattern, cost in _COSTS if pattern.search(path))


def problem_of_head(
    method: bytes, version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], *, foreign: bool
) -> Problem | None:
    """Return the refusal of a head, or None. Header names are in lower case, values as received.

    `foreign` means that the request line names a protocol other than HTTP.
    """
    if foreign or version not in _VERSIONS:
        return _VERSION
    if method == b"CONNECT":
        return _CONNECT
    if b"#" in target:
        return _FRAGMENT
    if not target.startswith((b"/", b"*")) and _ABSOLUTE.fullmatch(target) is None:
        return _TARGET
    hosts, codings = 0, 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if hosts > 1 or _HOST.fullmatch(value.strip(b" \t")) is None:
                return _HOSTS
        elif name == b"transfer-encoding":
            codings += 1
            if version == "1.0":
                return _OLD_CHUNKED
            if codings > 1 or value.strip(b" \t").lower() != b"chunked":
                return _CODING
        elif name == b"expect" and value.strip(b" \t").lower() != b"100-continue":
            return _EXPECTATION
    return _HOSTS if hosts == 0 and version == "1.1" else None


def problem_of_version(version: str) -> Problem | None:
    """Return the refusal of an HTTP version, or None. The version 0.0 means that none was parsed yet."""
    return None if version in _VERSIONS or version == "0.0" else _VERSION


@dataclass(slots=True)
class RequestLines:
    """Detects request lines of other protocols in the received bytes.

    The parser accepts RTSP and ICE for some methods and does not report it. Call `received` before a segment
    is parsed, and `is_foreign` once for each head.
    """

    _segment: bytes = b""
    _before: bytes = b""
    _at_start: bool = False
    _found: frozenset[tuple[bytes, bytes]] | None = None

    def received(self, segment: bytes, *, in_head: bool, boundary: bool) -> None:
        """Record the next segment, which continues a head (`in_head`), or begins one with its first byte
        (`boundary`).
        """
        # Earlier segments of the head are kept for the check of its request line.
        continues = in_head and not boundary
        self._before = self._before + self._segment if continues else b""
        self._at_start = boundary or (continues and self._at_start)
        self._segment, self._found = segment, None

    def is_foreign(self, method: bytes, target: bytes) -> bool:
        """Return whether the request line with this method and target names a protocol other than HTTP."""
        raw = self._before + self._segment if self._before else self._segment
        if self._at_start:
            self._at_start = False  # a further head of the segment begins elsewhere
            if raw.startswith(b"%b %b HTTP/" % (method, target)):
                return False  # the usual case
            return _FIRST_LINE.match(raw) is not None
        if self._found is None:  # cached for all heads of a segment
            mentioned = b" RTSP/" in raw or b" ICE/" in raw
            self._found = frozenset(_ANY_LINE.findall(raw)) if mentioned else frozenset()
        return (method, target) in self._found


def names_no_version(head: bytes) -> bool:
    """Return whether a head begins with a complete request line without a version (HTTP/0.9)."""
    line, ended, _ = head.lstrip(b"\r\n").partition(b"\n")
    return bool(ended) and b" HTTP/" not in line and _FIRST_LINE.match(line) is None


def without_upgrade(
    method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Return a head without its request for an upgrade to another protocol."""
    lines = [method, b" ", target, b" HTTP/", version.encode(), b"\r\n"]
    for name, value in headers:
        remaining = value
        if name in (b"upgrade", b"http2-settings"):
            continue
        if name == b"connection":
            options = [option.strip(b" \t") for option in value.split(b",")]
            remaining = b", ".join(
                option for option in options if option.lower() not in (b"upgrade", b"http2-settings")
            )
            if not remaining:
                continue
        lines += (name, b": ", remaining, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
