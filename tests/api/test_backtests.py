"""Backtests and suggestions over HTTP: from samples of recent events, or from the events of the request."""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, pack, take_sample
from tests.api.world import EVENT, JSON, MAPPING, ApiWorld

PHONE = {**MAPPING["fields"], "phone": {"path": "user.phone"}}
SAMPLED_AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
WITH = take_sample({**EVENT, "user": {**EVENT["user"], "phone": "+12025550173"}}, now=SAMPLED_AT)
WITHOUT = take_sample(EVENT, now=SAMPLED_AT)


async def saw(world: ApiWorld, mapping: str, *seen: tuple[SchemaSample, int]) -> None:
    """Store samples of events of a mapping."""
    ((number,),) = await world.sql("SELECT number FROM mappings WHERE id = :id", id=mapping)
    for shape, times in seen:
        await world.sql(
            "INSERT INTO schema_samples (mapping, events, content) VALUES (:mapping, :events, :content)",
            mapping=number,
            events=times,
            content=pack(SampleGroup({shape: times}, {}), Fingerprints()),
        )


async def ready(world: ApiWorld) -> tuple[str, str]:
    """Publish a mapping with a phone, and return the paths of its destination and of it."""
    made = await world.create_destination()
    mapping = await world.publish_mapping(made["id"], fields=PHONE)
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    destination = f"/destinations/{made['id']}"
    return destination, f"{destination}/mappings/{mapping['id']}"


async def test_an_event_schema_lists_paths_types_and_suggestions(world: ApiWorld) -> None:
    """Never a value."""
    destination, _ = await ready(world)
    answer = (await world.call("GET", f"{destination}/event-schema")).json()
    paged = await world.pages(f"{destination}/event-schema")
    assert (paged, answer["next_cursor"]) == (answer["items"], None)
    assert len(paged) > 2
    assert answer["events"] == 10
    items = {item["path"]: item for item in answer["items"]}
    assert items["user.phone"] == {
        "path": "user.phone",
        "types": {"text": 1.0},
        "forms": ["phone"],
        "fill_rate": 0.6,
        "suggested_for": ["phone"],
    }
    assert answer["suggestions"]["email"] == ["user.email"]
    assert "ada@example.com" not in str(answer)


async def test_a_broken_draft_is_reported_in_numbers(world: ApiWorld) -> None:
    """Six of ten lose PHONE; an unsaved mapping is tried likewise."""
    _, mapping = await ready(world)
    broken = {**PHONE, "phone": {"path": "user.fone"}}
    await world.call("PATCH", mapping, {"fields": broken})
    saved = (await world.call("POST", f"{mapping}/backtest")).json()
    assert saved["lost"] == {"PHONE": 6}
    assert saved["summary"] == "Of the last 10: 6 lose PHONE."
    assert saved["loss"] == 0.6
    sent = await world.call("POST", f"{mapping}/backtest", {"mapping": {**MAPPING, "fields": broken}})
    assert sent.json() == saved
    fewer = (await world.call("POST", f"{mapping}/backtest", {"events": 4})).json()
    assert (fewer["events"], fewer["lost"]) == (4, {})


async def test_a_backtest_compares_everything_that_is_sent(world: ApiWorld) -> None:
    """Type and consent lose no key and reject nothing, and still change each event."""
    _, mapping = await ready(world)
    draft = {**MAPPING, "fields": PHONE, "event_type": "LEAD", "event_name": "Lead"}
    report = (await world.call("POST", f"{mapping}/backtest", {"mapping": draft})).json()
    assert {"event_type", "event_name"} <= set(report["changed"])
    assert (report["lost"], report["gained"], report["newly_rejected"]) == ({}, {}, [])
    assert "10 send a different event_type" in report["summary"]
    draft = {**MAPPING, "fields": {**PHONE, "event_timestamp": "user.nowhere"}}
    report = (await world.call("POST", f"{mapping}/backtest", {"mapping": draft})).json()
    assert report["newly_rejected"] == [
        {
            "reason": "timestamp_missing",
            "field": "user.nowhere",
            "mapping_field": "event_timestamp",
            "events": 10,
        }
    ]


async def test_a_backtest_needs_something_published_and_a_draft_that_can_be(world: ApiWorld) -> None:
    """422 with what is missing."""
    path = await world.mapping_path()
    assert (await world.call("POST", f"{path}/backtest")).json()["error"] == "not_publishable"
    answer = await world.call("POST", f"{path}/backtest", {"mapping": {"name": "x"}}, status=422)
    assert {"field": "mapping.consent", "problem": "missing"} in answer.json()["fields"]


async def test_a_path_that_no_event_has_is_a_lint_warning(world: ApiWorld) -> None:
    """As one types; nothing is refused."""
    _, mapping = await ready(world)
    answer = await world.call("PATCH", mapping, {"fields": {**PHONE, "phone": {"path": "user.fone"}}})
    assert answer.status_code == 200
    assert {"code": "path_unknown", "field": "fields.phone"} in answer.json()["warnings"]
    await world.call("PATCH", mapping, {"fields": PHONE})
    assert {"code": "path_unknown", "field": "fields.phone"} not in (await world.call("GET", mapping)).json()[
        "warnings"
    ]


async def test_a_damaged_schema_sample_is_left_out(world: ApiWorld) -> None:
    """Schema and backtest read the other samples."""
    destination, mapping = await ready(world)
    await world.sql("UPDATE schema_samples SET content = substring(content FOR 9) WHERE events = 6")
    assert (await world.call("GET", f"{destination}/event-schema")).json()["events"] == 4
    await world.call("PATCH", mapping, {"fields": MAPPING["fields"]})
    await world.call("POST", f"{mapping}/backtest", status=200)


async def test_what_another_path_would_add(world: ApiWorld, acme: JSON) -> None:
    """Six of ten events have a phone number that the mapping does not read."""
    mapping = await world.publish_mapping(acme["id"])
    await world.create_mapping(acme["id"], name="A draft")
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    answer = await world.call("GET", f"/destinations/{acme['id']}/match-quality", status=200)
    (item,) = answer.json()["items"]
    assert (item["mapping_id"], item["events"], item["sendable_share"]) == (mapping["id"], 10, 1.0)
    assert item["coverage"]["EMAIL"] == {"hashed_here": 10, "came_hashed": 0, "unhashed": 0, "changed": 0}
    assert item["what_if"] == [
        {
            "field": "phone",
            "path": "user.phone",
            "source": {"path": "user.phone"},
            "events_gained": 6,
            "share_gained": 0.6,
            "sendable_gained": 0,
        }
    ]
    assert (item["score"], item["prehashed"]) == (5.0, "unknown")
    assert "ada@example.com" not in answer.text


async def test_pages_and_a_mapping_that_reads_the_path(world: ApiWorld, acme: JSON) -> None:
    """A path that is mapped adds nothing; the cursor leads over drafts."""
    first = await world.publish_mapping(acme["id"], fields=PHONE)
    await world.create_mapping(acme["id"], name="A draft")
    second = await world.publish_mapping(acme["id"], name="Second", prehashed="refuse")
    await saw(world, first["id"], (WITH, 6))
    found = await world.pages(f"/destinations/{acme['id']}/match-quality", limit=1)
    assert [(each["mapping_id"], each["events"], each["prehashed"]) for each in found] == [
        (first["id"], 6, "unknown"),
        (second["id"], 0, "refuse"),
    ]
    assert found[0]["what_if"] == []


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
