"""Under load a post is shed before its body is read, with a reason, a code and `Retry-After`."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.domain.admission import MIB, Limits
from app.domain.event import Event, Rejection
from app.domain.trace import RequestTrace
from app.ingest.intake import EventResult
from app.processes import application
from app.processes.application import create_application
from app.server.admission import resident_bytes
from tests.api.world import BOOTSTRAP, World


@dataclass
class HoldsUntilTold:
    """An intake that stores nothing before `go` is set: its posts stay under way."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    came: int = 0

    async def receive(
        self,
        events: Sequence[Event | Rejection],
        *,
        access: Any,
        low_priority: bool = False,
        trace: RequestTrace | None = None,
    ) -> list[EventResult]:
        self.came += 1
        await self.go.wait()
        return [
            EventResult(n, getattr(event, "event_id", None), "accepted") for n, event in enumerate(events)
        ]


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
        pieces = [body[nth * size : (nth + 1) * size if nth < chunks - 1 else None] for nth in range(chunks)]
        length = (b"content-length", str(len(body) if body_length == -1 else body_length).encode())
        headers = [(b"x-api-key", self.key.encode()), (b"content-type", b"application/json")]
        headers.append((b"transfer-encoding", b"chunked") if body_length is None else length)

        async def receive() -> dict[str, Any]:
            nth = self.read
            self.read += 1
            if nth >= len(pieces):
                await asyncio.Event().wait()
            return {"type": "http.request", "body": pieces[nth], "more_body": nth < len(pieces) - 1}

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
    intake: HoldsUntilTold
    registry: CollectorRegistry
    under_way: list["asyncio.Task[Sender]"] = field(default_factory=list)

    async def hold(self, body: bytes, posts: int = 1, key: str = BOOTSTRAP) -> None:
        already = self.intake.came
        senders = [Sender(self.app, key=key) for _ in range(posts)]
        held = [asyncio.create_task(sender.post(body)) for sender in senders]
        self.under_way += held
        while self.intake.came < already + posts:
            assert not any(task.done() for task in held), "a post was answered, not held"
            await asyncio.sleep(0)

    async def let_go(self) -> list[int]:
        self.intake.go.set()
        return [sender.status for sender in await asyncio.gather(*self.under_way)]

    def shed(self, reason: str) -> float:
        return (
            self.registry.get_sample_value("amazon_conversions_requests_shed_total", {"reason": reason})
            or 0.0
        )

    def gauge(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


@pytest.fixture
def crowd(world: World) -> Callable[..., Crowd]:
    def make(*, monotonic: Callable[[], float] | None = None, **bounds: Any) -> Crowd:
        intake, registry = HoldsUntilTold(), CollectorRegistry()
        context = replace(
            world.context,
            intake=intake,
            registry=registry,
            bounds=replace(Limits(resident_bytes=4096 * MIB), **bounds),
            events_waiting=lambda: intake.waiting,
            monotonic=monotonic or world.context.monotonic,
        )
        return Crowd(create_application(context), intake, registry)

    return make


def of_size(size: int) -> bytes:
    return b'{"destination_id": "d", "x": "' + b"y" * (size - 32) + b'"}'


@pytest.mark.reads_only
async def test_a_shed_post_gets_retry_after_and_its_body_is_not_read(
    crowd: Callable[..., Crowd],
) -> None:
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
    assert await crowded.let_go() == [202]


@pytest.mark.reads_only
async def test_when_the_crowd_is_gone_posts_come_in_again(crowd: Callable[..., Crowd]) -> None:
    """Nothing is left of what was under way: the gauges are at nought."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(5 * MIB))
    assert (await Sender(crowded.app).post(of_size(3 * MIB))).status == 503
    await crowded.let_go()
    assert (await Sender(crowded.app).post(of_size(3 * MIB))).status == 202
    assert (
        crowded.gauge("amazon_conversions_request_body_bytes_in_flight")
        == crowded.gauge("amazon_conversions_event_requests_in_flight")
        == 0
    )


@pytest.mark.reads_only
async def test_retry_after_is_spread(crowd: Callable[..., Crowd]) -> None:
    """Of fifty that are turned away together not all come back in one second."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(5 * MIB))
    times = {
        (await Sender(crowded.app).post(of_size(3 * MIB))).answer.headers["retry-after"] for _ in range(50)
    }
    assert len(times) > 2
    await crowded.let_go()


@pytest.mark.reads_only
async def test_a_full_commit_queue_turns_away(crowd: Callable[..., Crowd]) -> None:
    crowded = crowd(waiting_events=100)
    await crowded.hold(of_size(100))
    crowded.intake.waiting = 101
    away = await Sender(crowded.app).post()
    assert (away.status, away.read) == (503, 0)
    assert crowded.shed("commits") == 1
    await crowded.let_go()


@pytest.mark.reads_only
async def test_a_commit_that_hangs_turns_away(crowd: Callable[..., Crowd]) -> None:
    """The age of the oldest post that waits for its commit counts from the end of its body."""
    now = [1000.0]
    crowded = crowd(monotonic=lambda: now[0], oldest_s=10)
    await crowded.hold(of_size(100))
    now[0] += 9
    await crowded.hold(of_size(100))
    now[0] += 2
    away = await Sender(crowded.app).post()
    assert (away.status, away.read) == (503, 0)
    assert crowded.shed("commits") == 1
    await crowded.let_go()


@pytest.mark.reads_only
async def test_short_memory_lets_posts_in_one_at_a_time(crowd: Callable[..., Crowd]) -> None:
    """Never none: memory that is not given back must not shed every post from then on."""
    crowded = crowd(resident_bytes=1)
    await crowded.hold(of_size(100))
    away = await Sender(crowded.app).post()
    assert (away.status, away.read) == (503, 0)
    assert crowded.shed("memory") == 1
    assert await crowded.let_go() == [202]
    assert (await Sender(crowded.app).post()).status == 202


@pytest.mark.reads_only
async def test_memory_that_is_kept_after_a_flood_sheds_nothing(crowd: Callable[..., Crowd]) -> None:
    """The allocator keeps it for the next posts. Posts that need much more are shed, small ones last."""
    crowded = crowd(resident_bytes=64 * MIB)
    assert resident_bytes() > 64 * MIB
    for _ in range(3):
        await crowded.hold(of_size(MIB // 5))
    assert (await Sender(crowded.app).post(of_size(MIB // 5))).status == 503
    assert crowded.shed("memory") == 1
    await crowded.hold(of_size(100))
    assert await crowded.let_go() == [202] * 4
    assert (await Sender(crowded.app).post(of_size(MIB // 5))).status == 202


@pytest.mark.reads_only
@pytest.mark.parametrize("body_length", [-1, None], ids=["a length that is declared", "no declared length"])
async def test_a_body_must_have_room_for_what_it_becomes(
    crowd: Callable[..., Crowd], body_length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of numbers is thirty of objects: beside others it is not read where so much is not left."""
    monkeypatch.setattr(application, "resident_bytes", lambda: 290 * MIB)
    crowded = crowd(resident_bytes=300 * MIB)
    await crowded.hold(of_size(100))
    numbers = b'{"destination_id": "d", "x": [' + b"1.5," * 300_000 + b"1.5]}"
    sending = Sender(crowded.app).post(numbers, body_length=body_length, chunks=4)
    away = await asyncio.wait_for(sending, 20)
    assert away.status == 503
    assert crowded.shed("memory") == 1
    await crowded.hold(of_size(len(numbers)))  # as long a text becomes nothing larger
    assert await crowded.let_go() == [202, 202]
    assert (await Sender(crowded.app).post(numbers)).status == 202  # a lone one is taken


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
    crowd: Callable[..., Crowd], world: World, body_length: int | None
) -> None:
    """Where it outgrows the room of all bodies its reading ends, with the same answer."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(4 * MIB))
    other = await world.key("events:write")
    away = await Sender(crowded.app, key=other).post(of_size(4 * MIB), body_length=body_length, chunks=8)
    assert away.status == 503
    assert 1 <= away.read <= 3
    assert crowded.shed("bodies") == 1
    await crowded.let_go()
    assert crowded.gauge("amazon_conversions_request_body_bytes_in_flight") == 0


async def test_bodies_of_one_key_have_a_third_of_the_room(crowd: Callable[..., Crowd], world: World) -> None:
    """What is more is answered 429 unread; another key's is taken, and so is an operator's request."""
    crowded = crowd(body_bytes=9 * MIB)
    one, other = [await world.key("events:write", "destinations:write") for _ in range(2)]
    await crowded.hold(of_size(3 * MIB), key=one)
    away = await Sender(crowded.app, key=one).post()
    assert (away.status, away.read) == (429, 0)
    assert (away.answer.json()["error"], away.answer.json()["code"]) == ("too_many_requests", "RATE_LIMIT")
    assert re.fullmatch(r"[1-5]", away.answer.headers["retry-after"])
    assert crowded.shed("share") == 1
    await crowded.hold(of_size(3 * MIB), key=other)
    action = await Sender(crowded.app, key=one).post(b'{"name": 1}', path="/destinations")
    assert action.status == 422
    assert await crowded.let_go() == [202, 202]
    assert (await Sender(crowded.app, key=one).post(of_size(3 * MIB))).status == 202
    assert crowded.app.state.admission._shares == {}


async def test_the_keys_of_one_organisation_leave_room_for_another(
    crowd: Callable[..., Crowd], world: World
) -> None:
    """Two thirds for all of its keys once another organisation sends; all of it while it is alone."""
    crowded = crowd(body_bytes=9 * MIB)
    ours = [await world.key("events:write") for _ in range(3)]
    made = await world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})
    assert made.status_code == 201
    wanted = {"name": "theirs", "scopes": ["events:write"]}
    theirs = (await world.call("POST", "/keys?organisation_id=acme", wanted)).json()["key"]
    for key in ours:
        await crowded.hold(of_size(5 * MIB // 2), key=key)
    await crowded.hold(of_size(1 * MIB), key=theirs)
    away = await Sender(crowded.app, key=ours[0]).post()
    assert (away.status, away.read) == (429, 0)
    assert crowded.shed("share") == 1
    assert await crowded.let_go() == [202, 202, 202, 202]


@pytest.mark.reads_only
async def test_a_body_that_outgrows_the_share_of_its_key_is_not_read_on(
    crowd: Callable[..., Crowd], world: World
) -> None:
    """Whatever length it declared."""
    crowded = crowd(body_bytes=9 * MIB)
    await crowded.hold(of_size(2 * MIB))
    away = await Sender(crowded.app).post(of_size(4 * MIB), chunks=8)
    assert away.status == 429
    assert away.read == 3
    assert await crowded.let_go() == [202]
    assert crowded.gauge("amazon_conversions_request_body_bytes_in_flight") == 0


async def test_declared_lengths_alone_keep_nobody_out(crowd: Callable[..., Crowd], world: World) -> None:
    """Sixty posts that declare 5 MiB each and send nothing: another key's are taken as ever."""
    crowded = crowd()
    stalling = [
        asyncio.create_task(Sender(crowded.app).post(b"", body_length=5 * MIB, chunks=0)) for _ in range(60)
    ]
    while crowded.gauge("amazon_conversions_event_requests_in_flight") < 60:
        await asyncio.sleep(0)
    other = await world.key("events:write")
    crowded.intake.go.set()
    for size in (100, 200_000):
        assert (await Sender(crowded.app, key=other).post(of_size(size))).status == 202
    for task in stalling:
        task.cancel()
    await asyncio.gather(*stalling, return_exceptions=True)
    assert (
        crowded.gauge("amazon_conversions_request_body_bytes_in_flight")
        == crowded.gauge("amazon_conversions_event_requests_in_flight")
        == 0
    )


@pytest.mark.reads_only
async def test_acts_of_an_operator_still_come_in(crowd: Callable[..., Crowd]) -> None:
    """What posts may not fill is kept for them: pausing must work just then."""
    crowded = crowd(body_bytes=5 * MIB, resident_bytes=1)
    await crowded.hold(of_size(5 * MIB))
    action = await Sender(crowded.app).post(b'{"name": 1}', path="/destinations")
    assert action.status == 422
    await crowded.let_go()


@pytest.mark.reads_only
async def test_a_body_that_is_too_large_anyway_gets_413(crowd: Callable[..., Crowd]) -> None:
    """413 says more than 503: coming back would not help."""
    crowded = crowd(body_bytes=5 * MIB)
    await crowded.hold(of_size(3 * MIB))
    assert (await Sender(crowded.app).post(body_length=10**12)).status == 413
    await crowded.let_go()


LATE = "dst_late"


def with_late(world: World, late: str) -> Any:
    """Return an application that knows of one destination whose queue is too long."""
    intake = HoldsUntilTold()
    intake.go.set()
    return create_application(
        replace(world.context, intake=intake, registry=CollectorRegistry(), late=lambda: frozenset({late}))
    )


@pytest.fixture
def app_with_a_late_lane(world: World) -> Any:
    return with_late(world, LATE)


@pytest.mark.reads_only
async def test_a_post_for_a_queue_that_is_too_long_is_shed(app_with_a_late_lane: Any) -> None:
    """429 with RATE_LIMIT and minutes to wait; other destinations' events are taken as ever."""
    late = await Sender(app_with_a_late_lane).post(b'{"destination_id": "dst_late"}')
    assert late.status == 429
    assert (late.answer.json()["error"], late.answer.json()["code"]) == ("too_many_requests", "RATE_LIMIT")
    assert 60 <= int(late.answer.headers["retry-after"]) <= 300
    assert (await Sender(app_with_a_late_lane).post()).status == 202


async def test_a_key_that_can_only_send_to_it_is_shed_unread(world: World) -> None:
    late = (await world.made())["id"]
    key = await world.key("events:write", destination_ids=[late])
    app = with_late(world, late)
    away = await Sender(app, key=key).post(b'{"destination_id": "%s"}' % late.encode())
    assert (away.status, away.read) == (429, 0)
    # One that may send elsewhere as well is read: only its body tells where it goes.
    assert (await Sender(app).post()).status == 202


@pytest.mark.reads_only
async def test_in_a_mixed_post_only_its_events_are_rejected(world: World) -> None:
    """With a reason of its own, so that the sender knows which to send again."""
    seen: list[Any] = []

    class Notes(HoldsUntilTold):
        async def receive(self, events: Any, **more: Any) -> list[EventResult]:
            seen.extend(events)
            return [EventResult(n, None, "accepted") for n, _ in enumerate(events)]

    context = replace(
        world.context, intake=Notes(), registry=CollectorRegistry(), late=lambda: frozenset({LATE})
    )
    both = b'[{"destination_id": "dst_late"}, {"destination_id": "d"}]'
    await Sender(create_application(context)).post(both)
    assert isinstance(seen[0], Rejection)
    assert (seen[0].reason, seen[0].code.value) == ("backlog_too_long", "RATE_LIMIT")
    assert isinstance(seen[1], Event)
