"""`POST /events` has one endpoint, in front of the framework, whatever its query and however it came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.domain.event import Event
from app.ingest.evaluate import PendingRequest
from app.ingest.intake import EventResult
from app.processes.application import create_application
from app.server.connection_limits import ConnectionLimits
from app.server.server import HSTS_HEADERS, Server
from tests.api.world import BOOTSTRAP, ApiWorld, FakeIntake
from tests.listening import serving
from tests.pipeline.world import eventually
from tests.tables import cases

# With and without a query, which here says what holds anyway.
PLAIN, ASKING = "/events", "/events?dry_run=false"
JSON = {"Content-Type": "application/json"}


def application(
    world: ApiWorld, intake: FakeIntake | None = None, registry: CollectorRegistry | None = None
) -> Any:
    """Return an application of the world with an intake that stores nothing."""
    given = {"intake": intake or FakeIntake(), "registry": registry or CollectorRegistry()}
    return create_application(replace(world.context, **given))


def within(app: Any) -> httpx.AsyncClient:
    """Return a client that calls an application without a socket, as the bootstrap key."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://x", headers={"X-Api-Key": BOOTSTRAP})


@asynccontextmanager
async def served(app: Any, *headers: tuple[str, str]) -> AsyncIterator[int]:
    """Serve an application as the process does; yields the port."""
    server = Server(
        app,
        keep_alive_seconds=5,
        shutdown_delay_s=0,
        limits=ConnectionLimits(),
        registry=CollectorRegistry(),
        admission=app.state.admission if hasattr(app, "state") else None,
        headers=headers,
    )
    async with serving(server) as port:
        yield port


async def every_way(
    world: ApiWorld, content: bytes, headers: dict[str, str], registry: CollectorRegistry | None = None
) -> list[httpx.Response]:
    """Send the same request each way."""
    app = application(world, registry=registry)
    async with within(app) as client:
        answers = [await client.post(way, content=content, headers=headers) for way in (PLAIN, ASKING)]
    async with served(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return [await client.post(PLAIN, content=content, headers=headers), *answers]


@pytest.mark.reads_only
@cases(
    ("content", "headers", "status"),
    {
        "an event": (b'{"destination_id": "dst_1", "event_id": "e"}', JSON, 202),
        "a list": (b'[{"destination_id": "d"}, {"destination_id": "d"}]', JSON, 202),
        "lines of events": (b'{"destination_id": "d"}\n', {"Content-Type": "application/x-ndjson"}, 202),
        "a body that is no JSON": (b"{", JSON, 400),
        "a body with two readings": (b'{"a": 1, "a": 2}', JSON, 400),
        "a batch of nothing": (b"[]", JSON, 422),
        "a number": (b"1", JSON, 400),
        "too many events": (b"[" + b"{}," * 5000 + b"{}]", JSON, 413),
        "too large a body": (b" " * (5 * 1024 * 1024 + 1), JSON, 413),
        "no media type": (b"{}", {}, 415),
        "a compressed body": (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415),
        "an unknown key": (b"{}", {**JSON, "X-Api-Key": "unknown"}, 401),
        "no key": (b"{}", {**JSON, "X-Api-Key": ""}, 401),
    },
)
async def test_all_ways_answer_alike(
    world: ApiWorld, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Status, body and headers; only the request's own id differs, and the server's date."""
    answers = await every_way(world, content, {"X-Api-Key": BOOTSTRAP, **headers})
    assert answers[0].headers.pop("Date")
    for answer in answers:
        assert answer.headers.pop("X-Request-Id")
        assert answer.status_code == status
        assert answer.content == answers[0].content
        assert dict(answer.headers) == dict(answers[0].headers)


@pytest.mark.reads_only
async def test_all_ways_are_counted_under_one_route(world: ApiWorld) -> None:
    """The metrics do not tell them apart."""
    registry = CollectorRegistry()
    await every_way(world, b'{"destination_id": "d"}', {**JSON, "X-Api-Key": BOOTSTRAP}, registry)
    samples = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "amazon_conversions_http_requests_total" and sample.labels.get("route") == "/events"
    ]
    assert samples == [3.0]


class BrokenIntake(FakeIntake):
    """An intake with a defect."""

    async def store(self, request: PendingRequest) -> list[EventResult] | None:
        raise ZeroDivisionError


async def exchanged(port: int, *parts: bytes) -> bytes:
    """Write these parts to a fresh connection, one after another, and return all that comes until its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    got = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return got


def post(body: bytes, *more: str, version: str = "1.1") -> bytes:
    lines = [f"POST /events HTTP/{version}", "Host: x", f"X-Api-Key: {BOOTSTRAP}", *more]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


EVENT = b'{"destination_id": "d", "event_id": "e%d"}'
EVENT_OF = {"destination_id": "d"}
CLOSE = "Connection: close"


@pytest.mark.reads_only
async def test_a_defect_is_answered_and_the_connection_goes_on(world: ApiWorld) -> None:
    """500 in the one shape, with nothing of the event in it."""
    async with served(application(world, BrokenIntake())) as port:
        got = await exchanged(port, post(EVENT % 1), post(EVENT % 2, CLOSE))
    assert got.count(b"HTTP/1.1 500") == 2
    assert b'"error":"internal"' in got
    assert b'"e1"' not in got


@pytest.mark.reads_only
@pytest.mark.parametrize("length", ["%d ", "%d\t", f"{'0' * 24}%d", f"{'0' * 5000}%d"])
async def test_a_length_is_charged_however_it_is_spelt(world: ApiWorld, length: str) -> None:
    """The server's parser takes blanks behind it and zeros before it: neither makes a body weigh nothing."""
    app = application(world)
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: " + (length % 1000).encode())
    async with served(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        await eventually(lambda: app.state.admission._posts, every=0)
        # What is declared, as it is less than the reserve.
        assert app.state.admission._process.body_bytes == 1000
        writer.transport.abort()
        await eventually(lambda: not app.state.admission._posts, every=0)
        assert app.state.admission._process.body_bytes == 0
        too_large = length % (5 * 1024 * 1024 + 1)
        got = await exchanged(
            port, head.replace((length % 1000).encode(), f"{too_large}\r\n{CLOSE}".encode())
        )
        assert got.startswith(b"HTTP/1.1 413")


@pytest.mark.reads_only
async def test_browsers_get_hsts_where_tls_is_required(world: ApiWorld) -> None:
    """On every answer: a post's, a page's, the server's own."""
    async with served(application(world), *HSTS_HEADERS) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for answer in (await client.post("/events", json={}), await client.get("/console/sign-in")):
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"no HTTP\r\n\r\n")
        assert b"strict-transport-security: max-age=31536000" in await reader.read()
        writer.close()


@pytest.mark.reads_only
@cases(
    ("query", "problems"),
    {
        "no priority": ("priority=high", {("priority", "not_in_list")}),
        "too long an id": ("mapping_id=" + "m" * 65, {("mapping_id", "too_long")}),
    },
)
async def test_a_query_that_cannot_be_read_is_refused(
    world: ApiWorld, query: str, problems: set[tuple[str, str]]
) -> None:
    """422 with each parameter, and nothing is taken."""
    answer = await world.call("POST", f"/events?{query}", [EVENT_OF], status=422)
    assert answer.json()["error"] == "invalid"
    assert {(one["field"], one["problem"]) for one in answer.json()["fields"]} == problems


@pytest.mark.reads_only
async def test_a_query_sets_what_events_leave_out(world: ApiWorld) -> None:
    """Destination and mapping, priority and dry run reach the events as before."""
    received: list[Any] = []

    class RecordingIntake(FakeIntake):
        async def evaluate(self, request: PendingRequest) -> None:
            (event,) = request.events
            assert isinstance(event, Event)
            received.append((event.destination_id, event.mapping_id, request.low_priority))
            await super().evaluate(request)

    async with within(application(world, RecordingIntake())) as client:
        answer = await client.post(
            "/events?destination_id=dst_1&mapping_id=map_1&priority=low", json={"x": 1}
        )
    assert answer.status_code == 202
    assert received == [("dst_1", "map_1", True)]


class OutOfMemory(FakeIntake):
    """An intake for which there is no memory."""

    async def evaluate(self, request: PendingRequest) -> None:
        raise MemoryError


@pytest.mark.reads_only
async def test_a_request_for_which_memory_runs_out_is_to_be_sent_again(world: ApiWorld) -> None:
    """503 with a time to return: a journey takes 500 for a defect of its event."""
    async with within(application(world, OutOfMemory())) as client:
        answer = await client.post(PLAIN, json=EVENT_OF)
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
