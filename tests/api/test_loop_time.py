"""No request occupies the event loop for long: every route, on an instance with much of everything.

While a callback of the loop runs, the process answers no other request. The limit counts CPU time of the
loop's thread. A virtual machine counts time that its host took away, up to 60 ms at once, so a call above the
limit is repeated: what the request itself costs, it costs every time. Also the thread for long
computations: an organisation waits for at most one computation of another.
"""

import asyncio
import gc
import itertools
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import pytest

from app.admin.events.history import ATTEMPT
from app.api.http.query_parameters import parameters_of
from app.computation_thread import ComputationThread
from app.console import pages
from app.crypto import OpaqueTexts
from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.domain.mapping.document import FIELDS, MAX_CUSTOM_FIELDS
from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import SampleGroup, pack, take_sample
from app.store import read_sql
from app.store.destinations.schema_samples import RING
from tests.api.world import STREAMS
from tests.console.showcase import MAPPING
from tests.pipeline.service import Service, serving
from tests.pipeline.world import event, stamp


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    """A service whose responses are not compared with the description, which would take the loop's time."""
    async with serving(database_url) as made:
        yield made


_SQL = read_sql(__file__)
R = TypeVar("R")
MOST_MS = 50
MOST_MS_OF_A_FIRST_CALL = 100  # it cannot be repeated, because it fills caches
REPEATS = 4
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://x"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Call = tuple[str, str, Any]  # method (FORM for a form of the console), address, body
Ids = dict[str, str]  # by the name of a path's parameter


@dataclass
class LoopTime:
    """The longest callback of the event loop so far, in CPU seconds."""

    longest: float = 0.0

    async def of(self, work: Coroutine[Any, Any, R]) -> tuple[R, int]:
        """Return the result of some work, and the longest callback meanwhile in milliseconds."""
        await asyncio.sleep(0)  # what was prepared belongs to another callback
        self.longest = 0.0
        result = await asyncio.create_task(work)
        return result, round(self.longest * 1_000)

    async def least_of(self, requests: Iterable[Coroutine[Any, Any, httpx.Response]], status: int) -> int:
        """Return the shortest longest callback of equal requests, up to the first one below the limit."""
        times: list[int] = []
        for request in requests:
            answer, longest = await self.of(request)
            assert answer.status_code == status, answer.text
            times.append(longest)
            if longest <= MOST_MS:
                break
        return min(times)


@contextmanager
def measured() -> Iterator[LoopTime]:
    """Measure every callback of the event loop, without the garbage collector's pauses."""
    result, run = LoopTime(), asyncio.events.Handle._run

    def run_measured(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        result.longest = max(result.longest, time.thread_time() - began)

    gc.collect()
    gc.disable()
    asyncio.events.Handle._run = run_measured  # type: ignore[method-assign]
    try:
        yield result
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
        gc.enable()


def words(length: int) -> Iterator[str]:
    """Yield names of letters only, all different."""
    return map("".join, itertools.product(LETTERS, repeat=length))


def journey(number: int) -> Ids:
    return {"id": f"j{number % 300}", "node_id": f"n{number}", "execution_id": f"x{number // 3}"}


async def large_request(service: Service, destination: str) -> str:
    """Store a request with 500 events of a destination; return its id."""
    [row] = await service.world.fetch(_SQL["large_request"], destination)
    return OpaqueTexts(service.world.resources.pepper).seal(row["id"], kind=ATTEMPT)


async def prepared(service: Service) -> Ids:
    """Return the ids of a destination whose events are many and have many paths."""
    destination = await service.world.destination()
    [mapping] = (await service.get(f"/destinations/{destination}/mappings"))["items"]
    bad = {"event": {"timestamp": "yesterday"}, "user": {"email": "a@example.com"}}
    for part in range(4):
        numbers = range(part * 1_000, (part + 1) * 1_000)
        await service.post(destination, *(event(number, journey=journey(number)) for number in numbers))
        await service.post(
            destination, *({**bad, "event_id": f"b{n}", "journey": journey(n)} for n in numbers)
        )
    names = words(4)
    now = datetime.now(UTC)
    objects = [{key: {next(names): "x" for _ in range(60)} for key in "abc"} for _ in range(RING)]
    samples = SampleGroup({take_sample(each, now=now): 1 for each in objects}, {})
    await service.world.fetch(_SQL["samples"], destination, RING, pack(samples, Fingerprints()))
    assert (await service.get(f"/destinations/{destination}/event-schema"))["events"] == RING
    await service.world.fetch(_SQL["shops"], destination)
    await service.world.fetch(_SQL["keys"])
    return {
        "destination_id": destination,
        "mapping_id": mapping["id"],
        "advertiser_id": "1001",
        "event_type": "ADD_TO_SHOPPING_CART",
        "key_id": (await service.get("/keys"))["items"][0]["id"],
        "event_id": "ord-1",
        "id": "default",
        "name": "console.css",
        "anywhere": "nowhere",
        "replay_id": f"rpl_{0:020d}",
        "incident_id": f"inc_{0:020d}",
        "erasure_id": f"era_{0:020d}",
        "attempt_id": await large_request(service, destination),
    }


def gets(service: Service, ids: Ids) -> Iterator[Call]:
    """Yield every GET route: its first page, its largest page, and its exports."""
    application = service.client._transport.app  # type: ignore[attr-defined]
    for route in application.routes:
        if "GET" not in route.methods or route.path in STREAMS:
            continue
        path = route.path.replace(":path", "").format(**ids)
        names = parameters_of(route.dependant, route.endpoint).names
        needed = {"destination_id": ids["destination_id"]} if "destination_id" in names else {}
        needed |= {"id": "ord-1"} if path.endswith("/event") else {}
        variants: list[Ids] = [needed]
        variants += [{**needed, "limit": "200"}] if "limit" in names else []
        variants += [{**needed, "format": each} for each in ("csv", "ndjson") if "format" in names]
        yield from (("GET", f"{path}?{urlencode(query)}", None) for query in variants)


def searches(ids: Ids) -> Iterator[Call]:
    """Yield lists and searches with filters that match much, little and nothing."""
    here = f"/destinations/{ids['destination_id']}"
    for query in (
        "q=j1",
        "journey_id=j1",
        "node_id=n3",
        "status=dead",
        "status=rejected",
        "q=nope&limit=200",
    ):
        yield "GET", f"/event-search?{query}", None
    for query in ("q=j1", "q=ord-1", "status=dead"):
        yield "GET", f"/console/events?{query}", None
    for query in ("status=dead", "status=queued&limit=200", "journey_id=j1", "journey_id=nope"):
        yield "GET", f"{here}/events?{query}", None
    for query in ("journey_id=j1", "journey_id=nope", "node_id=n3"):
        yield "GET", f"{here}/stats?{query}", None


def computations(ids: Ids) -> Iterator[Call]:
    """Yield every POST that computes much, with a large body."""
    here = f"/destinations/{ids['destination_id']}"
    mapping = f"{here}/mappings/{ids['mapping_id']}"
    members = {name: {"text": "x" * 100, "list": [1, 2.5, None]} for name in itertools.islice(words(3), 6000)}
    large = {**event(1), "event": {"timestamp": stamp(), "total": 3}, "more": members}
    form = {
        "name": "x",
        "event_type": "SEARCH",
        "sample": json.dumps(dict(itertools.islice(members.items(), 9))),
    }
    yield from (
        ("POST", f"{mapping}/preview", {"event": large}),
        ("POST", f"{mapping}/preview", {"event": large, "mapping": MAPPING}),
        ("POST", f"{mapping}/backtest", None),
        ("POST", f"{mapping}/backtest", {"mapping": MAPPING}),
        ("PATCH", mapping, {"name": "x"}),
        ("POST", f"{here}/mappings/suggest", {"events": [event(n) for n in range(200)]}),
        ("POST", f"{here}/mappings/suggest", None),
        ("POST", f"{mapping}/publish", None),
        ("POST", f"{mapping}/rollback", {"version": 1}),
        (
            "POST",
            f"{here}/replay",
            {"status": "dead", "dry_run": False, "event_ids": [f"o{n}" for n in range(1_000)]},
        ),
        ("POST", f"{here}/dead-letters/dismiss", {"dry_run": True}),
        ("POST", "/subjects/find", {"email": "person1@example.com"}),
        ("POST", f"/events?dry_run=true&destination_id={here[14:]}", [event(n) for n in range(5_000)]),
        ("POST", f"/events?dry_run=true&destination_id={here[14:]}", large),
        ("FORM", f"/console{mapping}/preview", form),
        ("FORM", f"/console{here}/mappings/new", form),
        ("FORM", f"/console{mapping}/publish", {}),
        ("FORM", "/console/privacy/find", {"field": "email", "value": "person1@example.com"}),
        ("FORM", "/console/audit/verify", {}),
    )


async def test_no_request_occupies_the_event_loop(service: Service) -> None:
    """A call above the limit is repeated: the first one computes what later ones find in a cache."""
    ids = await prepared(service)
    client = service.client
    token = re.search(r'name="csrf" value="([^"]+)"', await service.console("/hash-tester"))
    assert token is not None
    for template in pages.TEMPLATES.list_templates():
        pages.TEMPLATES.get_template(template)  # compiled once in a process
    calls = [*gets(service, ids), *searches(ids), *computations(ids)]
    too_long: dict[str, list[int]] = {}
    with measured() as loop_time:

        async def longest_ms(method: str, address: str, body: Any) -> int:
            sent: dict[str, Any] = {"content": None if body is None else json.dumps(body)}
            if method == "FORM":
                sent = {"content": urlencode({**body, "csrf": token[1]}), "headers": FORM}
            request = client.request("POST" if method == "FORM" else method, address, **sent)
            answer, longest = await loop_time.of(request)
            assert answer.status_code < 500 or address.startswith("/health/ready"), address
            return longest

        for call in calls:
            times = [await longest_ms(*call)]
            while min(times) > MOST_MS and len(times) <= REPEATS:
                times.append(await longest_ms(*call))
            if times[0] > MOST_MS_OF_A_FIRST_CALL or min(times) > MOST_MS:
                too_long[f"{call[0]} {call[1]}"] = times
    assert too_long == {}
    assert len(calls) > 150


def large_mapping() -> dict[str, Any]:
    """Return a mapping with many sources in each field, about as large as one can be."""
    steps = [
        "trim",
        "lower",
        ["replace", "a", "b"],
        ["time", {"formats": ["DD.MM.YYYY HH:mm", "iso"], "zone": "UTC"}],
    ]
    several = {"first_of": [{"path": f"a.b.c.d.e{place}", "pipe": steps} for place in range(8)]}
    texts = [name for name, field in FIELDS.items() if field.takes == "text" and name != "limited_data_use"]
    custom = [{"name": f"custom_{place}", **several} for place in range(MAX_CUSTOM_FIELDS)]
    return {
        **MAPPING,
        "fields": {**MAPPING["fields"], **dict.fromkeys(texts, several)},
        "custom_data": custom,
    }


async def prepared_history(service: Service) -> Ids:
    """Return the ids of a destination with many large mappings and versions, and with many full batches."""
    destination = await service.world.destination()
    journeys = [event(number, journey={"id": "j1"}) for number in range(500)]
    await service.post(destination, *journeys)
    document = json.dumps(large_mapping())
    await service.world.fetch(_SQL["versions"], destination, document)
    await service.world.fetch(_SQL["mappings"], destination, document, 20)
    for name in ("expired_batches", "expired_states"):
        await service.world.fetch(_SQL[name], destination)
    await service.world.fetch(_SQL["duplicates"])
    [row] = await service.world.fetch(
        "SELECT id FROM mappings WHERE destination = $1 ORDER BY number LIMIT 1", destination
    )
    return {"destination_id": destination, "mapping_id": row["id"]}


async def test_many_mappings_and_batches_do_not_occupy_the_event_loop(service: Service) -> None:
    """A large mapping is compiled in 6 ms, and 500 events are read in 1 ms: many of both take seconds."""
    ids = await prepared_history(service)
    assert "ADD_TO_SHOPPING_CART" in await service.console("/event-names")
    here = f"/destinations/{ids['destination_id']}"
    many = {"ids": [f"tag-{number}" for number in range(100_000)]}
    calls: list[Call] = [
        ("GET", f"{here}/mappings?limit=200", None),
        ("GET", f"{here}/mappings/{ids['mapping_id']}/versions?limit=200", None),
        ("GET", f"{here}/match-quality?limit=200", None),
        ("GET", f"{here}/dedupe", None),
        ("GET", f"{here}/preflight", None),
        ("GET", f"{here}/reconciliation", None),
        ("POST", f"{here}/replay", {"journey_id": "j1"}),
        ("POST", f"{here}/dedupe/compare", many),
        ("GET", "/console/event-names/1001/ADD_TO_SHOPPING_CART", None),
    ]
    times: dict[str, int] = {}
    with measured() as loop_time:
        for method, address, body in calls:
            content = None if body is None else json.dumps(body)
            request = partial(service.client.request, method, address, content=content)
            requests = (request() for _ in range(1 + REPEATS))
            times[f"{method} {address}"] = await loop_time.least_of(requests, 200)
    assert {call: longest for call, longest in times.items() if longest > MOST_MS} == {}


async def test_another_advertiser_of_many_mappings_does_not_occupy_the_event_loop(service: Service) -> None:
    """Mappings that read their type from the event have no name to pin: their compilations had no pause."""
    destination = await service.world.destination()
    await service.world.fetch("UPDATE destinations SET sign_in = 'none' WHERE id = $1", destination)
    document = {**large_mapping(), "fields": MAPPING["fields"], "event_type": {"path": "type"}}
    await service.world.fetch(_SQL["mappings"], destination, json.dumps(document), 60)
    patches = (
        service.client.patch(f"/destinations/{destination}", json={"advertiser_id": str(advertiser)})
        for advertiser in range(2_001, 2_001 + REPEATS)
    )
    with measured() as loop_time:
        assert await loop_time.least_of(patches, 200) <= MOST_MS


async def test_a_post_of_5000_events_is_answered_in_slices(service: Service) -> None:
    """Parsing it is the longest part; results and response after the commit are shorter."""
    destination = await service.world.destination()
    address = f"/events?destination_id={destination}"
    bodies = [json.dumps([event(part * 5_000 + n) for n in range(5_000)]) for part in range(REPEATS)]
    with measured() as loop_time:
        posts = (service.client.post(address, content=body) for body in bodies)
        assert await loop_time.least_of(posts, 202) <= MOST_MS


OURS, THEIRS = OrganisationId("ours"), OrganisationId("theirs")


async def test_a_computation_runs_outside_the_event_loop() -> None:
    """With its arguments; its error is raised where it was requested."""
    thread = ComputationThread()
    assert await thread.run(OURS, threading.get_ident) != threading.get_ident()
    assert await thread.run(OURS, int, "11", base=2) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await thread.run(OURS, int, "x")


async def test_a_list_waits_for_no_long_computation(service: Service) -> None:
    """A backtest may take seconds. Another backtest waits for it."""
    destination = await service.world.destination()
    here = f"/destinations/{destination}"
    mapping = f"{here}/mappings/{(await service.get(f'{here}/mappings'))['items'][0]['id']}"
    context = service.application.state.context.within(DEFAULT_ORGANISATION)
    release = threading.Event()
    long = asyncio.create_task(context.compute(release.wait, 60))
    backtest = asyncio.create_task(service.do(f"{mapping}/backtest", {}))
    try:
        async with asyncio.timeout(20):
            for path in (f"{here}/mappings", f"{mapping}/versions", f"{here}/preflight"):
                await service.get(path)
        assert not backtest.done()
    finally:
        release.set()
        await asyncio.gather(long, backtest)


async def test_an_organisation_waits_for_at_most_one_computation_of_another() -> None:
    """However many the other requested before."""
    thread, order = ComputationThread(), list[str]()
    release = threading.Event()
    requests = [
        asyncio.create_task(thread.run(THEIRS, release.wait, 20)),
        *(asyncio.create_task(thread.run(THEIRS, order.append, f"theirs {number}")) for number in range(5)),
    ]
    await asyncio.sleep(0)
    requests.append(asyncio.create_task(thread.run(OURS, order.append, "ours")))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*requests)
    assert order[0] == "ours"
    assert order[1:] == [f"theirs {number}" for number in range(5)]
