"""The table of requests: what each is, and what the service owes it. Comments name the source of rules.

Placeholders that `Case.of` fills: the caller's key, its destination, an event id of this sending. Those that
stand in bodies have the length of what replaces them, so that declared lengths stay true.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.edge.service import event

KEY, DESTINATION, EVENT_ID = "%KEY%", "%DESTINATION-OF-THE-KEY%", "%EVENT-ID%"
ID_LENGTH = len(EVENT_ID)
KEPT, CLOSED, EITHER = True, False, None
MIB = 1024 * 1024

EVENT = json.dumps(event(DESTINATION, EVENT_ID)).encode()
NAMING = json.dumps(event(DESTINATION, EVENT_ID, note="\nPOST /events RTSP/1.0")).encode()
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: smuggled\r\nX-Request-Id: smuggled\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One request. `kept`: whether the connection serves the next request; None where both are right.

    `cut`: send it in two segments at every boundary too. `bytewise`: byte by byte too.
    """

    name: str
    request: bytes
    status: frozenset[int]
    kept: bool | None
    head: bool = False
    cut: bool = True
    bytewise: bool = False

    def of(self, *, key: str, destination: str, event_id: str) -> bytes:
        """Return the request as this caller sends it."""
        return (
            self.request.replace(KEY.encode(), key.encode())
            .replace(DESTINATION.encode(), destination.encode())
            .replace(EVENT_ID.encode(), event_id.encode())
        )


def head(*lines: str, target: str = "/events", method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    """Return the head of a request with exactly these fields."""
    first = f"{method} {target} {version}".encode("latin-1")
    return b"\r\n".join([first, *(line.encode("latin-1") for line in lines)]) + b"\r\n\r\n"


USUAL = ("Host: edge", f"X-Api-Key: {KEY}", "Content-Type: application/json", f"X-Request-Id: {EVENT_ID}")
NO_KEY = ("Host: edge", "Content-Type: application/json", f"X-Request-Id: {EVENT_ID}")
LENGTH = f"Content-Length: {len(EVENT)}"
CHUNKED = "Transfer-Encoding: chunked"


def post(*lines: str, body: bytes = EVENT, fields: Sequence[str] = USUAL, **more: str) -> bytes:
    """Return a POST of `body` with its length, and these fields beside the usual ones."""
    return head(*fields, *lines, f"Content-Length: {len(body)}", **more) + body


def chunk(data: bytes, extension: str = "") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension.encode("latin-1"), data)


def chunks(*parts: bytes, trailers: Sequence[str] = ()) -> bytes:
    """Return a chunked body."""
    lines = b"".join(line.encode("latin-1") + b"\r\n" for line in trailers)
    return b"".join(map(chunk, parts)) + b"0\r\n" + lines + b"\r\n"


ONE_CHUNK = chunks(EVENT)
HALVES = chunks(EVENT[:50], EVENT[50:])


def chunked(
    body: bytes = HALVES, *lines: str, fields: Sequence[str] = USUAL, coding: str = CHUNKED, **more: str
) -> bytes:
    """Return a POST with a chunked body."""
    return head(*fields, *lines, coding, **more) + body


def row(name: str, request: bytes, status: int | tuple[int, ...], kept: bool | None, **more: bool) -> Case:
    statuses = frozenset({status} if isinstance(status, int) else status)
    return Case(name, request, statuses, kept, **more)


def served(name: str, request: bytes, **more: bool) -> Case:
    """Return a post that is stored."""
    return row(name, request, 202, KEPT, **more)


def malformed(name: str, request: bytes, **more: bool) -> Case:
    """Return a request after which nothing is read."""
    return row(name, request, 400, CLOSED, **more)


def large(name: str, request: bytes, status: int, kept: bool, *, head: bool = False) -> Case:
    """Return a request that is too large to be cut at every boundary."""
    return row(name, request, status, kept, head=head, cut=False)


def get(*lines: str, target: str = "/health/live", method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return head(
        "Host: edge", f"X-Request-Id: {EVENT_ID}", *lines, target=target, method=method, version=version
    )


WELL_FORMED = [
    # RFC 9112 §6.2
    served("length", post()),
    # RFC 9112 §7.1
    served("one chunk", chunked(ONE_CHUNK)),
    served("two chunks", chunked(), bytewise=True),
    served("chunks of one byte", chunked(chunks(*[b" "] * 60, EVENT))),
    served(
        "chunk size in capitals, with zeros", chunked(b"000%X\r\n%s\r\n000\r\n\r\n" % (len(EVENT), EVENT))
    ),
    # RFC 9112 §7.1.1
    served("chunk extensions", chunked(chunk(EVENT, ';a=b;c="d;e"') + b"0;last\r\n\r\n")),
    # RFC 9112 §7
    served("coding in capitals", chunked(coding="TRANSFER-ENCODING: Chunked")),
    # RFC 9110 §5.5
    malformed("coding with blanks around", chunked(coding="Transfer-Encoding: \tchunked \t")),
    # RFC 9110 §5.1
    served("field names in lower case", post().replace(b"Content-Length", b"content-length")),
    # RFC 9110 §5.5
    served("an empty field", post("X-Empty:")),
    served("letters above ASCII in a field", post("X-Name: Ren\xe9")),
    # RFC 9110 §8.6
    served("zeros before the length", head(*USUAL, f"Content-Length: 000{len(EVENT)}") + EVENT),
    # RFC 9112 §2.2
    served("an empty line first", b"\r\n" + post()),
    # RFC 9112 §3.2.2
    served("absolute form", post(target="http://edge/events")),
    served("absolute form of another host", post(target="http://other/events")),
    # RFC 3986 §3.1
    served("absolute form in capitals", post(target="HTTP://EDGE:80/events")),
    # RFC 3986 §6.2.2.2
    served("percent-encoded path", post(target="/%65vents")),
    # interface §2
    served("ids in the query", post(target=f"/events?destination_id={DESTINATION}")),
    # RFC 9112 §3.2.1
    served("empty query", post(target="/events?")),
    # RFC 9112 §3.2
    served("an empty Host", post(fields=("Host:", *USUAL[1:]))),
    served("an address as Host", post(fields=("Host: [::1]:8000", *USUAL[1:]))),
    # interface §15
    served("a body that names a protocol", post(body=NAMING)),
    # RFC 9112 §9.6
    row("close", post("Connection: close"), 202, CLOSED),
    row("close among options", post("Connection: x, Close"), 202, CLOSED),
    # RFC 9112 §9.3
    row("HTTP/1.0", post(version="HTTP/1.0"), 202, CLOSED),
    # RFC 9112 §3.2
    row("HTTP/1.0 without Host", post(fields=USUAL[1:], version="HTTP/1.0"), 202, CLOSED),
    # RFC 9112 §9.3
    row("HTTP/1.0 kept alive", post("Connection: keep-alive", version="HTTP/1.0"), 202, EITHER),
    # RFC 9110 §10.1.1
    served("expects 100", post("Expect: 100-continue")),
    served("expects 100, in capitals", post("Expect: 100-Continue")),
    served("expects 100, chunked", chunked(HALVES, "Expect: 100-continue")),
    row("expects 100 in HTTP/1.0", post("Expect: 100-continue", version="HTTP/1.0"), 202, CLOSED),
    row("an unknown expectation", post("Expect: 200-maybe"), 417, CLOSED),
    # interface §6
    row("liveness", get(), 200, KEPT),
    # RFC 9110 §9.3.2
    row("HEAD", get(method="HEAD"), 200, KEPT, head=True),
    row("HEAD of nothing", get(method="HEAD", target="/nothing"), 404, KEPT, head=True),
    # RFC 9110 §9.3.1
    row("GET with a body", get("Content-Length: 5") + b"hello", 415, KEPT),
    # interface §6
    row("no such path", post(target="/nothing"), 404, KEPT),
    # RFC 3986 §6.2.2
    row("a slash too many", post(target="/events/"), 405, KEPT),
    # RFC 9112 §3.2.1
    row("two slashes", post(target="//events"), 404, KEPT),
]


def offers(name: str, *lines: str) -> list[Case]:
    """Return an offer to change the protocol, on several routes: each is served as HTTP/1.1 with its body."""
    return [
        # interface §15
        served(f"{name}: events", post(*lines)),
        served(f"{name}: events, chunked", chunked(HALVES, *lines)),
        row(f"{name}: events without a key", post(*lines, fields=NO_KEY, body=SMUGGLED), 401, KEPT),
        row(f"{name}: liveness", get(*lines), 200, KEPT),
        row(
            f"{name}: liveness with a body",
            get(*lines, f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,
            415,
            KEPT,
        ),
    ]


H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
WEBSOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
OFFERS = [
    *offers("h2c", *H2C),
    *offers("websocket", *WEBSOCKET),
    *offers("an unknown protocol", "connection: upgrade", "upgrade: foo/2"),
    # interface §15
    served(
        "options on two lines",
        post("Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c"),
        bytewise=True,
    ),
    served("several offers", post("Connection: keep-alive, Upgrade", "Upgrade: h2c, websocket, TLS/1.0")),
    served("Upgrade not named in Connection", post("Upgrade: h2c")),
    served("Connection without Upgrade", post("Connection: upgrade")),
    served("HTTP2-Settings alone", post("HTTP2-Settings: AAMAAABkAAQAAP__")),
    row("an offer and close", post("Connection: upgrade, close", "Upgrade: h2c"), 202, CLOSED),
    # RFC 9110 §7.8
    row("an offer in HTTP/1.0", post("Connection: upgrade", "Upgrade: h2c", version="HTTP/1.0"), 202, CLOSED),
    served("an offer that expects 100", post(*H2C, "Expect: 100-continue")),
    # interface §15
    served("an offer with a percent-encoded path", post(*H2C, target="/%65vents")),
    served("an offer with a query", post(*H2C, target=f"/events?destination_id={DESTINATION}")),
    served("an offer with trailers", chunked(chunks(EVENT, trailers=["X-End: 1"]), *H2C)),
    large("an offer with a large field", post(*H2C, f"X-Name: {'a' * 60_000}"), 202, KEPT),
    large("an offer with a field too large", post(*H2C, f"X-Name: {'a' * 70_000}"), 431, CLOSED),
    row("an offer that expects a miracle", post(*H2C, "Expect: a-miracle"), 417, CLOSED),
    row("an offer in RTSP/1.0", post(*H2C, version="RTSP/1.0"), 505, CLOSED),
    row("an offer in HTTP/2.0", post(*H2C, version="HTTP/2.0"), 505, CLOSED),
    malformed("an offer with two Hosts", post(*H2C, "Host: other")),
    row("an offer with another coding", chunked(HALVES, *H2C, coding="Transfer-Encoding: gzip"), 501, CLOSED),
    row("an offer with nothing to send", post(*H2C, body=b""), 400, KEPT),
    row("an offer of a whole request as its body", post(*H2C, body=SMUGGLED), 400, KEPT),
    malformed("an offer with two lengths", head(*USUAL, *H2C, LENGTH, "Content-Length: 3") + EVENT),
    malformed("an offer with both lengths", head(*USUAL, *H2C, LENGTH, CHUNKED) + HALVES),
    row(
        "an offer to POST /keys without a key",
        post(*H2C, target="/keys", fields=NO_KEY, body=SMUGGLED),
        401,
        KEPT,
    ),
    row("an offer to POST /keys", post(*WEBSOCKET, target="/keys", body=b'{"name": "x"}'), 403, KEPT),
    row("an offer to an unknown path", post(*H2C, target="/nope", method="PUT", body=SMUGGLED), 404, KEPT),
    row("an offer with HEAD", get(*H2C, method="HEAD"), 200, KEPT, head=True),
    row(
        "HEAD with an offer and a body",
        get(*H2C, f"Content-Length: {len(SMUGGLED)}", method="HEAD") + SMUGGLED,
        415,
        KEPT,
        head=True,
    ),
    # RFC 9110 §9.3.6
    row("CONNECT", head("Host: edge", method="CONNECT", target="edge:80"), 501, CLOSED),
    row(
        "CONNECT with a body that is a request",
        head("Host: edge", f"Content-Length: {len(SMUGGLED)}", method="CONNECT", target="edge:80") + SMUGGLED,
        501,
        CLOSED,
    ),
    # interface §15
    row("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, CLOSED),
]


def trailing(*trailers: str, fields: Sequence[str] = USUAL) -> bytes:
    return chunked(chunks(EVENT, trailers=trailers), fields=fields)


NO_TYPE = tuple(line for line in USUAL if not line.startswith("Content-Type"))
TRAILERS = [
    # RFC 9112 §7.1.2
    served("unknown trailers", trailing("X-End: 1", "Y:"), bytewise=True),
    # RFC 9110 §6.5.1
    row("key in a trailer", trailing(f"X-Api-Key: {KEY}", fields=NO_KEY), 401, EITHER),
    row("Authorization in a trailer", trailing(f"Authorization: Bearer {KEY}", fields=NO_KEY), 401, EITHER),
    served("a second key in a trailer", trailing("Authorization: Bearer other")),
    row(
        "the media type in a trailer", trailing("Content-Type: application/json", fields=NO_TYPE), 415, EITHER
    ),
    served("a coding in a trailer", trailing("Content-Encoding: gzip")),
    served("a request id in a trailer", trailing("X-Request-Id: from-a-trailer")),
    malformed("a length in a trailer", trailing("Content-Length: 3")),
    malformed("a transfer coding in a trailer", trailing(CHUNKED)),
    served("a Host in a trailer", trailing("Host: other")),
    row("close in a trailer", trailing("Connection: close"), 202, CLOSED),
    served("an offer in a trailer", trailing("Connection: upgrade", "Upgrade: h2c")),
    *(
        row(f"{name} in a trailer of a refused post", trailing(trailer, fields=NO_KEY), (400, 401), EITHER)
        for name, trailer in (
            ("close", "Connection: close"),
            ("upgrade", "Connection: upgrade"),
            ("a length", "Content-Length: 3"),
            ("a transfer coding", CHUNKED),
            ("a line without a colon", "X-End"),
        )
    ),
    # RFC 9110 §6.5.1
    served("Expect in a trailer", trailing("Expect: 100-continue")),
    row(
        "a trailer for a GET",
        head("Host: edge", f"X-Request-Id: {EVENT_ID}", CHUNKED, method="GET", target="/keys")
        + chunks(b"x", trailers=[f"X-Api-Key: {KEY}"]),
        401,
        EITHER,
    ),
    # RFC 9112 §5.2
    malformed("a trailer that is folded", trailing("X-End: 1", " 2")),
    # RFC 9112 §5
    malformed("a trailer without a colon", trailing("X-End")),
    # RFC 9112 §5.1
    malformed("a trailer with a blank before its colon", trailing("X-End : 1")),
    # RFC 9112 §7.1.2
    large("trailers too large", trailing(*(f"X-{n}: {'a' * 1000}" for n in range(80))), 431, CLOSED),
]


def bad_length(name: str, *lines: str) -> Case:
    return malformed(name, head(*USUAL, *lines) + EVENT)


N = len(EVENT)
LENGTHS = [
    # RFC 9112 §6.3
    malformed("both lengths", head(*USUAL, LENGTH, CHUNKED) + HALVES, bytewise=True),
    malformed("both lengths, coding first", head(*USUAL, CHUNKED, LENGTH) + HALVES),
    malformed("both lengths, an empty length", head(*USUAL, CHUNKED, "Content-Length:") + HALVES),
    bad_length("two lengths that differ", LENGTH, "Content-Length: 3"),
    # interface §15
    bad_length("two lengths that agree", LENGTH, LENGTH),
    bad_length("a list of lengths that agree", f"Content-Length: {N}, {N}"),
    # RFC 9112 §6.3
    bad_length("a list of lengths that differ", f"Content-Length: {N}, 3"),
    bad_length("a length with a plus", f"Content-Length: +{N}"),
    bad_length("a negative length", f"Content-Length: -{N}"),
    bad_length("a hexadecimal length", f"Content-Length: 0x{N:x}"),
    bad_length("a length with an underscore", "Content-Length: 1_0"),
    bad_length("a length with a blank inside", "Content-Length: 1 0"),
    bad_length("a length with a fraction", f"Content-Length: {N}.0"),
    bad_length("a length of nothing", "Content-Length:"),
    bad_length("a length of other digits", "Content-Length: \xb2\xb9"),
    bad_length("a length that overflows", f"Content-Length: {2**64 + N}"),
    bad_length("a length with a vertical tab", f"Content-Length: \x0b{N}"),
    bad_length("a length in quotes", f'Content-Length: "{N}"'),
]


def coded(status: int, name: str, *codings: str) -> Case:
    lines = [f"Transfer-Encoding: {coding}" for coding in codings]
    return row(name, head(*USUAL, *lines) + HALVES, status, CLOSED)


CODINGS = [
    # RFC 9112 §6.1
    coded(501, "identity, chunked", "identity, chunked"),
    coded(501, "gzip, chunked", "gzip, chunked"),
    coded(400, "chunked, chunked", "chunked, chunked"),
    coded(400, "chunked, identity", "chunked, identity"),
    coded(501, "identity", "identity"),
    coded(501, "gzip", "gzip"),
    coded(501, "an unknown coding", "xchunked"),
    coded(501, "chunked with a parameter", "chunked;q=1"),
    coded(501, "chunked in quotes", '"chunked"'),
    coded(400, "chunked behind a vertical tab", "\x0bchunked"),
    coded(501, "two lines: identity, chunked", "identity", "chunked"),
    coded(400, "two lines: chunked, identity", "chunked", "identity"),
    coded(400, "two lines: chunked, chunked", "chunked", "chunked"),
    coded(501, "two lines: gzip, chunked", "gzip", "chunked"),
    coded(400, "no coding", ""),
    # RFC 9110 §5.6.1
    malformed("a list of chunked and nothing", chunked(coding="Transfer-Encoding: chunked,")),
    # RFC 9112 §6.1
    malformed("HTTP/1.0 with a coding", chunked(version="HTTP/1.0")),
    # RFC 9112 §5.1
    malformed("a coding with a blank before its colon", chunked(coding="Transfer-Encoding : chunked")),
    # RFC 9112 §5.2
    malformed("a coding folded onto the next line", chunked(coding="Transfer-Encoding:\r\n chunked")),
    # RFC 9112 §6.1
    row("a coding on GET", get("Transfer-Encoding: gzip, chunked") + HALVES, 501, CLOSED),
]

L = b"%x" % N


CHUNKS = [
    # RFC 9112 §7.1
    malformed("a size with a plus", chunked(b"+" + ONE_CHUNK)),
    malformed("a negative size", chunked(b"-" + ONE_CHUNK)),
    malformed("a size with 0x", chunked(b"0x" + ONE_CHUNK)),
    malformed("a size behind a blank", chunked(b" " + ONE_CHUNK)),
    malformed("no size", chunked(b"\r\n" + EVENT + b"\r\n0\r\n\r\n")),
    malformed("a size that overflows", chunked(b"1" + b"0" * 16 + L + b"\r\n" + EVENT + b"\r\n0\r\n\r\n")),
    malformed("a bare LF behind the size", chunked(L + b"\n" + EVENT + b"\r\n0\r\n\r\n")),
    malformed("a bare CR behind the size", chunked(L + b"\rX" + EVENT + b"\r\n0\r\n\r\n")),
    malformed("a bare LF behind the data", chunked(L + b"\r\n" + EVENT + b"\n0\r\n\r\n")),
    malformed("nothing behind the data", chunked(L + b"\r\n" + EVENT + b"0\r\n\r\n")),
    malformed("data longer than its size", chunked(L + b"\r\n" + EVENT + b"xx\r\n0\r\n\r\n")),
    # RFC 9112 §7.1.1
    malformed("a bare LF in an extension", chunked(L + b";a\n\r\n" + EVENT + b"\r\n0\r\n\r\n")),
    malformed("NUL in an extension", chunked(L + b";a=\0\r\n" + EVENT + b"\r\n0\r\n\r\n")),
    # RFC 9112 §7.1
    malformed("a bare LF behind the last chunk", chunked(L + b"\r\n" + EVENT + b"\r\n0\n\r\n")),
    # RFC 9112 §7.1.1
    large("an extension without end", chunked(chunk(EVENT, f";{'a' * 200_000}") + b"0\r\n\r\n"), 202, KEPT),
]


HEADS = [
    # RFC 9112 §3.2
    malformed("no Host", post(fields=USUAL[1:])),
    malformed("two Hosts that agree", post("Host: edge")),
    malformed("two Hosts that differ", post("Host: other")),
    malformed("two Hosts in HTTP/1.0", post("Host: other", version="HTTP/1.0")),
    malformed("a Host of two words", post(fields=("Host: a b", *USUAL[1:]))),
    malformed("a Host with a path", post(fields=("Host: edge/x", *USUAL[1:]))),
    malformed("a Host with a name before @", post(fields=("Host: u@edge", *USUAL[1:]))),
    malformed("a list of Hosts", post(fields=("Host: edge, other", *USUAL[1:]))),
    # RFC 9112 §5.1
    malformed("a blank before a colon", post("X-Name : 1")),
    # RFC 9112 §5.2
    malformed("a folded field", post("X-Name: 1\r\n 2")),
    # RFC 9112 §2.2
    malformed("a folded first field", post(fields=(" X-First: 1", *USUAL))),
    # RFC 9112 §5
    malformed("no colon", post("X-Name")),
    # RFC 9110 §5.1
    malformed("no name", post(": 1")),
    malformed("a bracket in a name", post("X(Name: 1")),
    malformed("NUL in a name", post("X\0Name: 1")),
    malformed("letters above ASCII in a name", post("X-Nam\xe9: 1")),
    # RFC 9110 §5.5
    malformed("NUL in a value", post("X-Name: a\0b")),
    # RFC 9112 §2.2
    malformed("a bare CR in a value", post("X-Name: a\rb")),
    # interface §15
    malformed("a bare LF between fields", post("X-Name: a\nX-Other: b")),
    malformed("bare LF everywhere", post().replace(b"\r\n", b"\n")),
    malformed("a bare LF at the end of the head", post().replace(b"\r\n\r\n", b"\r\n\n")),
    row("HTTP/2.0", post(version="HTTP/2.0"), 505, CLOSED),
    row("HTTP/3.0", post(version="HTTP/3.0"), 505, CLOSED),
    row("HTTP/1.2", post(version="HTTP/1.2"), 505, CLOSED),
    row("HTTP/0.9", post(version="HTTP/0.9"), 505, CLOSED),
    malformed("HTTP/1.10", post(version="HTTP/1.10")),
    # RFC 9112 §2.3
    malformed("http/1.1", post(version="http/1.1")),
    # interface §15
    row("RTSP/1.0", post(version="RTSP/1.0"), 505, CLOSED, bytewise=True),
    malformed("ICE/1.0", post(version="ICE/1.0")),
    row("RTSP/1.0 on another path", get(version="RTSP/1.0"), 505, CLOSED),
    row("HTTP/2.0 on another path", get(version="HTTP/2.0"), 505, CLOSED),
    # RFC 9112 §3.2
    malformed("no Host on another path", head(method="GET", target="/health/live")),
    malformed("two Hosts on another path", get("Host: other")),
    # interface §15
    row("no version", b"POST /events\r\n\r\n", (400, 505), CLOSED),
    # RFC 9112 §2.3
    row("a request line of 1991", b"GET /\r\n", (400, 505), CLOSED, cut=False),
    # RFC 9112 §3
    served("two blanks in the request line", post(target=" /events")),
    malformed("a tab in the request line", post().replace(b"POST /", b"POST\t/")),
    # RFC 9112 §3.2
    malformed("a blank in the target", post(target="/events x")),
    malformed("a fragment", post(target="/events#a")),
    malformed("a fragment behind a query", post(target="/events?#a")),
    malformed("absolute form with a fragment", post(target="http://edge/events#a")),
    # RFC 9112 §3.2.2
    malformed("absolute form of another scheme", post(target="ftp://edge/events")),
    # RFC 9110 §4.2.4
    malformed("absolute form with a user", post(target="http://user@edge/events")),
    # RFC 9110 §4.2.1
    malformed("absolute form without a host", post(target="http:///events")),
    # RFC 9112 §3.2.1
    malformed("a path without a slash", post(target="events")),
    # RFC 9112 §3.2
    malformed("a fragment on another path", get(target="/health/live#a")),
    malformed("NUL in the target", post(target="/events\0")),
    # RFC 9112 §3.2.4
    row("a star as the target", post(target="*"), 404, KEPT),
    # RFC 9112 §3.2.3
    malformed("an authority as the target", post(target="edge:80")),
    # RFC 9110 §9.1
    malformed("method in lower case", post(method="post")),
    malformed("unknown method", post(method="FETCH")),
    # RFC 9110 §15.5.6
    row("another method", post(method="PUT"), 405, KEPT),
    # RFC 9112 §2.2
    malformed("a greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 90),
    # RFC 9110 §9.3.2
    malformed("HEAD without Host", head("X-A: 1", target="/", method="HEAD"), head=True),
    row("HEAD that expects", get("Expect: x", method="HEAD"), 417, CLOSED, head=True),
    large(
        "HEAD with a field too large", get(f"X-Name: {'a' * 70_000}", method="HEAD"), 431, CLOSED, head=True
    ),
    # interface §15
    large("a field too large", post(f"X-Name: {'a' * 70_000}"), 431, CLOSED),
    large("too many fields", post(*(f"X-{n}: {n}" for n in range(3000))), 431, CLOSED),
    # RFC 9112 §3
    large("a target too long", post(target="/events?" + "a" * 70_000), 431, CLOSED),
]


def big(size: int) -> bytes:
    return b" " * (size - len(EVENT)) + EVENT


REFUSED = [
    # RFC 9112 §9.6
    row("no key, with a body", post(fields=NO_KEY), 401, KEPT),
    row("no key, chunked", chunked(fields=NO_KEY), 401, EITHER),
    # interface §15
    large("no key, a large body", post(fields=NO_KEY, body=big(MIB)), 401, KEPT),
    large("no key, a large chunked body", chunked(chunks(*[b" " * 65_536] * 20), fields=NO_KEY), 401, CLOSED),
    large("no key, close", post("Connection: close", fields=NO_KEY, body=big(MIB)), 401, CLOSED),
    # interface §2
    row("two keys", post("Authorization: Bearer other"), 400, KEPT),
    large("no media type", post(fields=NO_TYPE, body=big(MIB)), 415, KEPT),
    large("compressed", post("Content-Encoding: gzip", body=big(MIB)), 415, KEPT),
    row("compressed, chunked", chunked(HALVES, "Content-Encoding: gzip"), 415, EITHER),
    # interface §15
    large("6 MiB", post(body=big(6 * MIB)), 413, KEPT),
    large("15 MiB", post(body=big(15 * MIB)), 413, KEPT),
    large("6 MiB, close", post("Connection: close", body=big(6 * MIB)), 413, CLOSED),
    large("15 MiB, close", post("Connection: close", body=big(15 * MIB)), 413, CLOSED),
    large("15 MiB in HTTP/1.0", post(body=big(15 * MIB), version="HTTP/1.0"), 413, CLOSED),
    large("no key, 6 MiB, close", post("Connection: close", fields=NO_KEY, body=big(6 * MIB)), 401, CLOSED),
    large("6 MiB, chunked, close", chunked(chunks(*[b" " * MIB] * 6), "Connection: close"), 413, CLOSED),
    large("6 MiB, chunked", chunked(chunks(*[b" " * MIB] * 6)), 413, CLOSED),
    large("15 MiB in a query's way", post(body=big(15 * MIB), target="/events?dry_run=true"), 413, KEPT),
    large("6 MiB to another path", post(body=big(6 * MIB), target="/keys"), 403, KEPT),
    large("6 MiB to nothing", post(body=big(6 * MIB), target="/nothing", fields=NO_KEY), 404, KEPT),
    # interface §2
    row("no JSON", post(body=b"{"), 400, KEPT),
    row("no body", post(body=b""), 400, KEPT),
    # RFC 9112 §6.3
    row("no length", head(*USUAL), 400, KEPT),
]

CASES: list[Case] = [*WELL_FORMED, *OFFERS, *TRAILERS, *LENGTHS, *CODINGS, *CHUNKS, *HEADS, *REFUSED]
