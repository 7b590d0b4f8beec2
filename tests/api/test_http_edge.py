"""Connections: how many there may be, what each may wait for, permits, and what is used of uvicorn."""

import asyncio
import inspect
import logging
import re
import resource
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.domain.admission import MIB, Usage
from app.server.connection_limits import (
    RESERVED_FILES,
    AnswerTransport,
    ConnectionLimits,
    ConnectionWait,
    Phase,
    WaitingConnections,
    allowed_connections,
)
from tests.api.test_ways_in import CLOSE, EVENT, application, exchanged, post, served
from tests.api.world import BOOTSTRAP, ApiWorld
from tests.tables import cases


@pytest.mark.reads_only
async def test_a_body_that_breaks_after_its_refusal_gets_no_second_answer(world: ApiWorld) -> None:
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with served(application(world)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.replace(BOOTSTRAP.encode(), b"unknown"))
        got = await reader.readuntil(b"}")
        writer.write(b"no chunk\r\n")
        got += await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", got) == [b"401"]


@pytest.mark.reads_only
async def test_memory_that_runs_out_while_a_body_is_received_is_503(world: ApiWorld) -> None:
    app = application(world)

    def no_memory(*_: Any) -> None:
        raise MemoryError

    app.state.admission.record_received = no_memory
    async with served(app) as port:
        got = await exchanged(port, post(EVENT % 1))
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b'"error":"unavailable"' in got
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
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(EVENT % 1)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
        writer.close()


@dataclass
class Files:
    """A limit for open files; a hard one that is raised is refused, as by the system."""

    soft: int
    hard: int
    RLIMIT_NOFILE: int = resource.RLIMIT_NOFILE
    RLIM_INFINITY: int = resource.RLIM_INFINITY
    raised: list[int] = field(default_factory=list)

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[1] != self.hard:
            raise ValueError
        self.raised.append(limits[0])


INFINITE = resource.RLIM_INFINITY


@cases(
    ("files", "raised", "allowed"),
    {
        "enough": (Files(1_024, 4_096), [], 900),
        "raised as far as needed": (Files(256, 4_096), [900 + RESERVED_FILES], 900),
        "raised, where nothing limits it": (Files(256, INFINITE), [900 + RESERVED_FILES], 900),
        "raised to the hard limit": (Files(256, 512), [512], 512 - RESERVED_FILES),
        "as low as it is": (Files(256, 256), [256], 256 - RESERVED_FILES),
        "no limit": (Files(INFINITE, INFINITE), [], 900),
        "some are always allowed": (Files(64, 64), [64], 10),
    },
)
def test_connections_follow_the_limit_for_open_files(
    files: Files, raised: list[int], allowed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The soft limit is raised first; where that does not suffice the log says so, once."""
    with caplog.at_level(logging.WARNING):
        assert allowed_connections(900, files=files) == allowed
    assert files.raised == raised
    logged = [(one.message, one.fields) for one in caplog.records]  # type: ignore[attr-defined]
    fields = {"setting": 900, "limit": allowed, "open_files": (raised or [0])[0]}
    assert logged == ([("connections.capped", fields)] if allowed < 900 else [])


@dataclass(eq=False)
class Named:
    name: str
    evicted: list[str]

    def evict(self) -> None:
        self.evicted.append(self.name)


def test_room_is_made_by_whoever_waits_longest_without_a_complete_head() -> None:
    """Then by what idles between requests, never by what is owed an answer, nor by the newest."""
    evicted: list[str] = []
    waiting = WaitingConnections()
    silent, idle, busy, later, newest = (
        Named(name, evicted) for name in ("silent", "idle", "busy", "later", "newest")
    )
    for one in (idle, busy, silent, later, newest):
        waiting.opened(one)
    waiting.remove(busy)
    waiting.remove(idle)
    waiting.idle(idle)
    assert [waiting.make_room(newest) for _ in range(4)] == [True, True, True, False]
    assert evicted == ["silent", "later", "idle"]


LIMITS = ConnectionLimits(body_s=30, body_rate=1_000, body_grace_s=5)


def body_of(received: list[int], **paused: Any) -> list[Phase | None]:
    """Return what is overdue each second while so many bytes are received in it."""
    wait = ConnectionWait(LIMITS)
    wait.begin(Phase.BODY, 100.0, LIMITS.body_s)
    found = []
    for second, size in enumerate(received, 1):
        wait.body_bytes += size
        found.append(wait.overdue(100.0 + second, closing=False, paused=paused.get("paused", False)))
    return found


def test_a_body_must_come_at_the_least_rate_once_the_grace_is_over() -> None:
    """On average from its beginning: neither a pause nor a slow beginning matters."""
    assert body_of([0] * 5 + [0]) == [None] * 5 + [Phase.BODY]
    assert body_of([999] * 7)[5:] == [Phase.BODY] * 2
    assert body_of([1_001] * 29) == [None] * 29
    assert body_of([30_000] + [0] * 28) == [None] * 29


def test_a_body_that_we_do_not_read_is_not_too_slow() -> None:
    """While reading is paused its time stands still; its absolute deadline does not."""
    assert body_of([0] * 30, paused=True) == [None] * 29 + [Phase.BODY]


def test_what_is_drained_is_bounded() -> None:
    wait = ConnectionWait(ConnectionLimits(drain_bytes=10, drain_s=2))
    wait.begin(Phase.DRAINING, 100.0, 2)
    assert [wait.discarded(size) for size in (6, 4, 1)] == [True, True, False]
    assert wait.overdue(101.9, closing=False, paused=False) is None
    assert wait.overdue(102.0, closing=False, paused=False) is Phase.DRAINING
