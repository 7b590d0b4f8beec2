"""The pages about events: search, filters, errors, replay and dismissal, rejected events, journeys, tail."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.console.showcase import opened, visiting
from tests.console.test_seeded_faults import connected, read
from tests.pipeline.processes import Product
from tests.pipeline.world import MAPPING, event

JOURNEY = {"id": "welcome", "node_id": "n7", "execution_id": "run-1"}


class Desk:
    """A visitor who is signed in, and the API beside. Each destination has a lane of its own."""

    advertisers = iter(range(7200000001, 7200000999))

    def __init__(self, product: Product, pages: httpx.Client) -> None:
        self.product, self.case, self.pages = product, opened(product), pages
        self.api = self.case.client

    def destination(self) -> str:
        return connected(self.product, str(next(self.advertisers)))

    def post(self, destination: str, *events: Any) -> None:
        answer = self.api.post(f"/events?destination_id={destination}", json={"events": events})
        assert answer.status_code in (202, 207, 422), answer.text

    def fault(self, destination: str, **fault: Any) -> None:
        self.case.fault(self.case.ask("GET", f"/destinations/{destination}")["advertiser_id"], **fault)

    def until_counted(self, destination: str, **wanted: int) -> None:
        self.case.until(lambda: wanted.items() <= self.case.counts(destination).items())

    def get(self, path: str, **query: str) -> str:
        answer = self.pages.get(path, params=query or None)
        assert answer.status_code == 200, (path, answer.status_code, read(answer)[-500:])
        return answer.text

    def submit(self, page: str, action: str, fields: list[tuple[str, str]]) -> httpx.Response:
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        data: dict[str, Any] = {"csrf": token[1]}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        return self.pages.post(action, data=data)


@pytest.fixture
def desk(product: Product) -> Iterator[Desk]:
    with visiting(product) as pages:
        yield Desk(product, pages)


def nameless(name: str, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "user": {"email": "ada@example.com"}, **more}


def test_an_exact_id_opens_the_event(desk: Desk) -> None:
    """Accepted or rejected; several events of one id are listed."""
    first, second = desk.destination(), desk.destination()
    desk.post(first, {**event(1), "event_id": "only-1"}, {**event(2), "event_id": "both-1"})
    desk.post(second, {**event(2), "event_id": "both-1"}, nameless("bad-1", journey=JOURNEY))
    opened = desk.pages.get("/console/events", params={"q": " only-1 "})
    assert opened.status_code == 303
    assert opened.headers["location"].startswith(f"/console/destinations/{first}/event?id=only-1")
    assert "only-1" in desk.get(opened.headers["location"])
    rejected = desk.pages.get("/console/events", params={"q": "bad-1"})
    assert rejected.headers["location"].startswith(f"/console/destinations/{second}/event?id=bad-1")
    page = desk.get(rejected.headers["location"])
    assert "timestamp_missing" in page
    assert "event.timestamp" in page
    assert "/console/events?q=welcome" in page
    both = desk.get("/console/events", q="both-1")
    assert "2 events have this ID" in both
    assert f"/console/destinations/{first}/event?id=both-1" in both
    one = desk.pages.get("/console/events", params={"q": "both-1", "destination": second})
    assert one.headers["location"].startswith(f"/console/destinations/{second}/event")
    assert "No event found" in desk.get("/console/events", q="never-sent")


def test_a_list_is_filtered_by_everything_stored(desk: Desk) -> None:
    """Status, rejected ones too, reason, type, journey, node, execution; exports take the same filter."""
    destination = desk.destination()
    here = f"/console/destinations/{destination}/events"
    desk.post(
        destination,
        {**event(1), "event_id": "in-1", "journey": JOURNEY},
        {**event(2), "event_id": "out-1"},
        nameless("bad-2", journey=JOURNEY),
    )
    page = desk.get(here)
    assert all(name in page for name in ("in-1", "out-1", "bad-2"))
    for name, value in (("journey_id", "welcome"), ("node_id", "n7"), ("execution_id", "run-1")):
        page = desk.get(here, **{name: value})
        assert "in-1" in page
        assert "bad-2" in page
        assert "out-1" not in page
    page = desk.get(here, status="rejected")
    assert "bad-2" in page
    assert "in-1" not in page
    assert "in-1" in desk.get(here, event_type="ADD_TO_SHOPPING_CART")
    assert "No matching events" in desk.get(here, event_type="LEAD")
    assert "in-1" in desk.get(here, range="1h")
    exported = desk.get(f"{here}/export", format="ndjson", status="rejected")
    (row,) = map(json.loads, exported.splitlines())
    assert (row["event_id"], row["status"], row["reason"]) == ("bad-2", "rejected", "timestamp_missing")
    assert (desk.get(f"{here}/export", format="csv")).count("\n") == 4
    records = desk.get(f"/console/destinations/{destination}/rejections", field="event.timestamp")
    assert "bad-2" in records
    exported = desk.get(f"/console/destinations/{destination}/rejections/export", format="csv")
    assert "bad-2" in exported
    page = desk.get(f"/console/destinations/{destination}/journeys")
    assert re.search(r"welcome.*n7.*", read(httpx.Response(200, text=page)))
    # Each number equals the list behind it.
    links = re.findall(r'href="events\?([^"]+)"[^>]*>(\d+)</a>', page)
    assert links
    for query, number in links:
        listed = desk.get(f"{here}/export?{html.unescape(query)}&format=ndjson")
        assert len(listed.splitlines()) == int(number)


def test_errors_are_grouped_replayed_and_dismissed(desk: Desk) -> None:
    """From the group to its events, a selection to a replay with progress, and the rest dismissed."""
    destination = desk.destination()
    here = f"/console/destinations/{destination}"
    desk.fault(destination, kind="partial", indexes=[0, 1, 2], code="BAD_REQUEST")
    desk.post(destination, *({**event(n), "event_id": f"dead-{n}", "journey": JOURNEY} for n in range(3)))
    desk.until_counted(destination, dead=3)
    desk.post(destination, nameless("bad-3"))
    errors = desk.get(f"{here}/errors")
    assert 'aria-label="3 events: amazon_refused"' in errors
    assert "events[" not in errors
    assert 'aria-label="1 event: timestamp_missing"' in errors
    page = desk.get(f"{here}/events", status="dead", reason="amazon_refused")
    assert page.count('name="event"') == 3
    nothing = desk.submit(page, f"{here}/replay/selection", [("status", "dead")])
    assert nothing.status_code == 422
    assert "Select at least one event" in read(nothing)
    chosen = [("status", "dead"), ("event", "dead-0"), ("event", "dead-1")]
    counted = desk.submit(page, f"{here}/replay/selection", chosen)
    assert "2 events will be resent" in read(counted)
    assert "2 events will be marked as handled" in read(counted)
    desk.case.heal()
    done = desk.submit(counted.text, f"{here}/replay", chosen)
    assert done.status_code == 303
    job = done.headers["location"]
    assert "2 events queued again" in desk.get(job)
    desk.until_counted(destination, dead=1, delivered=2)
    finished = read(httpx.Response(200, text=desk.get(job)))
    assert "Finished." in finished
    assert "the bootstrap key" in finished
    assert job in desk.get(f"{here}/replays")
    assert f'href="{job}"' in desk.get(f"{here}/event", id="dead-0")
    filtered = desk.get(f"{here}/replay", status="dead", journey_id="welcome")
    assert "1 event will be resent" in read(httpx.Response(200, text=filtered))
    dismissed = desk.submit(filtered, f"{here}/dismiss", [("status", "dead"), ("node_id", "n7")])
    assert (dismissed.status_code, dismissed.headers["location"]) == (303, f"{here}/errors")
    assert "1 event dismissed." in desk.get(f"{here}/errors")
    assert "1 dismissed" in desk.get(f"{here}/errors")
    assert desk.api.get(f"/destinations/{destination}/stats").json()["dead_open"] == 0
    single = desk.get(f"{here}/replay", status="dead", event="dead-2")
    assert "1 event will be resent" in read(httpx.Response(200, text=single))
    assert "No open events to dismiss." in single


def test_no_replay_of_a_deleted_destination_is_offered(desk: Desk) -> None:
    """Its events stay in the search, but a replay of them would be refused."""
    destination = desk.destination()
    desk.fault(destination, kind="partial", indexes=[0], code="BAD_REQUEST")
    desk.post(destination, {**event(1), "event_id": "left-1"})
    desk.until_counted(destination, dead=1)
    desk.case.heal()
    replay = f"/console/destinations/{destination}/replay"
    assert replay in desk.get("/console/events", destination=destination, status="dead")
    assert desk.api.delete(f"/destinations/{destination}").status_code == 200
    found = desk.get("/console/events", destination=destination, status="dead")
    assert "left-1" in found
    assert replay not in found


def test_a_group_of_failures_leads_to_exactly_its_events(desk: Desk) -> None:
    """By reason, Amazon's answer and mapping; the list, a replay and a dismissal agree."""
    destination = desk.destination()
    here = f"/console/destinations/{destination}"
    mapping = {**MAPPING, "name": "Leads", "event_type": "LEAD", "event_name": "Lead"}
    made = desk.api.post(f"/destinations/{destination}/mappings", json=mapping).json()["id"]
    published = desk.api.post(f"/destinations/{destination}/mappings/{made}/publish")
    assert published.status_code == 200, published.text
    first = desk.api.get(f"/destinations/{destination}/mappings").json()["items"][0]["id"]
    for code, name, mapping_id in (
        ("BAD_REQUEST", "one", first),
        ("BAD_REQUEST", "two", made),
        ("FIELD_VALUE_IS_INVALID", "three", made),
    ):
        desk.fault(destination, kind="partial", indexes=[0, 1], code=code)
        sent = [{**event(n), "event_id": f"{name}-{n}", "mapping_id": mapping_id} for n in range(2)]
        before = desk.api.get(f"/destinations/{destination}/stats").json()["counts"]["dead"]
        desk.post(destination, *sent)
        desk.until_counted(destination, dead=before + 2)
        desk.case.heal()
    errors = desk.get(f"{here}/errors")
    groups = re.findall(r'href="([^"]+)" aria-label="2 events: amazon_refused"', errors)
    assert len(groups) == 3
    names = set()
    for group in map(html.unescape, groups):
        page = desk.get(group)
        listed = set(re.findall(r'name="event" value="(\w+)-\d"', page))
        assert len(listed) == 1
        assert page.count('name="event"') == 2
        names |= listed
        counted = read(httpx.Response(200, text=desk.get(group.replace("/events?", "/replay?"))))
        assert "2 events will be resent" in counted
        assert "2 events will be marked as handled" in counted
    assert names == {"one", "two", "three"}


def test_a_replay_of_a_filter_selects_by_its_type(desk: Desk) -> None:
    """As the list above the button does."""
    destination = desk.destination()
    here = f"/console/destinations/{destination}"
    desk.fault(destination, kind="partial", indexes=[0], code="BAD_REQUEST")
    desk.post(destination, {**event(1), "event_id": "typed-1"})
    desk.until_counted(destination, dead=1)
    desk.case.heal()
    page = desk.get(f"{here}/events", status="dead", event_type="ADD_TO_SHOPPING_CART")
    (link,) = re.findall(r'href="([^"]+)">Replay or dismiss all that match', page)
    link = html.unescape(link)
    assert "event_type=ADD_TO_SHOPPING_CART" in link
    counted = desk.get(link)
    assert "1 event will be resent" in read(httpx.Response(200, text=counted))
    assert 'name="event_type" value="ADD_TO_SHOPPING_CART"' in counted
    other = desk.get(link.replace("ADD_TO_SHOPPING_CART", "LEAD"))
    assert "No events can be replayed." in other
    assert "No open events to dismiss." in other


def test_a_replay_is_followed_until_it_is_final(desk: Desk) -> None:
    """The stream shows its progress, and ends once no event waits."""
    destination = desk.destination()
    desk.fault(destination, kind="partial", indexes=[0], code="BAD_REQUEST")
    desk.post(destination, {**event(1), "event_id": "followed-1"})
    desk.until_counted(destination, dead=1)
    desk.case.heal()
    desk.api.post(f"/destinations/{destination}/pause")
    answer = desk.api.post(f"/destinations/{destination}/replay", json={"status": "dead", "dry_run": False})
    replay = answer.json()["replay_id"]
    events = []
    path = f"/console/destinations/{destination}/replays/{replay}/live"
    with desk.pages.stream("GET", path) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line.startswith("event: "):
                events.append(line)
                desk.api.post(f"/destinations/{destination}/resume")
    assert (events[0], events[-1]) == ("event: panel", "event: settled")


@pytest.mark.parametrize("path", ["/console/tail", "/console/tail/live"])
def test_the_tail_shows_events_without_a_value(desk: Desk, path: str) -> None:
    """As a page and as a stream; filters apply to both."""
    destination = desk.destination()
    desk.post(destination, {**event(1), "event_id": "tail-1"}, nameless("tail-bad"))
    for query, shown, hidden in (
        ({}, ("tail-1", "tail-bad"), ()),
        ({"status": "rejected"}, ("tail-bad",), ("tail-1",)),
        ({"reason": "timestamp_missing", "q": "tail-bad"}, ("tail-bad",), ("tail-1",)),
    ):
        text = ""
        with desk.pages.stream("GET", path, params={"destination": destination, **query}) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                text += f"{line}\n"
                if path.endswith("live") and text.count("\n\n") == 2:
                    break
        assert all(name in text for name in shown)
        assert not any(f"id={name}" in text for name in hidden)
        assert "ada@example.com" not in text
    assert desk.pages.get(path, params={"destination": "dst_" + "0" * 20}).status_code == 404


def test_events_are_found_by_the_execution_that_sent_them(desk: Desk) -> None:
    """All of it, over destinations, none of another's; each leads to its own page, which leads back."""
    first, second = desk.destination(), desk.destination()
    run = {"id": "j1", "node_id": "n7", "execution_id": "run-7/ä"}
    desk.post(first, event(1, journey=run), event(2, journey={**run, "execution_id": "run-7/ä2"}))
    desk.post(second, event(3, journey=run), event(4))
    page = desk.pages.get("/console/events", params={"q": "run-7/ä"})
    assert page.status_code == 200
    text = read(page)
    assert "ord-1" in text
    assert "ord-3" in text
    assert "ord-2" not in text
    assert "ord-4" not in text
    story = desk.pages.get(f"/console/destinations/{second}/event", params={"id": "ord-3"})
    assert "q=run-7/%C3%A4" in story.text

    listed = desk.pages.get(f"/console/destinations/{first}/events", params={"execution_id": "run-7/ä"})
    assert "ord-1" in listed.text
    assert "ord-2" not in listed.text
