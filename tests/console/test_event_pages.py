"""The pages about events: search, filters, errors, replay and dismissal, rejected events, journeys, tail."""

import asyncio
import html
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.console.showcase import signed_in
from tests.console.test_seeded_faults import connected, read
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import MAPPING, event

BEARER = {"Authorization": f"Bearer {ADMIN}"}
JOURNEY = {"id": "welcome", "node_id": "n7", "execution_id": "run-1"}


class Desk:
    """Somebody signed in at the console, and the API beside it. Each destination has a lane of its own."""

    advertisers = iter(range(7200000001, 7200000999))

    def __init__(self, product: Product, pages: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
        self.product, self.pages, self.api = product, pages, api

    async def destination(self) -> str:
        return await asyncio.to_thread(connected, self.product, str(next(self.advertisers)))

    async def post(self, destination: str, *events: Any) -> None:
        answer = await self.api.post(f"/events?destination_id={destination}", json={"events": events})
        assert answer.status_code in (202, 207, 422), answer.text

    async def fault(self, destination: str, **fault: Any) -> None:
        advertiser = (await self.api.get(f"/destinations/{destination}")).json()["advertiser_id"]
        body = {"advertiser_id": advertiser, "fault": fault}
        answer = await self.api.post(f"{self.product.amazon}/_sandbox/faults", json=body)
        assert answer.status_code == 201, answer.text

    async def heal(self) -> None:
        assert (await self.api.delete(f"{self.product.amazon}/_sandbox/faults")).status_code < 300

    async def until(self, done: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not await done():
            assert time.monotonic() < end, self.product.log.read_text()[-2000:]
            await asyncio.sleep(0.1)

    async def until_counted(self, destination: str, **wanted: int) -> None:
        async def counted() -> bool:
            counts = (await self.api.get(f"/destinations/{destination}/stats")).json()["counts"]
            return all(counts[name] == number for name, number in wanted.items())

        await self.until(counted)

    async def get(self, path: str, **query: str) -> str:
        answer = await self.pages.get(path, params=query or None)
        assert answer.status_code == 200, (path, answer.status_code, read(answer)[-500:])
        return answer.text

    async def submit(self, page: str, action: str, fields: list[tuple[str, str]]) -> httpx.Response:
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        data: dict[str, Any] = {"csrf": token[1]}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        return await self.pages.post(action, data=data)


@pytest_asyncio.fixture
async def desk(product: Product) -> AsyncIterator[Desk]:
    async with (
        signed_in(product) as pages,
        httpx.AsyncClient(base_url=product.api, headers=BEARER, timeout=20) as api,
    ):
        yield Desk(product, pages, api)


def nameless(name: str, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "user": {"email": "ada@example.com"}, **more}


async def test_an_exact_id_opens_the_event(desk: Desk) -> None:
    """Accepted or rejected; several events of one id are listed."""
    first, second = await desk.destination(), await desk.destination()
    await desk.post(first, {**event(1), "event_id": "only-1"}, {**event(2), "event_id": "both-1"})
    await desk.post(second, {**event(2), "event_id": "both-1"}, nameless("bad-1", journey=JOURNEY))
    opened = await desk.pages.get("/console/events", params={"q": " only-1 "})
    assert opened.status_code == 303
    assert opened.headers["location"].startswith(f"/console/destinations/{first}/event?id=only-1")
    assert "only-1" in await desk.get(opened.headers["location"])
    rejected = await desk.pages.get("/console/events", params={"q": "bad-1"})
    assert rejected.headers["location"].startswith(f"/console/destinations/{second}/event?id=bad-1")
    page = await desk.get(rejected.headers["location"])
    assert "timestamp_missing" in page
    assert "event.timestamp" in page
    assert "/console/events?q=welcome" in page
    both = await desk.get("/console/events", q="both-1")
    assert "2 events have this ID" in both
    assert f"/console/destinations/{first}/event?id=both-1" in both
    one = await desk.pages.get("/console/events", params={"q": "both-1", "destination": second})
    assert one.headers["location"].startswith(f"/console/destinations/{second}/event")
    assert "No event found" in await desk.get("/console/events", q="never-sent")


async def test_a_list_is_filtered_by_everything_stored(desk: Desk) -> None:
    """Status, rejected ones too, reason, type, journey, node, execution; exports take the same filter."""
    destination = await desk.destination()
    here = f"/console/destinations/{destination}/events"
    await desk.post(
        destination,
        {**event(1), "event_id": "in-1", "journey": JOURNEY},
        {**event(2), "event_id": "out-1"},
        nameless("bad-2", journey=JOURNEY),
    )
    page = await desk.get(here)
    assert all(name in page for name in ("in-1", "out-1", "bad-2"))
    for name, value in (("journey_id", "welcome"), ("node_id", "n7"), ("execution_id", "run-1")):
        page = await desk.get(here, **{name: value})
        assert "in-1" in page
        assert "bad-2" in page
        assert "out-1" not in page
    page = await desk.get(here, status="rejected")
    assert "bad-2" in page
    assert "in-1" not in page
    assert "in-1" in await desk.get(here, event_type="ADD_TO_SHOPPING_CART")
    assert "No matching events" in await desk.get(here, event_type="LEAD")
    assert "in-1" in await desk.get(here, range="1h")
    exported = await desk.get(f"{here}/export", format="ndjson", status="rejected")
    (row,) = map(json.loads, exported.splitlines())
    assert (row["event_id"], row["status"], row["reason"]) == ("bad-2", "rejected", "timestamp_missing")
    assert (await desk.get(f"{here}/export", format="csv")).count("\n") == 4
    records = await desk.get(f"/console/destinations/{destination}/rejections", field="event.timestamp")
    assert "bad-2" in records
    exported = await desk.get(f"/console/destinations/{destination}/rejections/export", format="csv")
    assert "bad-2" in exported
    page = await desk.get(f"/console/destinations/{destination}/journeys")
    assert re.search(r"welcome.*n7.*", read(httpx.Response(200, text=page)))
    # Each number equals the list behind it.
    links = re.findall(r'href="events\?([^"]+)"[^>]*>(\d+)</a>', page)
    assert links
    for query, number in links:
        listed = await desk.get(f"{here}/export?{html.unescape(query)}&format=ndjson")
        assert len(listed.splitlines()) == int(number)


async def test_errors_are_grouped_replayed_and_dismissed(desk: Desk) -> None:
    """From the group to its events, a selection to a replay with progress, and the rest dismissed."""
    destination = await desk.destination()
    here = f"/console/destinations/{destination}"
    await desk.fault(destination, kind="partial", indexes=[0, 1, 2], code="BAD_REQUEST")
    await desk.post(
        destination, *({**event(n), "event_id": f"dead-{n}", "journey": JOURNEY} for n in range(3))
    )
    await desk.until_counted(destination, dead=3)
    await desk.post(destination, nameless("bad-3"))
    errors = await desk.get(f"{here}/errors")
    assert 'aria-label="3 events: amazon_refused"' in errors
    assert "events[" not in errors
    assert 'aria-label="1 event: timestamp_missing"' in errors
    page = await desk.get(f"{here}/events", status="dead", reason="amazon_refused")
    assert page.count('name="event"') == 3
    nothing = await desk.submit(page, f"{here}/replay/selection", [("status", "dead")])
    assert nothing.status_code == 422
    assert "Select at least one event" in read(nothing)
    chosen = [("status", "dead"), ("event", "dead-0"), ("event", "dead-1")]
    counted = await desk.submit(page, f"{here}/replay/selection", chosen)
    assert "2 events will be resent" in read(counted)
    assert "2 events will be marked as handled" in read(counted)
    await desk.heal()
    done = await desk.submit(counted.text, f"{here}/replay", chosen)
    assert done.status_code == 303
    job = done.headers["location"]
    assert "2 events queued again" in await desk.get(job)
    await desk.until_counted(destination, dead=1, delivered=2)
    finished = read(httpx.Response(200, text=await desk.get(job)))
    assert "Finished." in finished
    assert "the bootstrap key" in finished
    assert job in await desk.get(f"{here}/replays")
    history = await desk.get(f"{here}/event", id="dead-0")
    assert f'href="{job}"' in history
    assert "Payload shape" in history
    assert "match key sent" in history
    filtered = await desk.get(f"{here}/replay", status="dead", journey_id="welcome")
    assert "1 event will be resent" in read(httpx.Response(200, text=filtered))
    dismissed = await desk.submit(filtered, f"{here}/dismiss", [("status", "dead"), ("node_id", "n7")])
    assert (dismissed.status_code, dismissed.headers["location"]) == (303, f"{here}/errors")
    assert "1 event dismissed." in await desk.get(f"{here}/errors")
    assert "1 dismissed" in await desk.get(f"{here}/errors")
    assert (await desk.api.get(f"/destinations/{destination}/stats")).json()["dead_open"] == 0
    single = await desk.get(f"{here}/replay", status="dead", event="dead-2")
    assert "1 event will be resent" in read(httpx.Response(200, text=single))
    assert "No open events to dismiss." in single


async def test_a_group_of_failures_leads_to_exactly_its_events(desk: Desk) -> None:
    """By reason, Amazon's answer and mapping; the list, a replay and a dismissal agree."""
    destination = await desk.destination()
    here = f"/console/destinations/{destination}"
    mapping = {**MAPPING, "name": "Leads", "event_type": "LEAD", "event_name": "Lead"}
    made = (await desk.api.post(f"/destinations/{destination}/mappings", json=mapping)).json()["id"]
    published = await desk.api.post(f"/destinations/{destination}/mappings/{made}/publish")
    assert published.status_code == 200, published.text
    first = (await desk.api.get(f"/destinations/{destination}/mappings")).json()["items"][0]["id"]
    for code, name, mapping_id in (
        ("BAD_REQUEST", "one", first),
        ("BAD_REQUEST", "two", made),
        ("FIELD_VALUE_IS_INVALID", "three", made),
    ):
        await desk.fault(destination, kind="partial", indexes=[0, 1], code=code)
        sent = [{**event(n), "event_id": f"{name}-{n}", "mapping_id": mapping_id} for n in range(2)]
        before = (await desk.api.get(f"/destinations/{destination}/stats")).json()["counts"]["dead"]
        await desk.post(destination, *sent)
        await desk.until_counted(destination, dead=before + 2)
        await desk.heal()
    errors = await desk.get(f"{here}/errors")
    groups = re.findall(r'href="([^"]+)" aria-label="2 events: amazon_refused"', errors)
    assert len(groups) == 3
    names = set()
    for group in map(html.unescape, groups):
        page = await desk.get(group)
        listed = set(re.findall(r'name="event" value="(\w+)-\d"', page))
        assert len(listed) == 1
        assert page.count('name="event"') == 2
        names |= listed
        counted = read(httpx.Response(200, text=await desk.get(group.replace("/events?", "/replay?"))))
        assert "2 events will be resent" in counted
        assert "2 events will be marked as handled" in counted
    assert names == {"one", "two", "three"}


async def test_a_replay_of_a_filter_selects_by_its_type(desk: Desk) -> None:
    """As the list above the button does."""
    destination = await desk.destination()
    here = f"/console/destinations/{destination}"
    await desk.fault(destination, kind="partial", indexes=[0], code="BAD_REQUEST")
    await desk.post(destination, {**event(1), "event_id": "typed-1"})
    await desk.until_counted(destination, dead=1)
    await desk.heal()
    page = await desk.get(f"{here}/events", status="dead", event_type="ADD_TO_SHOPPING_CART")
    (link,) = re.findall(r'href="([^"]+)">Replay or dismiss all that match', page)
    link = html.unescape(link)
    assert "event_type=ADD_TO_SHOPPING_CART" in link
    counted = await desk.get(link)
    assert "1 event will be resent" in read(httpx.Response(200, text=counted))
    assert 'name="event_type" value="ADD_TO_SHOPPING_CART"' in counted
    other = await desk.get(link.replace("ADD_TO_SHOPPING_CART", "LEAD"))
    assert "No events can be replayed." in other
    assert "No open events to dismiss." in other


@pytest.mark.parametrize("path", ["/console/tail", "/console/tail/live"])
async def test_the_tail_shows_events_without_a_value(desk: Desk, path: str) -> None:
    """As a page and as a stream; filters apply to both."""
    destination = await desk.destination()
    await desk.post(destination, {**event(1), "event_id": "tail-1"}, nameless("tail-bad"))
    for query, shown, hidden in (
        ({}, ("tail-1", "tail-bad"), ()),
        ({"status": "rejected"}, ("tail-bad",), ("tail-1",)),
        ({"reason": "timestamp_missing", "q": "tail-bad"}, ("tail-bad",), ("tail-1",)),
    ):
        text = ""
        async with desk.pages.stream("GET", path, params={"destination": destination, **query}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                text += f"{line}\n"
                if path.endswith("live") and text.count("\n\n") == 2:
                    break
        assert all(name in text for name in shown)
        assert not any(f"id={name}" in text for name in hidden)
        assert "ada@example.com" not in text
    missing = await desk.pages.get(path, params={"destination": "dst_" + "0" * 20})
    assert missing.status_code == 404


async def test_events_are_found_by_the_execution_that_sent_them(desk: Desk) -> None:
    """All of it, over destinations, none of another's; each leads to its own page, which leads back."""
    first, second = await desk.destination(), await desk.destination()
    run = {"id": "j1", "node_id": "n7", "execution_id": "run-7/ä"}
    await desk.post(first, event(1, journey=run), event(2, journey={**run, "execution_id": "run-7/ä2"}))
    await desk.post(second, event(3, journey=run), event(4))
    page = await desk.pages.get("/console/events", params={"q": "run-7/ä"})
    assert page.status_code == 200
    text = read(page)
    assert "ord-1" in text
    assert "ord-3" in text
    assert "ord-2" not in text
    assert "ord-4" not in text
    story = await desk.pages.get(f"/console/destinations/{second}/event", params={"id": "ord-3"})
    assert "q=run-7/%C3%A4" in story.text

    listed = await desk.pages.get(f"/console/destinations/{first}/events", params={"execution_id": "run-7/ä"})
    assert "ord-1" in listed.text
    assert "ord-2" not in listed.text


async def test_a_key_limited_to_destinations_finds_nothing_of_others(desk: Desk) -> None:
    """Neither by event id nor by execution id."""
    mine, other = await desk.destination(), await desk.destination()
    await desk.post(mine, event(31, journey={"execution_id": "shared-run"}))
    await desk.post(other, event(32, journey={"execution_id": "shared-run"}))
    scopes = ["destinations:read", "events:read"]
    body = {"name": "limited", "scopes": scopes, "destination_ids": [mine]}
    key = (await desk.api.post("/keys", json=body)).json()["key"]
    async with signed_in(desk.product, key) as client:
        text = read(await client.get("/console/events", params={"q": "shared-run"}))
        assert "ord-31" in text
        assert "ord-32" not in text
        assert "No event found" in read(await client.get("/console/events", params={"q": "ord-32"}))
