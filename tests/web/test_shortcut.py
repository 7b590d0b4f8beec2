"""`POST /events` by the shortcut and by the framework's way: two ways, one answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.domain.event import Event, Rejection
from app.intake.receiving import Result
from app.web.api import create_api
from tests.web.world import BOOTSTRAP, World

# Without a query the shortcut is taken; with this one, which says what is said anyway, it is not.
WAYS = ("/events", "/events?dry_run=false")
JSON = {"Content-Type": "application/json"}


class TakesAll:
    """An intake that accepts whatever it is given."""

    async def receive(self, events: Sequence[Event | Rejection], *, allowed: Any, low: bool) -> list[Result]:
        return [Result(n, getattr(event, "event_id", None), "accepted") for n, event in enumerate(events)]


async def both(
    world: World, content: bytes, headers: dict[str, str], registry: CollectorRegistry | None = None
) -> list[httpx.Response]:
    """Send the same request both ways."""
    app = create_api(replace(world.wiring, intake=TakesAll(), registry=registry or CollectorRegistry()))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return [await client.post(way, content=content, headers=headers) for way in WAYS]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param(b'{"destination_id": "dst_1", "event_id": "e"}', JSON, 202, id="an event"),
        pytest.param(b'[{"destination_id": "d"}, {"destination_id": "d"}]', JSON, 202, id="a list"),
        pytest.param(
            b'{"destination_id": "d"}\n', {"Content-Type": "application/x-ndjson"}, 202, id="lines of events"
        ),
        pytest.param(b"{", JSON, 400, id="a body that is no JSON"),
        pytest.param(b'{"a": 1, "a": 2}', JSON, 400, id="a body with two readings"),
        pytest.param(b"[]", JSON, 422, id="a batch of nothing"),
        pytest.param(b"1", JSON, 400, id="a number"),
        pytest.param(b"[" + b"{}," * 5000 + b"{}]", JSON, 413, id="too many events"),
        pytest.param(b" " * (5 * 1024 * 1024 + 1), JSON, 413, id="too large a body"),
        pytest.param(b"{}", {}, 415, id="no media type"),
        pytest.param(b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, id="a compressed body"),
        pytest.param(b"{}", {**JSON, "X-Api-Key": "nobody"}, 401, id="a key that is none"),
        pytest.param(b"{}", {**JSON, "X-Api-Key": ""}, 401, id="no key"),
    ],
)
async def test_both_ways_answer_alike(
    world: World, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Status, body and headers; only the request's own id differs."""
    short, long = await both(world, content, {"X-Api-Key": BOOTSTRAP, **headers})
    assert short.status_code == long.status_code == status
    assert short.content == long.content
    for answer in (short, long):
        assert answer.headers.pop("X-Request-Id")
    assert dict(short.headers) == dict(long.headers)


async def test_both_ways_want_the_same_scope(world: World) -> None:
    """A key that may only read sends no events."""
    key = (await world.call("POST", "/keys", {"name": "reader", "scopes": ["events:read"]})).json()["key"]
    short, long = await both(world, b"{}", {**JSON, "X-Api-Key": key})
    assert short.status_code == long.status_code == 403
    assert short.content == long.content


async def test_both_ways_are_counted_under_one_route(world: World) -> None:
    """The metrics do not tell them apart."""
    registry = CollectorRegistry()
    await both(world, b'{"destination_id": "d"}', {**JSON, "X-Api-Key": BOOTSTRAP}, registry)
    samples = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "http_requests_total" and sample.labels.get("route") == "/events"
    ]
    assert samples == [2.0]
