"""The table of requests: what each is, and what the service owes it.

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
HTTP = "interface §15"


@dataclass(frozen=True)
class Case:
    """One request. `kept`: whether the connection serves the next request; None where both are right.

    `cut`: send it in two segments at every boundary too. `bytewise`: byte by byte too.
    """

    name: str
    source: str
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
HEAD_SOURCE = "RFC 9110 §9.3.2"
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


def row(
    name: str, source: str, request: bytes, status: int | tuple[int, ...], kept: bool | None, **more: bool
) -> Case:
    statuses = frozenset({status} if isinstance(status, int) else status)
    return Case(name, source, request, statuses, kept, **more)


def get(*lines: str, target: str = "/health/live", method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return head(
        "Host: edge", f"X-Request-Id: {EVENT_ID}", *lines, target=target, method=method, version=version
    )


WELL_FORMED = [
    row("length", "RFC 9112 §6.2", post(), 202, KEPT),
    row("one chunk", "RFC 9112 §7.1", chunked(ONE_CHUNK), 202, KEPT),
    row("two chunks", "RFC 9112 §7.1", chunked(), 202, KEPT, bytewise=True),
    row("chunks of one byte", "RFC 9112 §7.1", chunked(chunks(*[b" "] * 60, EVENT)), 202, KEPT),
    row(
        "chunk size in capitals, with zeros",
        "RFC 9112 §7.1",
        chunked(b"000%X\r\n%s\r\n000\r\n\r\n" % (len(EVENT), EVENT)),
        202,
        KEPT,
    ),
    row(
        "chunk extensions",
        "RFC 9112 §7.1.1",
        chunked(chunk(EVENT, ';a=b;c="d;e"') + b"0;last\r\n\r\n"),
        202,
        KEPT,
    ),
    row("coding in capitals", "RFC 9112 §7", chunked(coding="TRANSFER-ENCODING: Chunked"), 202, KEPT),
    row(
        "coding with blanks around",
        "RFC 9110 §5.5",
        chunked(coding="Transfer-Encoding: \tchunked \t"),
        400,
        CLOSED,
    ),
    row(
        "field names in lower case",
        "RFC 9110 §5.1",
        post().replace(b"Content-Length", b"content-length"),
        202,
        KEPT,
    ),
    row("an empty field", "RFC 9110 §5.5", post("X-Empty:"), 202, KEPT),
    row("letters above ASCII in a field", "RFC 9110 §5.5", post("X-Name: Ren\xe9"), 202, KEPT),
    row(
        "zeros before the length",
        "RFC 9110 §8.6",
        head(*USUAL, f"Content-Length: 000{len(EVENT)}") + EVENT,
        202,
        KEPT,
    ),
    row("an empty line first", "RFC 9112 §2.2", b"\r\n" + post(), 202, KEPT),
    row("absolute form", "RFC 9112 §3.2.2", post(target="http://edge/events"), 202, KEPT),
    row("absolute form of another host", "RFC 9112 §3.2.2", post(target="http://other/events"), 202, KEPT),
    row("absolute form in capitals", "RFC 3986 §3.1", post(target="HTTP://EDGE:80/events"), 202, KEPT),
    row("percent-encoded path", "RFC 3986 §6.2.2.2", post(target="/%65vents"), 202, KEPT),
    row("ids in the query", "interface §2", post(target=f"/events?destination_id={DESTINATION}"), 202, KEPT),
    row("empty query", "RFC 9112 §3.2.1", post(target="/events?"), 202, KEPT),
    row("an empty Host", "RFC 9112 §3.2", post(fields=("Host:", *USUAL[1:])), 202, KEPT),
    row("an address as Host", "RFC 9112 §3.2", post(fields=("Host: [::1]:8000", *USUAL[1:])), 202, KEPT),
    row("a body that names a protocol", HTTP, post(body=NAMING), 202, KEPT),
    row("close", "RFC 9112 §9.6", post("Connection: close"), 202, CLOSED),
    row("close among options", "RFC 9112 §9.6", post("Connection: x, Close"), 202, CLOSED),
    row("HTTP/1.0", "RFC 9112 §9.3", post(version="HTTP/1.0"), 202, CLOSED),
    row("HTTP/1.0 without Host", "RFC 9112 §3.2", post(fields=USUAL[1:], version="HTTP/1.0"), 202, CLOSED),
    row(
        "HTTP/1.0 kept alive",
        "RFC 9112 §9.3",
        post("Connection: keep-alive", version="HTTP/1.0"),
        202,
        EITHER,
    ),
    row("expects 100", "RFC 9110 §10.1.1", post("Expect: 100-continue"), 202, KEPT),
    row("expects 100, in capitals", "RFC 9110 §10.1.1", post("Expect: 100-Continue"), 202, KEPT),
    row("expects 100, chunked", "RFC 9110 §10.1.1", chunked(HALVES, "Expect: 100-continue"), 202, KEPT),
    row(
        "expects 100 in HTTP/1.0",
        "RFC 9110 §10.1.1",
        post("Expect: 100-continue", version="HTTP/1.0"),
        202,
        CLOSED,
    ),
    row("an unknown expectation", "RFC 9110 §10.1.1", post("Expect: 200-maybe"), 417, CLOSED),
    row("liveness", "interface §6", get(), 200, KEPT),
    row("HEAD", "RFC 9110 §9.3.2", get(method="HEAD"), 200, KEPT, head=True),
    row("HEAD of nothing", "RFC 9110 §9.3.2", get(method="HEAD", target="/nothing"), 404, KEPT, head=True),
    row("GET with a body", "RFC 9110 §9.3.1", get("Content-Length: 5") + b"hello", 415, KEPT),
    row("no such path", "interface §6", post(target="/nothing"), 404, KEPT),
    row("a slash too many", "RFC 3986 §6.2.2", post(target="/events/"), 405, KEPT),
    row("two slashes", "RFC 9112 §3.2.1", post(target="//events"), 404, KEPT),
]


def offers(name: str, *lines: str) -> list[Case]:
    """Return an offer to change the protocol, on several routes: each is served as HTTP/1.1 with its body."""
    return [
        row(f"{name}: events", HTTP, post(*lines), 202, KEPT),
        row(f"{name}: events, chunked", HTTP, chunked(HALVES, *lines), 202, KEPT),
        row(f"{name}: events without a key", HTTP, post(*lines, fields=NO_KEY, body=SMUGGLED), 401, KEPT),
        row(f"{name}: liveness", HTTP, get(*lines), 200, KEPT),
        row(
            f"{name}: liveness with a body",
            HTTP,
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
    row(
        "options on two lines",
        HTTP,
        post("Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c"),
        202,
        KEPT,
        bytewise=True,
    ),
    row(
        "several offers",
        HTTP,
        post("Connection: keep-alive, Upgrade", "Upgrade: h2c, websocket, TLS/1.0"),
        202,
        KEPT,
    ),
    row("Upgrade not named in Connection", HTTP, post("Upgrade: h2c"), 202, KEPT),
    row("Connection without Upgrade", HTTP, post("Connection: upgrade"), 202, KEPT),
    row("HTTP2-Settings alone", HTTP, post("HTTP2-Settings: AAMAAABkAAQAAP__"), 202, KEPT),
    row("an offer and close", HTTP, post("Connection: upgrade, close", "Upgrade: h2c"), 202, CLOSED),
    row(
        "an offer in HTTP/1.0",
        "RFC 9110 §7.8",
        post("Connection: upgrade", "Upgrade: h2c", version="HTTP/1.0"),
        202,
        CLOSED,
    ),
    row("an offer that expects 100", "RFC 9110 §7.8", post(*H2C, "Expect: 100-continue"), 202, KEPT),
    row("an offer with a percent-encoded path", HTTP, post(*H2C, target="/%65vents"), 202, KEPT),
    row("an offer with a query", HTTP, post(*H2C, target=f"/events?destination_id={DESTINATION}"), 202, KEPT),
    row("an offer with trailers", HTTP, chunked(chunks(EVENT, trailers=["X-End: 1"]), *H2C), 202, KEPT),
    row("an offer with a large field", HTTP, post(*H2C, f"X-Name: {'a' * 60_000}"), 202, KEPT, cut=False),
    row(
        "an offer with a field too large", HTTP, post(*H2C, f"X-Name: {'a' * 70_000}"), 431, CLOSED, cut=False
    ),
    row("an offer that expects a miracle", HTTP, post(*H2C, "Expect: a-miracle"), 417, CLOSED),
    row("an offer in RTSP/1.0", HTTP, post(*H2C, version="RTSP/1.0"), 505, CLOSED),
    row("an offer in HTTP/2.0", HTTP, post(*H2C, version="HTTP/2.0"), 505, CLOSED),
    row("an offer with two Hosts", HTTP, post(*H2C, "Host: other"), 400, CLOSED),
    row(
        "an offer with another coding",
        HTTP,
        chunked(HALVES, *H2C, coding="Transfer-Encoding: gzip"),
        501,
        CLOSED,
    ),
    row("an offer with nothing to send", HTTP, post(*H2C, body=b""), 400, KEPT),
    row("an offer of a whole request as its body", HTTP, post(*H2C, body=SMUGGLED), 400, KEPT),
    row(
        "an offer with two lengths",
        HTTP,
        head(*USUAL, *H2C, LENGTH, "Content-Length: 3") + EVENT,
        400,
        CLOSED,
    ),
    row("an offer with both lengths", HTTP, head(*USUAL, *H2C, LENGTH, CHUNKED) + HALVES, 400, CLOSED),
    row(
        "an offer to POST /keys without a key",
        HTTP,
        post(*H2C, target="/keys", fields=NO_KEY, body=SMUGGLED),
        401,
        KEPT,
    ),
    row("an offer to POST /keys", HTTP, post(*WEBSOCKET, target="/keys", body=b'{"name": "x"}'), 403, KEPT),
    row(
        "an offer to an unknown path",
        HTTP,
        post(*H2C, target="/nope", method="PUT", body=SMUGGLED),
        404,
        KEPT,
    ),
    row("an offer with HEAD", HTTP, get(*H2C, method="HEAD"), 200, KEPT, head=True),
    row(
        "HEAD with an offer and a body",
        HTTP,
        get(*H2C, f"Content-Length: {len(SMUGGLED)}", method="HEAD") + SMUGGLED,
        415,
        KEPT,
        head=True,
    ),
    row("CONNECT", "RFC 9110 §9.3.6", head("Host: edge", method="CONNECT", target="edge:80"), 501, CLOSED),
    row(
        "CONNECT with a body that is a request",
        "RFC 9110 §9.3.6",
        head("Host: edge", f"Content-Length: {len(SMUGGLED)}", method="CONNECT", target="edge:80") + SMUGGLED,
        501,
        CLOSED,
    ),
    row("the preface of HTTP/2", HTTP, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, CLOSED),
]


def trailing(*trailers: str, fields: Sequence[str] = USUAL) -> bytes:
    return chunked(chunks(EVENT, trailers=trailers), fields=fields)


NO_TYPE = tuple(line for line in USUAL if not line.startswith("Content-Type"))
TRAILERS = [
    row("unknown trailers", "RFC 9112 §7.1.2", trailing("X-End: 1", "Y:"), 202, KEPT, bytewise=True),
    row("key in a trailer", "RFC 9110 §6.5.1", trailing(f"X-Api-Key: {KEY}", fields=NO_KEY), 401, EITHER),
    row(
        "Authorization in a trailer",
        "RFC 9110 §6.5.1",
        trailing(f"Authorization: Bearer {KEY}", fields=NO_KEY),
        401,
        EITHER,
    ),
    row("a second key in a trailer", "RFC 9110 §6.5.1", trailing("Authorization: Bearer other"), 202, KEPT),
    row(
        "the media type in a trailer",
        "RFC 9110 §6.5.1",
        trailing("Content-Type: application/json", fields=NO_TYPE),
        415,
        EITHER,
    ),
    row("a coding in a trailer", "RFC 9110 §6.5.1", trailing("Content-Encoding: gzip"), 202, KEPT),
    row("a request id in a trailer", "RFC 9110 §6.5.1", trailing("X-Request-Id: from-a-trailer"), 202, KEPT),
    row("a length in a trailer", "RFC 9110 §6.5.1", trailing("Content-Length: 3"), 400, CLOSED),
    row("a transfer coding in a trailer", "RFC 9110 §6.5.1", trailing(CHUNKED), 400, CLOSED),
    row("a Host in a trailer", "RFC 9110 §6.5.1", trailing("Host: other"), 202, KEPT),
    row("close in a trailer", "RFC 9110 §6.5.1", trailing("Connection: close"), 202, CLOSED),
    row(
        "an offer in a trailer", "RFC 9110 §6.5.1", trailing("Connection: upgrade", "Upgrade: h2c"), 202, KEPT
    ),
    *(
        row(
            f"{name} in a trailer of a refused post",
            "RFC 9112 §9.6",
            trailing(trailer, fields=NO_KEY),
            (400, 401),
            EITHER,
        )
        for name, trailer in (
            ("close", "Connection: close"),
            ("upgrade", "Connection: upgrade"),
            ("a length", "Content-Length: 3"),
            ("a transfer coding", CHUNKED),
            ("a line without a colon", "X-End"),
        )
    ),
    row("Expect in a trailer", "RFC 9110 §6.5.1", trailing("Expect: 100-continue"), 202, KEPT),
    row(
        "a trailer for a GET",
        "RFC 9110 §6.5.1",
        head("Host: edge", f"X-Request-Id: {EVENT_ID}", CHUNKED, method="GET", target="/keys")
        + chunks(b"x", trailers=[f"X-Api-Key: {KEY}"]),
        401,
        EITHER,
    ),
    row("a trailer that is folded", "RFC 9112 §5.2", trailing("X-End: 1", " 2"), 400, CLOSED),
    row("a trailer without a colon", "RFC 9112 §5", trailing("X-End"), 400, CLOSED),
    row("a trailer with a blank before its colon", "RFC 9112 §5.1", trailing("X-End : 1"), 400, CLOSED),
    row(
        "trailers too large",
        "RFC 9112 §7.1.2",
        trailing(*(f"X-{n}: {'a' * 1000}" for n in range(80))),
        431,
        CLOSED,
        cut=False,
    ),
]


def bad_length(name: str, *lines: str, source: str = "RFC 9112 §6.3") -> Case:
    return row(name, source, head(*USUAL, *lines) + EVENT, 400, CLOSED)


N = len(EVENT)
LENGTHS = [
    row("both lengths", "RFC 9112 §6.3", head(*USUAL, LENGTH, CHUNKED) + HALVES, 400, CLOSED, bytewise=True),
    row("both lengths, coding first", "RFC 9112 §6.3", head(*USUAL, CHUNKED, LENGTH) + HALVES, 400, CLOSED),
    row(
        "both lengths, an empty length",
        "RFC 9112 §6.3",
        head(*USUAL, CHUNKED, "Content-Length:") + HALVES,
        400,
        CLOSED,
    ),
    bad_length("two lengths that differ", LENGTH, "Content-Length: 3"),
    bad_length("two lengths that agree", LENGTH, LENGTH, source=HTTP),
    bad_length("a list of lengths that agree", f"Content-Length: {N}, {N}", source=HTTP),
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
    return row(name, "RFC 9112 §6.1", head(*USUAL, *lines) + HALVES, status, CLOSED)


CODINGS = [
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
    row(
        "a list of chunked and nothing",
        "RFC 9110 §5.6.1",
        chunked(coding="Transfer-Encoding: chunked,"),
        400,
        CLOSED,
    ),
    row("HTTP/1.0 with a coding", "RFC 9112 §6.1", chunked(version="HTTP/1.0"), 400, CLOSED),
    row(
        "a coding with a blank before its colon",
        "RFC 9112 §5.1",
        chunked(coding="Transfer-Encoding : chunked"),
        400,
        CLOSED,
    ),
    row(
        "a coding folded onto the next line",
        "RFC 9112 §5.2",
        chunked(coding="Transfer-Encoding:\r\n chunked"),
        400,
        CLOSED,
    ),
    row("a coding on GET", "RFC 9112 §6.1", get("Transfer-Encoding: gzip, chunked") + HALVES, 501, CLOSED),
]

L = b"%x" % N


def bad_chunks(name: str, body: bytes, source: str = "RFC 9112 §7.1") -> Case:
    return row(name, source, chunked(body), 400, CLOSED)


CHUNKS = [
    bad_chunks("a size with a plus", b"+" + ONE_CHUNK),
    bad_chunks("a negative size", b"-" + ONE_CHUNK),
    bad_chunks("a size with 0x", b"0x" + ONE_CHUNK),
    bad_chunks("a size behind a blank", b" " + ONE_CHUNK),
    bad_chunks("no size", b"\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    bad_chunks("a size that overflows", b"1" + b"0" * 16 + L + b"\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    bad_chunks("a bare LF behind the size", L + b"\n" + EVENT + b"\r\n0\r\n\r\n"),
    bad_chunks("a bare CR behind the size", L + b"\rX" + EVENT + b"\r\n0\r\n\r\n"),
    bad_chunks("a bare LF behind the data", L + b"\r\n" + EVENT + b"\n0\r\n\r\n"),
    bad_chunks("nothing behind the data", L + b"\r\n" + EVENT + b"0\r\n\r\n"),
    bad_chunks("data longer than its size", L + b"\r\n" + EVENT + b"xx\r\n0\r\n\r\n"),
    bad_chunks("a bare LF in an extension", L + b";a\n\r\n" + EVENT + b"\r\n0\r\n\r\n", "RFC 9112 §7.1.1"),
    bad_chunks("NUL in an extension", L + b";a=\0\r\n" + EVENT + b"\r\n0\r\n\r\n", "RFC 9112 §7.1.1"),
    bad_chunks("a bare LF behind the last chunk", L + b"\r\n" + EVENT + b"\r\n0\n\r\n"),
    row(
        "an extension without end",
        "RFC 9112 §7.1.1",
        chunked(L + b";" + b"a" * 200_000 + b"\r\n" + EVENT + b"\r\n0\r\n\r\n"),
        202,
        KEPT,
        cut=False,
    ),
]


def bad_head(name: str, source: str, *lines: str, fields: Sequence[str] = USUAL, **more: str) -> Case:
    return row(name, source, post(*lines, fields=fields, **more), 400, CLOSED)


HEADS = [
    bad_head("no Host", "RFC 9112 §3.2", fields=USUAL[1:]),
    bad_head("two Hosts that agree", "RFC 9112 §3.2", "Host: edge"),
    bad_head("two Hosts that differ", "RFC 9112 §3.2", "Host: other"),
    bad_head("two Hosts in HTTP/1.0", "RFC 9112 §3.2", "Host: other", version="HTTP/1.0"),
    bad_head("a Host of two words", "RFC 9112 §3.2", fields=("Host: a b", *USUAL[1:])),
    bad_head("a Host with a path", "RFC 9112 §3.2", fields=("Host: edge/x", *USUAL[1:])),
    bad_head("a Host with a name before @", "RFC 9112 §3.2", fields=("Host: u@edge", *USUAL[1:])),
    bad_head("a list of Hosts", "RFC 9112 §3.2", fields=("Host: edge, other", *USUAL[1:])),
    bad_head("a blank before a colon", "RFC 9112 §5.1", "X-Name : 1"),
    bad_head("a folded field", "RFC 9112 §5.2", "X-Name: 1\r\n 2"),
    bad_head("a folded first field", "RFC 9112 §2.2", fields=(" X-First: 1", *USUAL)),
    bad_head("no colon", "RFC 9112 §5", "X-Name"),
    bad_head("no name", "RFC 9110 §5.1", ": 1"),
    bad_head("a bracket in a name", "RFC 9110 §5.1", "X(Name: 1"),
    bad_head("NUL in a name", "RFC 9110 §5.1", "X\0Name: 1"),
    bad_head("letters above ASCII in a name", "RFC 9110 §5.1", "X-Nam\xe9: 1"),
    bad_head("NUL in a value", "RFC 9110 §5.5", "X-Name: a\0b"),
    bad_head("a bare CR in a value", "RFC 9112 §2.2", "X-Name: a\rb"),
    bad_head("a bare LF between fields", HTTP, "X-Name: a\nX-Other: b"),
    row("bare LF everywhere", HTTP, post().replace(b"\r\n", b"\n"), 400, CLOSED),
    row("a bare LF at the end of the head", HTTP, post().replace(b"\r\n\r\n", b"\r\n\n"), 400, CLOSED),
    row("HTTP/2.0", HTTP, post(version="HTTP/2.0"), 505, CLOSED),
    row("HTTP/3.0", HTTP, post(version="HTTP/3.0"), 505, CLOSED),
    row("HTTP/1.2", HTTP, post(version="HTTP/1.2"), 505, CLOSED),
    row("HTTP/0.9", HTTP, post(version="HTTP/0.9"), 505, CLOSED),
    row("HTTP/1.10", HTTP, post(version="HTTP/1.10"), 400, CLOSED),
    row("http/1.1", "RFC 9112 §2.3", post(version="http/1.1"), 400, CLOSED),
    row("RTSP/1.0", HTTP, post(version="RTSP/1.0"), 505, CLOSED, bytewise=True),
    row("ICE/1.0", HTTP, post(version="ICE/1.0"), 400, CLOSED),
    row("RTSP/1.0 on another path", HTTP, get(version="RTSP/1.0"), 505, CLOSED),
    row("HTTP/2.0 on another path", HTTP, get(version="HTTP/2.0"), 505, CLOSED),
    row("no Host on another path", "RFC 9112 §3.2", head(method="GET", target="/health/live"), 400, CLOSED),
    row("two Hosts on another path", "RFC 9112 §3.2", get("Host: other"), 400, CLOSED),
    row("no version", HTTP, b"POST /events\r\n\r\n", (400, 505), CLOSED),
    row("a request line of 1991", "RFC 9112 §2.3", b"GET /\r\n", (400, 505), CLOSED, cut=False),
    row("two blanks in the request line", "RFC 9112 §3", post(target=" /events"), 202, KEPT),
    row("a tab in the request line", "RFC 9112 §3", post().replace(b"POST /", b"POST\t/"), 400, CLOSED),
    row("a blank in the target", "RFC 9112 §3.2", post(target="/events x"), 400, CLOSED),
    row("a fragment", "RFC 9112 §3.2", post(target="/events#a"), 400, CLOSED),
    row("a fragment behind a query", "RFC 9112 §3.2", post(target="/events?#a"), 400, CLOSED),
    row("absolute form with a fragment", "RFC 9112 §3.2", post(target="http://edge/events#a"), 400, CLOSED),
    row("absolute form of another scheme", "RFC 9112 §3.2.2", post(target="ftp://edge/events"), 400, CLOSED),
    row("absolute form with a user", "RFC 9110 §4.2.4", post(target="http://user@edge/events"), 400, CLOSED),
    row("absolute form without a host", "RFC 9110 §4.2.1", post(target="http:///events"), 400, CLOSED),
    row("a path without a slash", "RFC 9112 §3.2.1", post(target="events"), 400, CLOSED),
    row("a fragment on another path", "RFC 9112 §3.2", get(target="/health/live#a"), 400, CLOSED),
    row("NUL in the target", "RFC 9112 §3.2", post(target="/events\0"), 400, CLOSED),
    row("a star as the target", "RFC 9112 §3.2.4", post(target="*"), 404, KEPT),
    row("an authority as the target", "RFC 9112 §3.2.3", post(target="edge:80"), 400, CLOSED),
    row("method in lower case", "RFC 9110 §9.1", post(method="post"), 400, CLOSED),
    row("unknown method", "RFC 9110 §9.1", post(method="FETCH"), 400, CLOSED),
    row("another method", "RFC 9110 §15.5.6", post(method="PUT"), 405, KEPT),
    row(
        "a greeting of TLS",
        "RFC 9112 §2.2",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 90,
        400,
        CLOSED,
    ),
    row("HEAD without Host", HEAD_SOURCE, head("X-A: 1", target="/", method="HEAD"), 400, CLOSED, head=True),
    row("HEAD that expects", HEAD_SOURCE, get("Expect: x", method="HEAD"), 417, CLOSED, head=True),
    row(
        "HEAD with a field too large",
        HEAD_SOURCE,
        get(f"X-Name: {'a' * 70_000}", method="HEAD"),
        431,
        CLOSED,
        head=True,
        cut=False,
    ),
    row("a field too large", "interface §15", post(f"X-Name: {'a' * 70_000}"), 431, CLOSED, cut=False),
    row(
        "too many fields",
        "interface §15",
        post(*(f"X-{n}: {n}" for n in range(3000))),
        431,
        CLOSED,
        cut=False,
    ),
    row("a target too long", "RFC 9112 §3", post(target="/events?" + "a" * 70_000), 431, CLOSED, cut=False),
]


def big(size: int) -> bytes:
    return b" " * (size - len(EVENT)) + EVENT


REFUSED = [
    row("no key, with a body", "RFC 9112 §9.6", post(fields=NO_KEY), 401, KEPT),
    row("no key, chunked", "RFC 9112 §9.6", chunked(fields=NO_KEY), 401, EITHER),
    row("no key, a large body", HTTP, post(fields=NO_KEY, body=big(MIB)), 401, KEPT, cut=False),
    row(
        "no key, a large chunked body",
        HTTP,
        chunked(chunks(*[b" " * 65_536] * 20), fields=NO_KEY),
        401,
        CLOSED,
        cut=False,
    ),
    row(
        "no key, close", HTTP, post("Connection: close", fields=NO_KEY, body=big(MIB)), 401, CLOSED, cut=False
    ),
    row("two keys", "interface §2", post("Authorization: Bearer other"), 400, KEPT),
    row("no media type", "interface §2", post(fields=NO_TYPE, body=big(MIB)), 415, KEPT, cut=False),
    row("compressed", "interface §2", post("Content-Encoding: gzip", body=big(MIB)), 415, KEPT, cut=False),
    row("compressed, chunked", "interface §2", chunked(HALVES, "Content-Encoding: gzip"), 415, EITHER),
    row("6 MiB", HTTP, post(body=big(6 * MIB)), 413, KEPT, cut=False),
    row("15 MiB", HTTP, post(body=big(15 * MIB)), 413, KEPT, cut=False),
    row("6 MiB, close", HTTP, post("Connection: close", body=big(6 * MIB)), 413, CLOSED, cut=False),
    row("15 MiB, close", HTTP, post("Connection: close", body=big(15 * MIB)), 413, CLOSED, cut=False),
    row("15 MiB in HTTP/1.0", HTTP, post(body=big(15 * MIB), version="HTTP/1.0"), 413, CLOSED, cut=False),
    row(
        "no key, 6 MiB, close",
        HTTP,
        post("Connection: close", fields=NO_KEY, body=big(6 * MIB)),
        401,
        CLOSED,
        cut=False,
    ),
    row(
        "6 MiB, chunked, close",
        HTTP,
        chunked(chunks(*[b" " * MIB] * 6), "Connection: close"),
        413,
        CLOSED,
        cut=False,
    ),
    row("6 MiB, chunked", HTTP, chunked(chunks(*[b" " * MIB] * 6)), 413, CLOSED, cut=False),
    row(
        "15 MiB in a query's way",
        HTTP,
        post(body=big(15 * MIB), target="/events?dry_run=true"),
        413,
        KEPT,
        cut=False,
    ),
    row("6 MiB to another path", HTTP, post(body=big(6 * MIB), target="/keys"), 403, KEPT, cut=False),
    row(
        "6 MiB to nothing",
        HTTP,
        post(body=big(6 * MIB), target="/nothing", fields=NO_KEY),
        404,
        KEPT,
        cut=False,
    ),
    row("no JSON", "interface §2", post(body=b"{"), 400, KEPT),
    row("no body", "interface §2", post(body=b""), 400, KEPT),
    row("no length", "RFC 9112 §6.3", head(*USUAL), 400, KEPT),
]

CASES: list[Case] = [*WELL_FORMED, *OFFERS, *TRAILERS, *LENGTHS, *CODINGS, *CHUNKS, *HEADS, *REFUSED]
