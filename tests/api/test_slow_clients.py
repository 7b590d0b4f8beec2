"""Slow, huge and silent clients are cut in the stated time; healthy ones beside them notice nothing."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.domain.admission import Limits
from app.server.admission import AdmissionController, Permit
from app.server.connection_limits import ConnectionLimits
from app.server.request_head import read_head
from app.server.server import Server
from tests.api.world import counted
from tests.listening import serving
from tests.pipeline.world import eventually
from tests.tables import cases

LIMITS = ConnectionLimits(
    head_s=0.4, body_s=0.6, read_s=0.5, drain_s=0.6, head_bytes=8 * 1024, connections=20
)
KEEP_ALIVE_SECONDS = 1
SWEEP_S = 0.5
SLOW_S = {"/slow": 1.2, "/slower": KEEP_ALIVE_SECONDS + 2 * SWEEP_S}
SLACK_S = 10  # for a machine that is busy with something else
# What `/held` waits for before it answers.
HELD: dict[str, asyncio.Event] = {}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo the length of the body; `/slow` and `/slower` think first, `/large` answers very much.

    `/quick` answers without looking at the body, as for a key that is none.
    """
    request = Request(scope, receive)
    try:
        body = b"" if scope["path"] == "/quick" else await request.body()
    except ClientDisconnect:
        return
    answer: Response = PlainTextResponse(str(len(body)))
    if scope["path"] in HELD:
        await HELD[scope["path"]].wait()
    elif scope["path"] in SLOW_S:
        await asyncio.sleep(SLOW_S[scope["path"]])
    elif scope["path"] == "/large":
        answer = PlainTextResponse("x" * 64 * 1024 * 1024)
    await answer(scope, receive, send)


@dataclass
class Running:
    server: Server
    port: int
    registry: CollectorRegistry

    def closed(self, reason: str) -> float:
        return counted(self.registry, "connections_closed_total", reason=reason)


@asynccontextmanager
async def running(
    shutdown_delay_s: float = 0,
    bounds: Limits | None = None,
    limits: ConnectionLimits = LIMITS,
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
) -> AsyncIterator[Running]:
    """Serve `application` on a port of its own; with bounds, shed by the server."""
    registry = CollectorRegistry()
    admission = None
    if bounds is not None:
        admission = AdmissionController(
            bounds=bounds,
            registry=registry,
            monotonic=time.monotonic,
            jitter=lambda: 0.5,
            known_caller=lambda headers: (None, False),
            flush_age_s=lambda: 0.0,
            resident_bytes=lambda: 0,
        )
        # A post of another client that stays in progress.
        in_progress = admission.admit(read_head(b"POST", b"/events", [(b"content-length", b"1000")]))
        assert isinstance(in_progress, Permit)
    server = Server(
        application,
        keep_alive_seconds=keep_alive_seconds,
        shutdown_delay_s=shutdown_delay_s,
        limits=limits,
        registry=registry,
        admission=admission,
    )
    async with serving(server) as port:
        yield Running(server, port, registry)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as made:
        yield made


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """What the answers of `/held` wait for."""
    event = asyncio.Event()
    monkeypatch.setitem(HELD, "/held", event)
    return event


@dataclass
class Client:
    """A socket, spoken to byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    began: float
    reading: "asyncio.Task[bytes] | None" = None

    @classmethod
    async def of(cls, server: Running, text: str | bytes = "") -> "Client":
        """Connect, and send the beginning."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        client = cls(reader, writer, time.monotonic())
        await client.say(text)
        return client

    async def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)
        await self.writer.drain()

    async def drip(self, text: str, every_s: float) -> None:
        """Send byte after byte until the other side has had enough, reading meanwhile.

        A write to a closed socket resets it; the stream then hides a response that was not read yet.
        """
        self.reading = asyncio.create_task(self._read())
        try:
            for letter in text:
                await self.say(letter)
                await asyncio.sleep(every_s)
        except OSError:
            return

    async def _read(self) -> bytes:
        got = b""
        try:
            while part := await self.reader.read(65_536):
                got += part
        except ConnectionError:
            pass
        return got

    async def ended(self) -> tuple[bytes, float]:
        """Return all that was answered, and how long after the beginning the server closed the socket."""
        got = await (self.reading or self._read())
        took = time.monotonic() - self.began
        self.writer.close()
        return got, took


async def answer_to(server: Running, text: str) -> tuple[bytes, float]:
    """Send a text on a connection of its own; return what `Client.ended` returns."""
    return await (await Client.of(server, text)).ended()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


async def ask_meanwhile(server: Running, until: "asyncio.Future[Any]") -> list[int]:
    """Ask over and over on one kept connection, as a healthy client does, while something else goes on."""
    statuses = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        while not until.done():
            statuses.append((await client.post("/", content=b"x" * 1000)).status_code)
            await asyncio.sleep(0.05)
    return statuses


ANSWERED = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANNOUNCED = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG_HEAD = "GET / HTTP/1.1\r\nX-Long: " + "a" * 200


@cases(
    ("at_once", "slowly", "status", "why"),
    {
        "a head that drips": ("", LONG_HEAD, 408, "head"),
        "a body that drips": (ANNOUNCED, "b" * 200, 408, "body"),
        "chunks that drip": (CHUNKED, "1\r\nb\r\n" * 40, 408, "body"),
        "a connection without a word": ("", "", None, "head"),
        "a head that stops": ("GET / HTTP/1.1\r\nHost:", "", 408, "head"),
        "a body that stops, the socket half open": (ANNOUNCED + "bbb", "", 408, "body"),
        "empty lines instead of a request": (ANSWERED, "\r\n" * 60, 200, "head"),
    },
)
async def test_a_slow_client_is_cut_in_the_stated_time(
    server: Running, at_once: str, slowly: str, status: int | None, why: str
) -> None:
    """Neither before its time nor long after it; a healthy client beside it is served throughout."""
    client = await Client.of(server)

    async def act() -> None:
        await client.say(at_once)
        if slowly:
            await client.drip(slowly, 0.03)

    within_s = {"head": LIMITS.head_s, "body": LIMITS.body_s}[why]
    acting = asyncio.create_task(act())
    ending = asyncio.create_task(client.ended())
    await asyncio.sleep(0)  # its first byte is sent before httpx reads its certificates
    healthy = await ask_meanwhile(server, ending)
    answer, took = await ending
    await acting
    assert within_s <= took <= within_s + SWEEP_S + SLACK_S
    if status is None:
        assert answer == b""
    else:
        assert status_of(answer) == status
    if status == 408:
        assert error_of(answer)["error"] == "too_slow"
        assert b"connection: close" in answer.lower()
    assert server.closed(why) == 1
    assert set(healthy) == {200}
    assert len(healthy) > 3


async def test_a_huge_head_is_refused_at_once(server: Running) -> None:
    """431 in the one shape before the head has an end, then the connection ends. Whole heads: tests/edge."""
    answer, _ = await answer_to(server, "GET / HTTP/1.1\r\nX: " + "a" * 9000)
    assert status_of(answer) == 431
    assert error_of(answer)["error"] == "head_too_large"
    assert server.closed("head_bytes") == 1


async def test_a_client_that_does_not_read_its_answer_is_cut(server: Running) -> None:
    """Sixty-four megabytes of unread response do not stay in memory."""
    client = await Client.of(server, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")

    await eventually(lambda: server.closed("reading") == 1)
    client.writer.close()


async def test_a_request_that_we_are_slow_at_is_not_the_clients_fault(server: Running) -> None:
    """An answer may take longer than head, body and idling may."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{server.port}/slow", content=b"x" * 10)
    assert (answer.status_code, answer.text) == (200, "10")


async def test_an_idle_connection_stays_open_until_its_timeout(server: Running) -> None:
    """Then it ends without a word, as HTTP has it."""
    answer, took = await answer_to(server, ANSWERED)
    assert status_of(answer) == 200
    assert KEEP_ALIVE_SECONDS <= took <= KEEP_ALIVE_SECONDS + SLACK_S


async def test_who_waits_for_an_answer_that_he_asked_for_ahead_is_not_idle(server: Running) -> None:
    """Three in one packet: a response that takes longer than the idle timeout closes no connection."""
    ask = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, _ = await answer_to(server, ask.format("/") + ask.format("/slower") + ask.format("/"))
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_a_head_that_begins_behind_another_request_may_come_in_pieces(server: Running) -> None:
    """Its second piece looks like the beginning of one, and names no version."""
    client = await Client.of(server)
    ask = "GET {} HTTP/1.1\r\nHost: x\r\n"
    await client.say(ask.format("/slow") + "\r\n" + ask.format("/") + "X-A: 1")
    for piece in ("2\r\nX-B", ": 3\r\n", "\r\n"):
        await asyncio.sleep(0.05)
        await client.say(piece)
    answer, _ = await client.ended()
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_head_sent_ahead_has_its_time_from_the_answer_before_it(server: Running) -> None:
    """A pipelined request gets no deadline while its predecessor is unanswered; later it gets a 408."""
    answer, took = await answer_to(server, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /mo")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 408") == 1
    assert SLOW_S["/slow"] + LIMITS.head_s <= took <= SLOW_S["/slow"] + LIMITS.head_s + SLACK_S


@pytest.mark.campaign
async def test_a_connection_whose_last_answer_nobody_reads_ends_all_the_same(server: Running) -> None:
    """To close waits for what is still to be written, and that for the client."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        while not server.server.server_state.connections:
            await asyncio.sleep(0)
        (connection,) = server.server.server_state.connections
        sending = connection.transport.get_extra_info("socket")
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the kernel would take megabytes
        while not connection.transport.get_write_buffer_size():  # below the level at which writing pauses
            await loop.sock_sendall(client, b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            await asyncio.sleep(0.01)
        within_s = KEEP_ALIVE_SECONDS + LIMITS.read_s + 2 * SWEEP_S + SLACK_S
        await eventually(lambda: not server.server.server_state.connections, seconds=within_s)
    assert server.closed("reading") == 1


@cases("is_closed", {"the check fails": True, "closing the connection fails too": False})
async def test_a_defect_in_the_deadline_check_of_one_connection_ends_only_that_one(
    server: Running, caplog: pytest.LogCaptureFixture, is_closed: bool
) -> None:
    """Nothing else would look after the others."""

    def defect(now: float = 0) -> None:
        raise RuntimeError(now)

    broken = await Client.of(server)
    while not server.server.server_state.connections:
        await asyncio.sleep(0)
    (connection,) = server.server.server_state.connections
    connection.check_deadlines = defect  # type: ignore[union-attr, method-assign]
    if not is_closed:
        connection.transport.abort = defect  # type: ignore[union-attr, method-assign]
    await eventually(lambda: "connection.defect" in caplog.text)
    other = await Client.of(server)
    for client in (broken, other) if is_closed else (other,):
        await asyncio.wait_for(client.ended(), LIMITS.head_s + 2 * SWEEP_S + SLACK_S)
    assert server.closed("head") == 1


async def test_one_connection_too_many_ends_the_oldest_that_sent_no_complete_head() -> None:
    """Those that were served before are kept, and the new one is served like them."""
    async with running(limits=replace(LIMITS, head_s=60), keep_alive_seconds=60) as server:
        served, silent = await Client.of(server, ANSWERED), await Client.of(server)
        await served.reader.readuntil(b"\r\n\r\n0")
        others = [await Client.of(server) for _ in range(LIMITS.connections - 2)]
        await eventually(lambda: len(server.server.server_state.connections) == LIMITS.connections)
        await silent.say("GET / HT")
        extra = await Client.of(server)
        assert await asyncio.wait_for(silent.reader.read(), 30) == b""
        for client in (served, extra):
            await client.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert status_of((await client.ended())[0]) == 200
        assert server.closed("evicted") == 1
        for client in (served, silent, extra, *others):
            client.writer.close()


async def test_where_every_connection_waits_for_an_answer_one_more_gets_503(
    server: Running, blocked: asyncio.Event
) -> None:
    """503 with a time to return: nothing can be closed without losing what was asked."""
    held = "GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    busy = [await Client.of(server, held) for _ in range(LIMITS.connections)]
    await eventually(lambda: len(server.server.server_state.tasks) == LIMITS.connections)
    extra = await Client.of(server)
    answer, _ = await extra.ended()
    assert status_of(answer) == 503
    assert b"retry-after" in answer.lower()
    blocked.set()
    for client in busy:
        assert status_of((await client.ended())[0]) == 200


async def test_leaving_ends_every_connection_with_an_answer(blocked: asyncio.Event) -> None:
    """A stop during requests: all of them are answered, and each response closes its connection."""
    async with running(shutdown_delay_s=60) as leaving, httpx.AsyncClient(timeout=60) as client:
        address = f"http://127.0.0.1:{leaving.port}"
        assert "connection" not in (await client.get(address)).headers
        slow = asyncio.create_task(client.get(address + "/held"))
        await eventually(lambda: len(leaving.server.server_state.tasks) == 1)
        leaving.server.should_exit = True
        await eventually(lambda: leaving.server._waiting.shutdown_begun)
        answers = [await client.get(address) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        # The first came on a connection that was idle; the others needed new ones.
        assert [answer.headers.get("connection") for answer in answers] == ["close"] * len(answers)
        leaving.server._skip_delay.set()
        await eventually(lambda: not leaving.server.servers[0].is_serving())
        blocked.set()
        assert (await slow).status_code == 200


async def test_a_request_on_its_way_when_we_leave_is_still_answered() -> None:
    """On a connection that was idle, just before it would have been closed."""
    async with running() as leaving:
        client = await Client.of(leaving, ANSWERED)
        await client.reader.readuntil(b"\r\n\r\n0")
        leaving.server.should_exit = True
        while leaving.server.servers[0].is_serving():
            await asyncio.sleep(0.01)
        await client.say(ANSWERED)
        answer, _ = await client.ended()
        assert status_of(answer) == 200
        assert b"connection: close" in answer.lower()


POST = "POST /events HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\nContent-Length: {}\r\n"


async def test_a_post_that_does_not_fit_is_answered_before_its_body_and_the_connection_goes_on() -> None:
    """The head alone is answered; its body is passed over, and the next request is served as ever."""
    async with running(bounds=Limits(body_bytes=2_000)) as crowded:
        client = await Client.of(crowded, POST.format(1_500) + "\r\n")
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 20)
        assert status_of(head) == 503
        assert b"retry-after: 3\r\n" in head
        assert b"x-request-id: mine-1\r\n" in head
        assert b"connection: close" not in head
        error = json.loads(
            await client.reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        )
        assert (error["error"], error["code"]) == ("unavailable", "SERVICE_UNAVAILABLE")
        await client.say(b"x" * 1_500 + POST.format(900).encode() + b"\r\n" + b"y" * 900)
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 20)
        assert status_of(head) == 200
        assert await client.reader.readexactly(3) == b"900"
        client.writer.close()
        assert counted(crowded.registry, "requests_shed_total", reason="bodies") == 1


async def test_after_a_shed_post_the_next_request_on_the_connection_waits_a_tenth_of_a_second() -> None:
    """A sender that repeats at once is slowed down; other connections are served meanwhile."""
    async with running(bounds=Limits(body_bytes=2_000)) as crowded:
        client = await Client.of(crowded, POST.format(1_500) + "\r\n" + "x" * 1_500)
        assert status_of(await client.reader.readuntil(b"\r\n\r\n")) == 503
        refused_at = time.monotonic()
        await client.say(POST.format(900) + "\r\n" + "y" * 900)
        other = await Client.of(crowded, ANSWERED)
        assert status_of(await other.reader.readuntil(b"\r\n\r\n")) == 200
        beside = time.monotonic() - refused_at
        answer = await client.reader.readuntil(b"900")
        waited = time.monotonic() - refused_at
        assert b"HTTP/1.1 200" in answer
        assert beside < waited
        assert waited > 0.09  # the clock starts slightly after the server's
        client.writer.close()
        other.writer.close()


async def test_requests_in_one_packet_with_a_shed_post_are_answered_in_order() -> None:
    async with running(bounds=Limits(body_bytes=2_000)) as crowded:
        client = await Client.of(crowded)
        shed = POST.format(1_500) + "\r\n" + "x" * 1_500
        await client.say(shed + POST.format(900) + "\r\n" + "y" * 900 + shed + ANSWERED)
        answer = await client.reader.readuntil(b"900")
        assert answer.index(b"HTTP/1.1 503") < answer.index(b"HTTP/1.1 200")
        rest = await client.reader.readuntil(b"HTTP/1.1 200")
        assert rest.count(b"HTTP/1.1") in (1, 2)  # the endpoint admits a post behind an open response
        client.writer.close()


async def test_a_post_that_expects_100_is_refused_and_the_connection_ends() -> None:
    """With `Expect: 100-continue` the server cannot know whether the body follows."""
    async with running(bounds=Limits(body_bytes=2_000)) as crowded:
        answer, _ = await answer_to(crowded, POST.format(1_500) + "Expect: 100-continue\r\n\r\n")
        assert status_of(answer) == 503
        assert answer.count(b"HTTP/1.1") == 1
        assert b"connection: close" in answer
        assert crowded.closed("draining") == 0


async def test_a_shed_post_that_drips_its_body_is_cut_all_the_same() -> None:
    async with running(bounds=Limits(body_bytes=2_000)) as crowded:
        answer, took = await answer_to(crowded, POST.format(1_500) + "\r\n")
        assert status_of(answer) == 503
        assert LIMITS.drain_s <= took <= LIMITS.drain_s + SWEEP_S + SLACK_S


async def test_a_body_that_ends_after_its_answer_leaves_no_connection_behind(server: Running) -> None:
    """Answered before its body was read, it is kept as long as any other, and no longer."""
    client = await Client.of(server, "POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    await client.say("cd")
    await asyncio.wait_for(client.ended(), KEEP_ALIVE_SECONDS + SLACK_S)


QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
WAITS = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_has_at_most_a_thousand_requests_in_waiting(
    server: Running, blocked: asyncio.Event
) -> None:
    """The last of them closes it. One connection without a key filled the memory of the process."""
    client = await Client.of(server, WAITS + QUICK * 3_000)
    (connection,) = await connections_of(server, 1)
    await eventually(lambda: connection._waiting.pipelined >= 1_000)
    blocked.set()
    answer, _ = await client.ended()
    assert answer.count(b"HTTP/1.1 200") == 1 + 1_000
    assert answer.lower().count(b"connection: close") == 1
    assert connection._waiting.pipelined == 0


async def test_while_many_requests_wait_a_connection_may_add_few(
    server: Running, blocked: asyncio.Event
) -> None:
    """Those of connections that are gone wait no longer."""
    greedy = [await Client.of(server, WAITS + QUICK * 1_000) for _ in range(10)]
    connections = await connections_of(server, 10)
    waiting = connections[0]._waiting
    await eventually(lambda: waiting.pipelined == 10_000)
    late = await Client.of(server, WAITS + QUICK * 1_000)
    await eventually(lambda: waiting.pipelined == 10_010)
    for client in greedy:
        client.writer.transport.abort()
    blocked.set()
    answer, _ = await late.ended()
    assert answer.count(b"HTTP/1.1 200") == 1 + 10
    await eventually(lambda: waiting.pipelined == 0)


async def test_a_refused_request_waits_no_longer(server: Running, blocked: asyncio.Event) -> None:
    """Its body is malformed. The requests before it are answered."""
    client = await Client.of(server, WAITS + QUICK + CHUNKED.encode() + b"no size\r\n")
    (connection,) = await connections_of(server, 1)
    await eventually(lambda: connection._deferred is not None)
    assert connection._waiting.pipelined == 1
    blocked.set()
    answer, _ = await client.ended()
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"HTTP/1.1 400") == 1
    assert connection._waiting.pipelined == 0


async def connections_of(server: Running, number: int) -> list[Any]:
    """Return the connections of a server when it has so many."""
    found = server.server.server_state.connections
    await eventually(lambda: len(found) == number)
    return list(found)
