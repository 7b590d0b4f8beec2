"""HTTP/1.1 at the socket: offers of other protocols, trailers, strict heads, refused bodies, half-closing."""

import asyncio
import inspect
import json
import os
import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.domain.admission import MIB, Usage
from app.server.connection_limits import AnswerTransport
from tests.api.test_ways_in import CLOSE, EVENT, application, exchanged, post, served
from tests.api.world import BOOTSTRAP, ApiWorld

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
CHUNKED = "Transfer-Encoding: chunked"
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, which is what stands for an event here."""
    body = await Request(scope, receive).body()
    await Response(body, 202 if scope["method"] == "POST" else 200)(scope, receive, send)


# One server for all tests of `plain`: each start and stop waits for a fifth of a second.
on_the_plain_server = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain() -> AsyncIterator[int]:
    """A server without a database, for what happens before any route."""
    async with served(echo) as opened:
        yield opened


@pytest_asyncio.fixture
async def port(world: ApiWorld) -> AsyncIterator[int]:
    async with served(application(world)) as opened:
        yield opened


def chunked(body: bytes, *more: str, trailer: str = "") -> bytes:
    head = post(b"", *more).replace(b"Content-Length: 0", CHUNKED.encode())
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head + chunks + b"0\r\n" + trailer.encode() + b"\r\n"


def statuses(got: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


def error_of(got: bytes) -> dict[str, Any]:
    return dict(json.loads(got.partition(b"\r\n\r\n")[2]))


def pieces(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]


@on_the_plain_server
@pytest.mark.parametrize("make", [post, chunked], ids=["length", "chunks"])
@pytest.mark.parametrize(
    "offer",
    [
        pytest.param(H2C, id="as the JDK offers h2c"),
        pytest.param(("Connection: upgrade", "Upgrade: websocket"), id="websocket"),
        pytest.param(("Connection: keep-alive, Upgrade", "Upgrade: foo/2, bar"), id="anything"),
    ],
)
@pytest.mark.parametrize("size", [1, 64, 100_000])
async def test_an_offer_of_another_protocol_is_ignored(
    plain: int, make: Any, offer: tuple[str, ...], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is served with its body, and so are those behind it, however they are cut into segments."""
    whole = make(EVENT % 1, *offer) + make(EVENT % 2, *offer) + GET
    got = await exchanged(plain, *pieces(whole, size))
    assert statuses(got) == [202, 202, 200]
    assert b'"e1"' in got
    assert b'"e2"' in got
    assert caplog.records == []


@pytest.mark.reads_only
async def test_a_body_behind_an_offer_is_never_the_next_request(port: int) -> None:
    """On every route and method: one answer to what is one request, and the connection goes on."""
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: s\r\n\r\n"
    for line in ("POST /events", "PUT /nope", "HEAD /health/live", "DELETE /destinations/x", "POST /keys"):
        head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
        head += f"Content-Length: {len(smuggled)}\r\n\r\n"
        for parts in ([head.encode(), smuggled, GET], [head.encode() + smuggled + GET]):
            got = await exchanged(port, *parts)
            assert len(statuses(got)) == 2, line
            assert statuses(got)[1] == 200, line


@on_the_plain_server
async def test_a_head_with_an_offer_is_weighed_once(plain: int) -> None:
    """Nearly as large as a head may be it is taken; what is larger is refused as ever."""
    for size, status in ((60_000, 202), (70_000, 431)):
        got = await exchanged(plain, post(EVENT % 1, *H2C, "X-A: " + "a" * size, CLOSE))
        assert statuses(got) == [status]


@on_the_plain_server
@pytest.mark.process
async def test_curl_that_offers_http2_is_served(plain: int) -> None:
    """`curl --http2` in clear offers h2c with its first request."""
    command = ["curl", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code} ", "-d", (EVENT % 1).decode()]
    command += ["-H", f"X-Api-Key: {BOOTSTRAP}", "-H", "Content-Type: application/json"]
    try:
        running = await asyncio.create_subprocess_exec(
            *command,
            *[f"http://127.0.0.1:{plain}/events"] * 2,
            "-o",
            "/dev/null",
            stdout=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("curl is not installed; in CI this is a failure")
    out, _ = await running.communicate()
    assert out.split() == [b"202", b"202"]


@pytest.mark.reads_only
async def test_trailers_are_no_headers(port: int) -> None:
    """In one segment or more: neither a key, nor a media type, nor a request id."""
    keyed = chunked(EVENT % 1, CLOSE, trailer=f"X-Api-Key: {BOOTSTRAP}\r\nX-Request-Id: from-a-trailer\r\n")
    keyless = keyed.replace(f"X-Api-Key: {BOOTSTRAP}\r\n".encode(), b"", 1)
    second_key = chunked(EVENT % 1, CLOSE, trailer="Authorization: Bearer other\r\n")
    untyped = chunked(EVENT % 1, CLOSE, trailer="Content-Type: application/json\r\n")
    untyped = untyped.replace(b"Content-Type: application/json\r\n", b"", 1)
    for whole, status in ((keyless, 401), (second_key, 202), (untyped, 415)):
        for size in (20, 100_000):
            got = await exchanged(port, *pieces(whole, size))
            assert statuses(got) == [status]
            assert b"from-a-trailer" not in got


@on_the_plain_server
async def test_trailers_are_weighed(plain: int) -> None:
    got = await exchanged(plain, chunked(EVENT % 1, trailer="A: b\r\n" * 3_000))
    assert statuses(got) == [431]


HEAD = "POST /events HTTP/1.1\r\nHost: x\r\n{}\r\n"
CODED = HEAD.format("Transfer-Encoding: {}\r\n") + "0\r\n\r\n"


@on_the_plain_server
@pytest.mark.parametrize(
    ("head", "status", "word"),
    [
        *(
            pytest.param(f"{line}\r\nHost: x\r\n\r\n", 505, "http_version_not_supported", id=line)
            for line in (
                *(f"GET / HTTP/{version}" for version in ("0.9", "1.2", "3.0")),
                "POST /events HTTP/2.0",
                "POST /events RTSP/1.0",
                "SOURCE / ICE/1.0",
            )
        ),
        pytest.param(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported", id="prior knowledge"
        ),
        pytest.param("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501, "not_implemented", id="CONNECT"),
        pytest.param("GET / HTTP/1.1\r\n\r\n", 400, "malformed", id="no Host"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "malformed", id="two Hosts"),
        pytest.param("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed", id="two in HTTP/1.0"),
        pytest.param("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400, "malformed", id="two in one Host"),
        pytest.param("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "malformed", id="a path as Host"),
        pytest.param("GET /health/live#a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed", id="a fragment"),
        pytest.param(HEAD.format("Expect: a-miracle\r\n"), 417, "expectation_failed", id="an expectation"),
        *(
            pytest.param(CODED.format(coding), 501, "not_implemented", id=coding)
            for coding in (
                "xchunked",
                "identity",
                "gzip, chunked",
                "identity, chunked",
                "identity\r\nTransfer-Encoding: chunked",
            )
        ),
        pytest.param(CODED.format("chunked, gzip"), 400, "malformed", id="chunked is not the last"),
        pytest.param(CODED.format("chunked\r\nContent-Length: 3"), 400, "malformed", id="a length beside it"),
        pytest.param(
            HEAD.format("Content-Length: 3\r\nContent-Length: 4\r\n"), 400, "malformed", id="two lengths"
        ),
        pytest.param(
            CODED.format("chunked").replace("1.1", "1.0"), 400, "malformed", id="chunks in HTTP/1.0"
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("offer", [False, True], ids=["", "with an offer"])
async def test_a_head_without_a_single_meaning_is_refused(
    plain: int, head: str, status: int, word: str, size: int, offer: bool
) -> None:
    """In the one shape, and the connection ends; behind a good request, that one is answered first."""
    if offer and not head.startswith("PRI"):  # the preface is fixed
        head = head.replace("\r\n", "\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", 1)
    got = await exchanged(plain, *pieces(head.encode(), size))
    assert (statuses(got), error_of(got)["error"]) == ([status], word)
    assert b"connection: close" in got
    got = await exchanged(plain, *pieces(chunked(EVENT % 1) + head.encode(), max(size, 50)))
    assert statuses(got) == [202, status]


@on_the_plain_server
@pytest.mark.parametrize(
    "head",
    [
        "GET /health/live HTTP/1.0\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n",
        "GET http://x/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /health/live HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    ],
)
async def test_unusual_heads_with_one_meaning_are_served(plain: int, head: str) -> None:
    assert statuses(await exchanged(plain, head.encode())) == [200]


@on_the_plain_server
async def test_a_protocol_that_only_a_body_names_is_nothing_to_refuse(plain: int) -> None:
    """What looks like a request line of RTSP within an event is text."""
    body = b'{"destination_id": "d", "x": "\\nPOST /events RTSP/1.0"}'
    assert statuses(await exchanged(plain, post(body) + post(body, CLOSE))) == [202, 202]


@on_the_plain_server
async def test_nothing_is_served_after_the_last_request(plain: int) -> None:
    """What comes behind `Connection: close` is no request (RFC 9112 §9.6)."""
    assert statuses(await exchanged(plain, post(EVENT % 1, CLOSE) + post(EVENT % 2))) == [202]
    assert statuses(await exchanged(plain, post(EVENT % 1, version="1.0") + b"rubbish")) == [202]


@on_the_plain_server
@pytest.mark.parametrize("behind", [1, 3])
async def test_a_client_that_ends_its_side_gets_its_answers(plain: int, behind: int) -> None:
    """Half-closed right behind complete requests; an incomplete one behind them is dropped."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plain)
    writer.write(b"".join(post(EVENT % number) for number in range(behind)) + b"POST /ev")
    writer.write_eof()
    got = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert statuses(got) == [202] * behind


@on_the_plain_server
async def test_a_client_that_ends_its_side_within_a_body_is_gone(plain: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plain)
    writer.write(post(EVENT % 1)[:-3])
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()


def sent_by_urllib(port: int, body: bytes, headers: dict[str, str]) -> int | str:
    """Write everything before reading, as Python's urllib does."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/events", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code if error.read().startswith(b'{"error"') else "cut off"
    except (urllib.error.URLError, OSError) as error:
        return type(error).__name__


@pytest.mark.reads_only
async def test_a_client_that_writes_all_before_it_reads_reads_its_refusal(port: int) -> None:
    """413, and 401 and 415 of a body as large; not a reset, after which it would try for ever.

    Up to 16 MiB: of 20 MiB it may read a reset instead.
    """
    key, typed = {"X-Api-Key": BOOTSTRAP}, {"Content-Type": "application/json"}
    for size in (5.3, 6, 8, 15.9):
        body = b"x" * int(size * MIB)
        for headers, status in (({**key, **typed}, 413), (typed, 401), (key, 415)):
            assert await asyncio.to_thread(sent_by_urllib, port, body, headers) == status
    headers = {**key, **typed}
    answer = await asyncio.to_thread(sent_by_urllib, port, b"x" * 20 * MIB, headers)
    assert answer in (413, "URLError", "ConnectionResetError", "BrokenPipeError")


@pytest.mark.reads_only
async def test_a_refused_body_is_drained_and_the_connection_goes_on(port: int) -> None:
    """Without `Connection: close` the next request is served, and nothing of the body is kept."""
    large = post(b"x" * 6 * MIB).replace(BOOTSTRAP.encode(), b"unknown")
    got = await exchanged(port, large, post(b"y" * 6 * MIB), GET)
    assert statuses(got) == [401, 413, 200]


@pytest.mark.reads_only
async def test_a_refused_chunked_body_is_drained_and_ends_the_connection(port: int) -> None:
    """Its end may be malformed; the response says that it is the last."""
    got = await exchanged(port, chunked(b"y" * 6 * MIB), GET)
    assert statuses(got) == [413]
    assert b"connection: close" in got.lower()


@pytest.mark.reads_only
async def test_a_body_that_breaks_after_its_refusal_gets_no_second_answer(port: int) -> None:
    head = post(b"").replace(b"Content-Length: 0", CHUNKED.encode()).replace(BOOTSTRAP.encode(), b"unknown")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    got = await reader.readuntil(b"}")
    writer.write(b"no chunk\r\n")
    got += await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert statuses(got) == [401]


@pytest.mark.reads_only
async def test_memory_that_runs_out_while_a_body_is_received_is_503(world: ApiWorld) -> None:
    app = application(world)

    def no_memory(*_: Any) -> None:
        raise MemoryError

    app.state.admission.record_received = no_memory
    async with served(app) as port:
        got = await exchanged(port, post(EVENT % 1))
    assert (statuses(got), error_of(got)["error"]) == ([503], "unavailable")
    assert b"retry-after" in got


@pytest.mark.reads_only
async def test_every_answered_request_returns_its_permit(world: ApiWorld) -> None:
    """A permit that stays is charged to its key until the process ends: a few hundred shut the key out."""
    app = application(world)
    targets = ("/destinations", "/destinations/%00", "/destinations?cursor=%00", "/destinations/%FF", "/nope")
    targets += ("/events", "/events?destination_id=%00", "/events/%00", "/health/live", "/console", "*")
    async with served(app) as port:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            for target in targets:
                for key in (BOOTSTRAP, "wrong"):
                    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n{CLOSE}\r\n"
                    body = b"" if method == "HEAD" else b"{]"
                    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                    await exchanged(port, head.encode() + body)
                    assert app.state.admission._process == Usage(), (method, target)


@pytest.mark.reads_only
async def test_every_request_that_breaks_off_returns_its_permit(world: ApiWorld) -> None:
    """On every route, with a client that goes away, and with a body that ends early, late or badly."""
    app = application(world)
    admission, large = app.state.admission, (b"100000\r\n" + b" " * MIB + b"\r\n") * 6
    routes = [(name.upper(), path) for path, methods in app.openapi()["paths"].items() for name in methods]
    routes += [("GET", "/console"), ("POST", "/console/sign-in"), ("GET", "/docs"), ("PUT", "/nope")]
    rests = {
        "Content-Length: 2": [b"{]", b"{"],
        "Content-Length: 300000": [b"[" + b" " * 100_000],
        "Content-Length: 99999999": [b"{"],
        "Expect: 100-continue\r\nContent-Length: 2": [b""],
        "Transfer-Encoding: chunked": [b"1\r\n{", b"1\r\n{\r\nzz\r\n"],
    }

    async def break_off(sent: bytes, *, resets: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        if resets:
            for _ in range(len(sent) % 17):  # before, while and after the request is processed
                await asyncio.sleep(0)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.write_eof()
            await reader.read()
            writer.close()

    async with served(app) as port, asyncio.timeout(120):
        for method, path in routes:
            target = re.sub(r"\{[^}]+\}", "x", path)
            for framing, endings in rests.items():
                lines = (f"{method} {target} HTTP/1.1", "Host: x", f"X-Api-Key: {BOOTSTRAP}", framing)
                head = "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()
                too_large = [large] if "chunked" in framing and path in ("/events", "/destinations") else []
                for rest in endings + too_large:
                    await break_off(head + rest, resets=False)
                    await break_off((head + rest) * 2 if len(rest) == 2 else head + rest, resets=True)
        while admission._process != Usage():
            await asyncio.sleep(0.01)
    assert (admission._process, admission._senders, admission._posts) == (Usage(), {}, 0)


def test_what_is_used_of_uvicorn_is_there() -> None:
    """Its protocol has no public interface: this is what `app.server.connection` relies on, in this
    version.
    """
    assert uvicorn.__version__.startswith("0.54.")
    cycle = inspect.getsource(RequestResponseCycle)
    for name in ("transport", "keep_alive", "disconnected", "message_event", "body"):
        assert f"self.{name} = " in cycle
    assert {"response_started", "response_complete"} <= set(re.findall(r"self\.(\w+) = False", cycle))
    # All that a cycle does with what it writes to.
    assert set(re.findall(r"self\.transport\.(\w+)", cycle)) == {"write", "close", "is_closing"}
    protocol = inspect.getsource(HttpToolsProtocol)
    for name in ("parser", "cycle", "pipeline", "flow", "headers", "url", "scope", "expect_100_continue"):
        assert re.search(rf"self\.{name}(: [^=]+)? = ", protocol)


def test_the_head_of_a_response_to_events_is_sent_with_its_body() -> None:
    """One system call and one wake-up of the client. Every other part is sent at once."""
    parts: list[bytes] = []
    transport = AnswerTransport(parts.append, lambda: False, lambda: None)
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    transport.joins = True
    transport.write(b"head,")
    assert parts == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    transport.write(b"body,")
    transport.write(b"more")
    assert parts[1:] == [b"head,body,", b"more"]


def test_a_response_to_a_client_that_is_gone_is_no_defect() -> None:
    """It comes between the reset and the event loop's notice of it. Then uvloop's transport raises."""

    def reset(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    AnswerTransport(reset, lambda: True, lambda: None).write(b"head")


async def test_only_a_post_of_events_waits_for_its_body(world: ApiWorld) -> None:
    """A post that expects `100 Continue` gets it before its response."""
    async with served(application(world)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(EVENT % 1, "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(EVENT % 1)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
        writer.close()
