"""The same body by every way into `POST /events`: the same status, the same response, the same events stored.

Each way has a destination of its own, so that the same events can be taken by all of them; what each stored
is compared as Amazon gets it, from a worker that runs at the end.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.edge.cases import chunks, head
from tests.edge.proxies import haproxy, nginx
from tests.edge.service import Caller, EdgeService, event
from tests.edge.wire import Response, Wire
from tests.pipeline.world import eventually, make_world

SEED, BODIES = 7, 24
JSON = "application/json"
HERE = "the-destination-of-a-way"  # as long as a destination's id
Sending = tuple[str, list[bytes]]  # where to: `service`, `nginx` or `haproxy`; and the segments
Way = Callable[[random.Random, Caller, str, bytes], Sending]


def fields(caller: Caller, kind: str, *more: str) -> list[str]:
    return ["Host: edge", f"X-Api-Key: {caller.key}", f"Content-Type: {kind}", "Connection: close", *more]


def content_of(caller: Caller, kind: str, body: bytes, *more: str, **line: str) -> bytes:
    return head(*fields(caller, kind, *more), f"Content-Length: {len(body)}", **line) + body


def in_pieces(chance: random.Random, text: bytes, most: int = 6) -> list[bytes]:
    cuts = (
        sorted({chance.randrange(1, len(text)) for _ in range(chance.randrange(1, most))})
        if len(text) > 1
        else []
    )
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def chunked(chance: random.Random, caller: Caller, kind: str, body: bytes, *trailers: str) -> bytes:
    content = chunks(*(piece for piece in in_pieces(chance, body) if piece), trailers=trailers)
    return head(*fields(caller, kind), "Transfer-Encoding: chunked") + content


WAYS: dict[str, Way] = {
    "one segment": lambda chance, caller, kind, body: ("service", [content_of(caller, kind, body)]),
    "segments": lambda chance, caller, kind, body: (
        "service",
        in_pieces(chance, content_of(caller, kind, body), 12),
    ),
    "chunked": lambda chance, caller, kind, body: ("service", [chunked(chance, caller, kind, body)]),
    "chunked in segments": lambda chance, caller, kind, body: (
        "service",
        in_pieces(
            chance, chunked(chance, caller, kind, body, "X-Checksum: 1", "Content-Type: text/plain"), 12
        ),
    ),
    "query": lambda chance, caller, kind, body: (
        "service",
        [content_of(caller, kind, body, target=f"/events?destination_id={caller.destination}")],
    ),
    "percent-encoded path": lambda chance, caller, kind, body: (
        "service",
        [content_of(caller, kind, body, target="/%65v%65nts")],
    ),
    "absolute form": lambda chance, caller, kind, body: (
        "service",
        [content_of(caller, kind, body, target="http://edge/events")],
    ),
    "HTTP/1.0": lambda chance, caller, kind, body: (
        "service",
        [content_of(caller, kind, body, version="HTTP/1.0")],
    ),
    "h2c offer": lambda chance, caller, kind, body: (
        "service",
        in_pieces(chance, content_of(caller, kind, body, "Connection: Upgrade", "Upgrade: h2c"), 3),
    ),
    "expecting 100": lambda chance, caller, kind, body: (
        "service",
        [content_of(caller, kind, body, "Expect: 100-continue")],
    ),
    "second on its connection": lambda chance, caller, kind, body: (
        "service",
        [
            head("Host: edge", "X-Request-Id: first", method="GET", target="/health/live")
            + content_of(caller, kind, body)
        ],
    ),
    "nginx": lambda chance, caller, kind, body: ("nginx", [content_of(caller, kind, body)]),
    "nginx, chunked": lambda chance, caller, kind, body: ("nginx", [chunked(chance, caller, kind, body)]),
    "haproxy": lambda chance, caller, kind, body: ("haproxy", [content_of(caller, kind, body)]),
    "haproxy, chunked": lambda chance, caller, kind, body: ("haproxy", [chunked(chance, caller, kind, body)]),
}


def body_of(chance: random.Random, number: int) -> tuple[str, str]:
    """Return a media type and a body for the destination `HERE`: mostly taken, partly or wholly refused."""

    def single(part: int) -> Any:
        made = event(
            HERE, f"way-{number}-{part}", more=chance.choice(["x", "é\u2028", "𝒳", 1e300, None, [1]])
        )
        match chance.randrange(12):
            case 0:
                del made["event"]["timestamp"]
            case 1:
                made["event"]["total"] = "12,5"
            case 2:
                del made["destination_id"]
            case 3:
                made["destination_id"] = "dst_zzzzzzzzzzzzzzzzzzzz"
            case 4:
                made["user"] = {}
            case 5:
                made["event_id"] = 7
            case 6:
                return "no object"
        return made

    events = [single(part) for part in range(chance.choice((1, 1, 2, 3, 30)))]
    match number % 8:
        case 0:
            return JSON, chance.choice(
                ["", "{", "[]", "1", '{"a":1,"a":2}', "\ufeff{}", "nul", '{"events":3}']
            )
        case 1 | 2:
            return JSON, json.dumps(events[0])
        case 3:
            return JSON, json.dumps(events, ensure_ascii=False)
        case 4:
            return JSON, json.dumps({"events": events})
        case 5:
            return JSON, json.dumps({"rows": events, "destination_id": HERE}, indent=1)
        case 6:
            return "application/x-ndjson", "\n".join(map(json.dumps, [*events, {"x": "}"}])) + "\n{broken\n"
        case _:
            return chance.choice(["text/plain", "application/json; charset=utf-8"]), json.dumps(events)


def normal(response: Response, caller: Caller) -> tuple[int, str, str]:
    """Return what must be the same by every way."""
    text = response.body.decode().replace(caller.destination, HERE)
    return response.status, response.headers.get("content-type", ""), text


@pytest.fixture
def ports(service: EdgeService, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Where each way begins."""
    with ExitStack() as stack:
        yield {
            "service": service.port,
            "nginx": stack.enter_context(nginx(service.port, tmp_path / "nginx")),
            "haproxy": stack.enter_context(haproxy(service.port, tmp_path / "haproxy")),
        }


async def amazon_got(url: str, callers: list[Caller], ids: set[str]) -> dict[str, list[str]]:
    """Deliver what is stored, and return by destination what Amazon got of these events, in order."""
    async with make_world(url) as world:
        world.work()
        for caller in callers:

            async def nothing_waits(caller: Caller = caller) -> bool:
                counts = await world.counts(caller.destination)
                return counts["queued"] == 0

            await eventually(nothing_waits, seconds=60, every=0.1)
        found: dict[str, list[str]] = defaultdict(list)
        for request in world.amazon.requests:
            for sent in request.events:
                prefix, _, event_id = sent["eventId"].partition(":")
                del prefix
                if event_id in ids or not event_id:
                    found[request.advertiser_id].append(
                        json.dumps({**sent, "eventId": event_id}, sort_keys=True)
                    )
        return {advertiser: sorted(events) for advertiser, events in found.items()}


def test_every_way_answers_and_stores_alike(
    service: EdgeService, ports: dict[str, int], edge_database: str
) -> None:
    """Every body by every way, each over a connection of its own."""
    callers = dict(zip(WAYS, service.callers[1:], strict=False))
    assert len(callers) == len(WAYS), "a caller a way"
    statuses: set[int] = set()
    for number in range(BODIES):
        kind, text = body_of(random.Random(f"{SEED}-{number}"), number)
        results = {}
        for way, send in WAYS.items():
            caller = callers[way]
            body = text.replace(HERE, caller.destination).encode()
            where, segments = send(random.Random(f"{SEED}-{number}-{way}"), caller, kind, body)
            wire = Wire(ports[where])
            wire.send(*segments)
            got = wire.read()
            wire.close()
            answers = [single for single in got.responses if single.request_id != "first"]
            assert len(answers) == 1, (way, number, got)
            results[way] = normal(answers[0], caller)
        statuses.add(results["one segment"][0])
        differ = [way for way, result in results.items() if result != results["one segment"]]
        if "query" in differ and '"destination_id"' in results["one segment"][2]:
            differ.remove("query")  # it gives a destination to events that have none
        assert not differ, (number, results["one segment"], [results[way] for way in differ])
    assert statuses >= {202, 207, 400, 415, 422}

    ids = {f"way-{number}-{part}" for number in range(BODIES) for part in range(30)}
    got = asyncio.run(amazon_got(edge_database, list(callers.values()), ids))
    by_way = {way: got.get(str(1001 + caller.number), []) for way, caller in callers.items()}
    assert len(by_way["one segment"]) > BODIES
    for way, events in by_way.items():
        if way != "query":
            assert events == by_way["one segment"], way
