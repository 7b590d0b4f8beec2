"""Suggestions over HTTP: from the events of the request, or from samples of recent events."""

import json
import logging
import os
from typing import Any

import pytest

from tests.api.test_backtests import ready
from tests.api.world import ApiWorld

NAME, EMAIL = "Adelheid", "adelheid@example.com"


def order(number: int) -> dict[str, Any]:
    """Return an order as a shop writes it."""
    return {
        "event": {"name": "order", "ordered_at": f"24.11.2026 10:{number:02}:00"},
        "order_number": f"A-{number}",
        "amount": "1.234,50 €",
        "lines": [{"price": "617,25 €", "pieces": 2}],
        "customer": {
            "mail": EMAIL if number % 2 else f"c{number}@example.org",
            "given_name": NAME,
            "country": "DE",
        },
    }


async def test_a_suggested_mapping_is_saved_and_published_as_it_is(world: ApiWorld, acme_id: str) -> None:
    """It converts an event, too."""
    body = {"events": [order(n) for n in range(12)], "zone": "Europe/Berlin"}
    answer = await world.call("POST", f"/destinations/{acme_id}/mappings/suggest", body, status=200)
    found = answer.json()
    assert {(each["field"], each["reason"]) for each in found["undecided"]} == {
        ("event_source", "assumed_website"),
        ("consent", "confirm_that_all_consented"),
    }
    rows = {row["field"]: row for row in found["rows"]}
    assert rows["value"]["source"] == found["mapping"]["fields"]["value"]
    assert rows["value"]["share"] == 1
    made = await world.call("POST", f"/destinations/{acme_id}/mappings", found["mapping"], status=201)
    mapping = f"/destinations/{acme_id}/mappings/{made.json()['id']}"
    assert (await world.call("POST", f"{mapping}/publish")).status_code == 200
    preview = (await world.call("POST", f"{mapping}/preview", {"event": order(3)})).json()
    assert preview["ok"] is True, preview
    assert (preview["amazon_event"]["value"], preview["amazon_event"]["unitsSold"]) == (1234.5, 2)


async def test_the_names_of_the_zones_are_read_once(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in hundreds of files, which takes 20 ms."""
    destination = (await world.create_destination())["id"]
    events = [
        {"email": EMAIL, "ordered_at": f"11/{day}/2026 10:00", "timezone": "Europe/Berlin"}
        for day in range(1, 24)
    ]
    body = {"events": [*events, {"email": EMAIL, "sent_at": "11/24/2026 10:00 +0100"}], "zone": "Asia/Tokyo"}
    first = await world.call("POST", f"/destinations/{destination}/mappings/suggest", body, status=200)

    def walk(folder: object, *_: object, **__: object) -> None:
        raise AssertionError(f"{folder} is read again")

    monkeypatch.setattr(os, "walk", walk)
    again = await world.call("POST", f"/destinations/{destination}/mappings/suggest", body, status=200)
    assert again.json() == first.json()


async def test_nothing_of_the_events_is_stored_or_logged(
    world: ApiWorld, caplog: pytest.LogCaptureFixture, acme_id: str
) -> None:
    """No action is recorded, no row is written, and the answer holds no value of a person."""
    before = await world.actions()
    with caplog.at_level(logging.DEBUG):
        answer = await world.call(
            "POST", f"/destinations/{acme_id}/mappings/suggest", {"events": [order(n) for n in range(3)]}
        )
    assert NAME not in answer.text
    assert "example.com" not in answer.text
    assert NAME not in caplog.text
    assert await world.actions() == before
    assert (await world.sql("SELECT count(*) FROM schema_samples"))[0][0] == 0


async def test_without_a_zone_the_time_is_left_out(world: ApiWorld, acme_id: str) -> None:
    """The mapping can be saved, but not published."""
    url = f"/destinations/{acme_id}/mappings"
    found = (await world.call("POST", f"{url}/suggest", {"events": [order(1)]})).json()
    assert {"field": "event_timestamp", "reason": "zone_needed"} in found["undecided"]
    made = await world.call("POST", url, found["mapping"])
    assert [problem["field"] for problem in made.json()["problems"]] == ["fields.event_timestamp"]


async def test_samples_are_used_without_events(world: ApiWorld) -> None:
    """Without samples either, the answer is empty."""
    destination, _ = await ready(world)
    found = (await world.call("POST", f"{destination}/mappings/suggest")).json()
    assert {"event_timestamp", "email", "phone"} <= found["mapping"]["fields"].keys()
    assert next(row["share"] for row in found["rows"] if row["field"] == "phone") == 0.6
    empty = (await world.create_destination())["id"]
    answer = await world.call("POST", f"/destinations/{empty}/mappings/suggest", {"zone": "Europe/Paris"})
    assert (answer.status_code, answer.json()) == (200, {"mapping": {}, "rows": [], "undecided": []})


async def test_a_batch_is_read_as_events_are(world: ApiWorld, acme_id: str) -> None:
    """A GA4 body with `events` is a batch: its members are the events."""
    batch = {"client_id": "1", "events": [order(1), order(2), "no event"]}
    one, other = [
        (await world.call("POST", f"/destinations/{acme_id}/mappings/suggest", {"events": events})).json()
        for events in ([batch], [order(1), order(2)])
    ]
    assert one == other


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"events": []}, {"field": "events", "problem": "too_short"}),
        ({"events": [{}] * 201}, {"field": "events", "problem": "too_long"}),
        ({"events": [5]}, {"field": "events[0]", "problem": "not_an_object"}),
        ({"zone": "Mars/Olympus"}, {"field": "zone", "problem": "not_in_list"}),
        ({"event": {}}, {"field": "event", "problem": "unknown_field"}),
    ],
)
async def test_a_wrong_body_is_refused_with_its_place(
    world: ApiWorld, body: dict[str, Any], problem: dict[str, str], acme_id: str
) -> None:
    """422 with the member that is wrong."""
    answer = await world.call("POST", f"/destinations/{acme_id}/mappings/suggest", body, status=422)
    assert answer.json()["fields"] == [problem]


async def test_two_hundred_large_events_fit_into_a_body(world: ApiWorld, acme_id: str) -> None:
    """As many bytes as `POST /events` takes."""
    events = [order(n % 60) | {"note": "x" * 10_000} for n in range(200)]
    assert len(json.dumps(events)) > 2_000_000
    await world.call("POST", f"/destinations/{acme_id}/mappings/suggest", {"events": events}, status=200)
