"""Under load a post is shed before its body is read, with a reason, a code and `Retry-After`."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.api.recent_rows import CACHE_SECONDS
from app.domain.admission import MIB, Limits
from app.domain.event import Event, Rejection
from app.domain.ids import DEFAULT_ORGANISATION
from app.ingest.evaluate import PendingRequest
from app.ingest.intake import EventResult
from app.processes.application import create_application
from app.server.admission import Permit, resident_bytes
from app.server.request_head import read_head
from tests.api.world import BOOTSTRAP, ApiWorld, FakeIntake, counted


@dataclass
class BlockedIntake(FakeIntake):
    """An intake that answers no post before `go` is set, so its posts stay in progress."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    flush_s: float = 0.0
    posts: int = 0

    def flush_age_s(self) -> float:
        """Return the value as `DatabaseResults` does."""
        return self.flush_s

    async def store(self, request: PendingRequest) -> list[EventResult] | None:
        self.posts += 1
        await self.go.wait()
        return await super().store(request)


@dataclass
class Sender:
    """Posts straight at the application, and tells what was read of the body and what was answered."""

    app: Any
    read: int = 0
    key: str = BOOTSTRAP
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def post(
        self,
        body: bytes = b'{"destination_id": "d"}',
        *,
        body_length: int | None = -1,
        path: str = "/events",
        chunks: int = 1,
    ) -> "Sender":
        size = len(body) // max(chunks, 1)
        pieces = [
            body[part * size : (part + 1) * size if part < chunks - 1 else None] for part in range(chunks)
        ]
        length = (b"content-length", str(len(body) if body_length == -1 else body_length).encode())
        headers = [(b"x-api-key", self.key.encode()), (b"content-type", b"application/json")]
        headers.append((b"transfer-encoding", b"chunked") if body_length is None else length)

        async def receive() -> dict[str, Any]:
            part = self.read
            self.read += 1
            if part >= len(pieces):
                await asyncio.Event().wait()
            return {"type": "http.request", "body": pieces[part], "more_body": part < len(pieces) - 1}

        async def send(message: dict[str, Any]) -> None:
            self.messages.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "http_version": "1.1",
            "root_path": "",
        }
        await self.app(scope, receive, send)
        return self

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def answer(self) -> httpx.Response:
        return httpx.Response(
            self.status, headers=self.messages[0]["headers"], content=self.messages[1]["body"]
        )


@dataclass
class Crowd:
    """An application under pressure, made by posts that are not answered yet."""

    app: Any
    intake: BlockedIntake
    registry: CollectorRegistry
    under_way: list["asyncio.Task[Sender]"] = field(default_factory=list)

    async def hold(self, body: bytes, posts: int = 1, key: str = BOOTSTRAP) -> None:
        already = self.intake.posts
        senders = [Sender(self.app, key=key) for _ in range(posts)]
        held = [asyncio.create_task(sender.post(body)) for sender in senders]
        self.under_way += held
        while self.intake.posts < already + posts:
            assert not any(task.done() for task in held), "a post was answered, not held"
            await asyncio.sleep(0)

    async def let_go(self) -> list[int]:
        self.intake.go.set()
        return [sender.status for sender in await asyncio.gather(*self.under_way)]

    def shed(self, reason: str) -> float:
        return counted(self.registry, "requests_shed_total", reason=reason)

    def gauge(self, name: str) -> float:
        return counted(self.registry, f"{name}_in_flight")

    @property
    def is_idle(self) -> bool:
        return self.gauge("request_body_bytes") == self.gauge("event_requests") == 0


@pytest.fixture
def crowd(world: ApiWorld) -> Callable[..., Crowd]:
    def build(*, monotonic: Callable[[], float] | None = None, **bounds: Any) -> Crowd:
        intake, registry = BlockedIntake(), CollectorRegistry()
        context = replace(
            world.context,
            intake=intake,
            registry=registry,
            bounds=replace(Limits(resident_bytes=4096 * MIB), **bounds),
            readiness=replace(world.context.readiness, outcomes=cast(Any, intake)),
            monotonic=monotonic or world.context.monotonic,
        )
        return Crowd(create_application(context), intake, registry)

    return build


def of_size(size: int) -> bytes:
    return b'{"destination_id": "d", "x": "' + b"y" * (size - 32) + b'"}'


@pytest.mark.reads_only
async def test_a_shed_post_gets_retry_after_and_its_body_is_not_read(crowd: Callable[..., Crowd]) -> None:
    """503 in the one shape, with the journey's code and a whole number of seconds; counted by cause."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(5 * MIB))
    away = await Sender(crowded.app).post(of_size(3 * MIB))
    assert (away.status, away.read) == (503, 0)
    error = away.answer.json()
    assert (error["error"], error["code"], error["fields"]) == ("unavailable", "SERVICE_UNAVAILABLE", [])
    assert re.fullmatch(r"[1-5]", away.answer.headers["retry-after"])
    assert away.answer.headers["x-request-id"]
    assert crowded.shed("bodies") == 1
    others = [(await Sender(crowded.app).post(of_size(3 * MIB))).answer for _ in range(50)]
    assert len({answer.headers["retry-after"] for answer in others}) > 2, "not all come back at once"
    assert await crowded.let_go() == [202]


@pytest.mark.reads_only
async def test_a_flush_that_does_not_end_sheds_posts(crowd: Callable[..., Crowd]) -> None:
    """The database stores no event then. An operator can still act."""
    crowded = crowd(flush_s=10)
    await crowded.hold(of_size(100))
    crowded.intake.flush_s = 10.5
    shed = await Sender(crowded.app).post()
    assert (shed.status, shed.read) == (503, 0)
    assert crowded.shed("commits") == 1
    assert (await Sender(crowded.app).post(b'{"name": 1}', path="/destinations")).status == 422
    await crowded.let_go()


@pytest.mark.reads_only
async def test_memory_that_the_allocator_retains_sheds_nothing(crowd: Callable[..., Crowd]) -> None:
    """Posts that need much more are shed, and later ones are admitted again."""
    crowded = crowd(resident_bytes=64 * MIB)
    assert resident_bytes() > 64 * MIB
    for _ in range(2):
        await crowded.hold(of_size(MIB // 5))
    assert (await Sender(crowded.app).post(of_size(MIB // 5))).status == 503
    assert crowded.shed("memory") == 1
    await crowded.hold(of_size(100))
    assert await crowded.let_go() == [202] * 3
    assert (await Sender(crowded.app).post(of_size(MIB // 5))).status == 202


@pytest.mark.reads_only
async def test_more_than_is_answered_in_time_is_shed(crowd: Callable[..., Crowd]) -> None:
    """Late answers shrink what may be under way; after one late round 2.8 MiB are left of 4."""
    now = [1000.0]
    crowded = crowd(monotonic=lambda: now[0], target_latency_s=3)
    await crowded.hold(of_size(MIB // 3), posts=10)
    now[0] += 4
    assert set(await crowded.let_go()) == {202}
    crowded.intake.go.clear()
    now[0] += 1
    await crowded.hold(of_size(MIB // 3), posts=8)
    away = await Sender(crowded.app).post(of_size(MIB // 3))
    assert (away.status, away.read) == (503, 0)
    assert crowded.shed("crowded") == 1
    await crowded.let_go()


@pytest.mark.parametrize("body_length", [-1, None], ids=["a length that is declared", "no declared length"])
async def test_a_body_is_charged_as_it_comes(
    crowd: Callable[..., Crowd], world: ApiWorld, body_length: int | None
) -> None:
    """Where bodies exceed their memory, and this one the share of its key, its reading ends."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(4 * MIB))
    other = await world.key("events:write")
    away = await Sender(crowded.app, key=other).post(of_size(4 * MIB), body_length=body_length, chunks=8)
    assert away.status == 429
    assert 4 <= away.read <= 6  # 0.5 MiB each, of a share of 2.5
    assert crowded.shed("share") == 1
    await crowded.let_go()
    assert crowded.gauge("request_body_bytes") == 0


async def known_key(crowded: Crowd, world: ApiWorld, organisation: str | None = None) -> str:
    """Return a key for posts that the application has cached."""
    target = "/keys" if organisation is None else f"/keys?organisation_id={organisation}"
    made = await world.call("POST", target, {"name": "sender", "scopes": ["events:write"]})
    key: str = made.json()["key"]
    assert (await Sender(crowded.app, key=key).post(b"[]")).status == 422
    return key


@pytest.mark.parametrize("organisation", ["acme", "default"])
async def test_a_quiet_key_is_admitted_beside_one_that_uses_everything(
    crowd: Callable[..., Crowd], world: ApiWorld, organisation: str
) -> None:
    """The large sender gets 429 from then on, with the journey's code, until it is below its share.

    Keys of one organisation share its part.
    """
    crowded = crowd(body_bytes=9 * MIB)
    assert (await world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})).status_code == 201
    flood, quiet = await known_key(crowded, world), await known_key(crowded, world, organisation)
    for _ in range(3):
        await crowded.hold(of_size(3 * MIB - 100), key=flood)
    for _ in range(20):
        await crowded.hold(of_size(1_000), key=quiet)
    shed = await Sender(crowded.app, key=flood).post(of_size(1_000))
    assert (shed.status, shed.read) == (429, 0)
    assert (shed.answer.json()["error"], shed.answer.json()["code"]) == ("too_many_requests", "RATE_LIMIT")
    assert re.fullmatch(r"[1-5]", shed.answer.headers["retry-after"])
    assert crowded.shed("share") == 1
    assert set(await crowded.let_go()) == {202}
    assert (await Sender(crowded.app, key=flood).post(of_size(3 * MIB))).status == 202
    assert crowded.app.state.admission._senders == {}


async def test_heavy_reads_of_an_organisation_are_limited_and_probes_are_not(
    crowd: Callable[..., Crowd], world: ApiWorld
) -> None:
    """A request without a body is admitted too, with the cost of its route."""
    admission = crowd().app.state.admission
    headers = [(b"x-api-key", BOOTSTRAP.encode())]
    admitted = [
        admission.admit(read_head(b"GET", b"/destinations/dst_1/event-schema?limit=1", headers))
        for _ in range(20)
    ]
    reads = [permit for permit in admitted if isinstance(permit, Permit)]
    assert len(reads) == 8
    assert isinstance(admission.admit(read_head(b"GET", b"/health/live", headers)), Permit)
    for permit in reads:
        admission.release(permit, 200)
    assert isinstance(
        admission.admit(read_head(b"GET", b"/destinations/dst_1/event-schema", headers)), Permit
    )


async def test_bodies_that_stall_shed_only_their_own_key(
    crowd: Callable[..., Crowd], world: ApiWorld
) -> None:
    """Sixty posts declare 5 MiB each and send nothing. Posts of another key are admitted."""
    crowded = crowd()
    quiet = await known_key(crowded, world)
    stalled = [
        asyncio.create_task(Sender(crowded.app).post(b"", body_length=5 * MIB, chunks=0)) for _ in range(60)
    ]
    while sum(task.done() for task in stalled) < 52:
        await asyncio.sleep(0.01)
    assert crowded.gauge("event_requests") == 8
    crowded.intake.go.set()
    for size in (100, 200_000):
        assert (await Sender(crowded.app, key=quiet).post(of_size(size))).status == 202
    for task in stalled:
        task.cancel()
    await asyncio.gather(*stalled, return_exceptions=True)
    assert crowded.is_idle


@pytest.mark.reads_only
async def test_acts_of_an_operator_still_come_in(crowd: Callable[..., Crowd]) -> None:
    """Posts may not use all memory, because pausing a destination must work just then."""
    crowded = crowd(body_bytes=5 * MIB, resident_bytes=1)
    await crowded.hold(of_size(5 * MIB))
    assert (await Sender(crowded.app).post(b'{"name": 1}', path="/destinations")).status == 422
    await crowded.let_go()


@pytest.mark.reads_only
async def test_a_body_that_is_too_large_anyway_gets_413(crowd: Callable[..., Crowd]) -> None:
    """413 says more than 503: coming back would not help."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(3 * MIB))
    assert (await Sender(crowded.app).post(body_length=10**12)).status == 413
    await crowded.let_go()


LATE = "dst_late"


def with_late(world: ApiWorld, late: str) -> Any:
    """Return an application that knows of one destination whose queue is too long."""
    intake = BlockedIntake()
    intake.go.set()
    return create_application(
        replace(
            world.context,
            intake=intake,
            registry=CollectorRegistry(),
            late={DEFAULT_ORGANISATION: frozenset({late})},
        )
    )


@pytest.mark.reads_only
async def test_a_post_for_a_queue_that_is_too_long_is_shed(world: ApiWorld) -> None:
    """429 with RATE_LIMIT and minutes to wait; other destinations' events are taken as ever."""
    app = with_late(world, LATE)
    late = await Sender(app).post(b'{"destination_id": "dst_late"}')
    assert late.status == 429
    assert (late.answer.json()["error"], late.answer.json()["code"]) == ("too_many_requests", "RATE_LIMIT")
    assert 60 <= int(late.answer.headers["retry-after"]) <= 300
    assert (await Sender(app).post()).status == 202


async def test_a_key_that_can_only_send_to_it_is_shed_unread(world: ApiWorld) -> None:
    late = (await world.create_destination())["id"]
    key = await world.key("events:write", destination_ids=[late])
    app = with_late(world, late)
    away = await Sender(app, key=key).post(b'{"destination_id": "%s"}' % late.encode())
    assert (away.status, away.read) == (429, 0)
    # One that may send elsewhere as well is read: only its body tells where it goes.
    assert (await Sender(app).post()).status == 202


@pytest.mark.reads_only
async def test_in_a_mixed_post_only_its_events_are_rejected(world: ApiWorld) -> None:
    """With a reason of its own, so that the sender knows which to send again."""
    app = with_late(world, LATE)
    await Sender(app).post(b'[{"destination_id": "dst_late"}, {"destination_id": "d"}]')
    seen = app.state.context.intake.sent
    assert isinstance(seen[0], Rejection)
    assert (seen[0].reason, seen[0].code.value) == ("backlog_too_long", "RATE_LIMIT")
    assert isinstance(seen[1], Event)


async def test_an_organisation_does_not_learn_which_queues_of_another_are_too_long(world: ApiWorld) -> None:
    """Its events for the id of such a destination are evaluated, as those for an unknown id are."""
    await world.call("POST", "/organisations", {"id": "other", "name": "Other"}, status=201)
    body = {"name": "sends", "scopes": ["events:write"]}
    key = (await world.call("POST", "/keys?organisation_id=other", body)).json()["key"]
    app = with_late(world, LATE)
    alone, mixed = (
        b'{"destination_id": "dst_late"}',
        b'[{"destination_id": "dst_late"}, {"destination_id": "d"}]',
    )
    assert (await Sender(app, key=key).post(alone)).status == 202
    assert (await Sender(app, key=key).post(mixed)).status == 202
    assert [type(event) for event in app.state.context.intake.sent] == [Event, Event]


async def test_a_quiet_key_that_is_not_current_is_not_counted_with_a_large_one(
    crowd: Callable[..., Crowd], world: ApiWorld
) -> None:
    """An overloaded process reads keys late. They are authenticated again, but keep their own shares."""
    crowded = crowd()
    admission = crowded.app.state.admission
    heads = []
    for length in (b"4000000", b"400"):
        key = await known_key(crowded, world)
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-length", length)]
        heads.append(read_head(b"POST", b"/events", headers))
    world.elapsed += CACHE_SECONDS
    large, quiet = heads
    admitted = [admission.admit(large) for _ in range(9)]
    assert isinstance(admitted[7], Permit)
    assert not isinstance(admitted[8], Permit)
    permit = admission.admit(quiet)
    assert isinstance(permit, Permit)
    assert permit.caller is None
