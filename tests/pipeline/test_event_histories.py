"""The history of an event is found, and is true: attempts, delivery, erasure, replays, duplicates."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.crypto import OpaqueTexts
from tests.pipeline.amazon import items
from tests.pipeline.rows import BY_ORDER, MAPPING, publish
from tests.pipeline.service import Service
from tests.pipeline.test_delivering import once
from tests.pipeline.world import World, event, eventually

INTERFACE = {
    *("id", "started_at", "settled_at", "outcome", "http_status"),
    *("duration_ms", "item_code", "item_message", "request_id"),
}
JOURNEY = {"id": "j1", "node_id": "n7", "execution_id": "x1"}


def order(name: str) -> dict[str, Any]:
    """An event of one order; only its id differs."""
    return event(1, order="A-1", event_id=name)


@pytest.fixture
def world(service: Service) -> World:
    """The pipeline behind the API."""
    return service.world


async def test_every_attempt_that_carried_an_event_is_in_its_history(service: Service, world: World) -> None:
    """Refused, failed, unclear and delivered, in order and in the shape of the interface."""
    dst = await world.destination()
    both = {"success": [{"index": 0}], "error": [{"index": 0, "errors": [{"code": "INTERNAL_ERROR"}]}]}
    world.amazon.script = once(
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(401),
        httpx.Response(503),
        httpx.ReadTimeout("no answer"),
        httpx.Response(207, json={"success": [], "error": []}),
        httpx.Response(207, json=both),
    )
    await world.post(dst, event(1))
    await world.work_until(dst, delivered=1)
    history = await service.history(dst)
    names = ("outcome", "http_status", "item_outcome", "item_message")
    assert [tuple(one[name] for name in names) for one in history["attempts"]] == [
        ("throttled", 429, None, None),
        ("unauthorized", 401, None, None),
        ("broken", 503, None, None),
        ("lost", None, None, None),
        ("answered", 207, "outcome_unknown", "missing_index"),
        ("answered", 207, "outcome_unknown", "contradictory"),
        ("answered", 207, "accepted", None),
    ]
    assert history["attempts_complete"]
    for one in history["attempts"]:
        assert one.keys() >= INTERFACE
        assert one["started_at"] <= one["settled_at"]
    ids = [one["id"] for one in history["attempts"]]
    assert [one["id"] for one in (await service.history(dst))["attempts"]] == ids, "an id never changes"
    # The numbers of attempts count those of all organisations.
    stored = await world.fetch("SELECT id FROM attempts ORDER BY started_at")
    opaque = OpaqueTexts(world.resources.pepper)
    assert [int(opaque.open(one, kind="att")) for one in ids] == [row["id"] for row in stored]


async def test_while_a_lane_waits_after_a_429_its_events_say_so(service: Service, world: World) -> None:
    """In the history, the list and its filter; those of the advertiser's other destination too."""
    dst, sibling = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    other = await world.destination()
    world.amazon.script = lambda request: (
        httpx.Response(429, headers={"Retry-After": "60"}) if request.advertiser_id == "77" else None
    )
    await world.post(dst, event(1))
    await world.post(other, event(1))
    world.work()

    async def throttled() -> Any:
        history = await service.history(dst)
        settled = [attempt for attempt in history["attempts"] if attempt["settled_at"]]
        return history if history["reason"] and settled else None

    history = await eventually(throttled)
    await world.post(sibling, event(2))
    assert (history["status"], history["code"], history["reason"]) == ("queued", "RATE_LIMIT", "throttled")
    assert "429" in history["explanation"]
    assert datetime.fromisoformat(history["next_attempt_at"]) - datetime.fromisoformat(
        history["attempts"][0]["settled_at"]
    ) > timedelta(seconds=50)
    for one, name in ((dst, "ord-1"), (sibling, "ord-2")):
        (listed,) = (await service.get(f"/destinations/{one}/events", reason="throttled"))["items"]
        assert (listed["event_id"], listed["status"], listed["code"]) == (name, "queued", "RATE_LIMIT")
        assert (await world.counts(one))["queued"] == 1
    await world.until(other, delivered=1)
    assert (await service.get(f"/destinations/{other}/events", reason="throttled"))["items"] == []


async def test_an_erasure_changes_no_other_moment(service: Service, world: World, dst: str) -> None:
    """`delivered_at` stays; `erased_at` and the sentence tell of the erasure; for retried events too."""
    world.amazon.script = once(items(None, "INTERNAL_ERROR"))
    await world.post(dst, event(1), event(2))
    await world.work_until(dst, delivered=2)
    for number in (1, 2):
        # Moved back, so that the moment of the erasure is another one.
        await world.execute(
            "UPDATE batch_states SET settled_at = settled_at - interval '1 hour', "
            "accepted_at = accepted_at - interval '2 hours';"
            "UPDATE exceptions SET delivered_at = delivered_at - interval '1 hour' WHERE erased_at IS NULL;"
            "UPDATE attempts SET started_at = started_at - interval '1 hour', "
            "settled_at = settled_at - interval '1 hour'"
        )
        before = await service.history(dst, f"ord-{number}")
        await service.erase(number)
        after = await service.history(dst, f"ord-{number}")
        for name in ("accepted_at", "delivered_at", "status", "attempts", "match_keys"):
            assert after[name] == before[name], name
        assert before["delivered_at"] is not None
        assert before["erased_at"] is None
        assert after["erased_at"] > after["delivered_at"]
        delivered = datetime.fromisoformat(after["delivered_at"])
        assert f"accepted it at {delivered:%Y-%m-%d %H:%M:%S} UTC" in after["explanation"]
        assert "erased" in after["explanation"]


async def test_an_event_erased_while_it_waited_names_no_attempt_after_that(service: Service) -> None:
    """Its batch goes on without it."""
    world = service.world
    dst = await world.destination(event(1), event(2))
    receipt = await service.do("/subjects/erase", {"email": "person1@example.com"})
    world.amazon.script = once(httpx.Response(503))
    await world.work_until(dst, delivered=1, erased=1)
    history = await service.history(dst)
    assert (history["status"], history["attempts"], history["delivered_at"]) == ("erased", [], None)
    assert history["erased_at"] is not None
    assert len((await service.history(dst, "ord-2"))["attempts"]) == 2
    assert receipt["id"]


async def test_a_replay_keeps_what_the_refusal_was(service: Service, world: World, dst: str) -> None:
    """Attempt by attempt: Amazon's item code and message; and who replayed, when."""
    world.amazon.script = lambda request: items("FIELD_VALUE_IS_INVALID", None)
    await world.post(dst, event(1), event(2))
    await world.work_until(dst, dead=1, delivered=1)
    world.amazon.script = None
    done = await service.do(f"/destinations/{dst}/replay", {"status": "dead", "dry_run": False})
    await world.until(dst, delivered=2)
    history = await service.history(dst)
    first, second = history["attempts"]
    assert (first["outcome"], first["item_outcome"]) == ("answered", "amazon_refused")
    assert (first["item_code"], first["item_message"]) == ("FIELD_VALUE_IS_INVALID", "no")
    assert (second["item_outcome"], second["item_code"], second["item_message"]) == ("accepted", None, None)
    (replay,) = history["replays"]
    assert (replay["replay_id"], replay["by"]) == (done["replay_id"], "bootstrap")
    assert first["settled_at"] < replay["at"] < second["started_at"]
    page = await service.console(f"/destinations/{dst}/event", id="ord-1")
    assert "(FIELD_VALUE_IS_INVALID): no" in page
    assert "Requeued by the bootstrap key" in page
    assert (await service.history(dst, "ord-2"))["replays"] == []
    assert (await service.do(f"/destinations/{dst}/replay", {"status": "dead", "dry_run": True}))[
        "replay_id"
    ] is None


async def test_batches_that_never_left_remember_their_replay(service: Service, world: World) -> None:
    """A batch that expired as a whole has no row for each event; its replay is in their histories too."""
    dst = await world.destination(event(1), event(2))
    await world.fetch(
        "UPDATE batch_states SET disposition = 'expired', settled_at = now(), reason = 'expired'"
    )
    done = await service.do(f"/destinations/{dst}/replay", {"status": "expired", "dry_run": False})
    world.work()

    async def delivered() -> bool:
        return (await service.history(dst))["status"] == "delivered"

    await eventually(delivered)
    for name in ("ord-1", "ord-2"):
        (replay,) = (await service.history(dst, name))["replays"]
        assert replay["replay_id"] == done["replay_id"]


async def test_item_outcomes_are_bounded(service: Service, world: World, dst: str) -> None:
    """The first and the latest thirty are kept, however often an event is refused and replayed."""
    world.amazon.script = lambda _: items("FIELD_VALUE_IS_INVALID")
    await world.post(dst, event(1))
    await world.work_until(dst, dead=1)
    before = (await world.fetch("SELECT item_outcomes[1] AS first FROM exceptions"))[0]["first"]
    await world.fetch("UPDATE exceptions SET item_outcomes = array_fill(item_outcomes[1], ARRAY[31])")
    await service.do(f"/destinations/{dst}/replay", {"status": "dead", "dry_run": False})
    await eventually(lambda: _second_refusal(service, dst))
    (row,) = await world.fetch("SELECT item_outcomes AS kept, cardinality(replays) AS n FROM exceptions")
    assert (len(row["kept"]), row["kept"][0], row["n"]) == (31, before, 1)
    assert row["kept"][-1] != before


async def _second_refusal(service: Service, dst: str) -> bool:
    attempts = (await service.history(dst))["attempts"]
    return len(attempts) == 2 and attempts[1]["item_code"] == "FIELD_VALUE_IS_INVALID"


async def test_a_duplicate_by_a_mapped_amazon_id_names_the_other_event(service: Service) -> None:
    """In one post and in a later one; what has no mapped id leaves no such record."""
    world = service.world
    dst, plain = await world.destination(mapping=BY_ORDER), await world.destination()
    results = await world.post(dst, order("k1"), order("k2"))
    results += await world.post(dst, order("k3"))
    assert [one.status for one in results] == ["accepted", "duplicate", "duplicate"]
    again = await world.post(plain, event(1), event(1))
    assert [one.status for one in again] == ["accepted", "duplicate"]
    await world.work_until(dst, delivered=1)
    for name in ("k2", "k3"):
        history = await service.history(dst, name)
        other = history["duplicate_of"]
        assert (history["event_id"], history["status"]) == (name, "delivered")
        first = await service.history(dst, "k1")
        assert (other["event_id"], other["destination_id"]) == ("k1", dst)
        assert (other["mapping_id"], first["duplicate_of"]) == (first["mapping_id"], None)
        assert (history["attempts"], history["attempts_complete"]) == (first["attempts"], True)
        assert history["accepted_at"] <= other["answered_at"]
        assert "by event k1, and" in history["explanation"]
        assert history["explanation"].endswith(first["explanation"])
    assert (await world.fetch("SELECT count(*) FROM mapped_duplicates"))[0][0] == 2


async def test_a_duplicate_of_another_destinations_event_is_named_to_those_who_may_see_it(
    service: Service, world: World
) -> None:
    """An Amazon eventId holds for the advertiser; a key that is limited to one destination learns no more."""
    first = await world.destination(advertiser="88", mapping=BY_ORDER)
    second = await world.destination(advertiser="88", mapping=BY_ORDER)
    await service.post(first, {**order("k1"), "journey": JOURNEY})
    (result,) = await service.post(second, {**order("k2"), "journey": JOURNEY})
    assert result["status"] == "duplicate"
    await world.work_until(first, accepted=1, delivered=1)
    made = await service.do(
        "/keys", {"name": "limited", "scopes": ["events:read"], "destination_ids": [second]}
    )
    history = await service.history(second, "k2")
    assert (history["duplicate_of"]["event_id"], history["duplicate_of"]["destination_id"]) == ("k1", first)
    assert (history["event_id"], history["destination_id"]) == ("k2", second)
    assert (history["attempts"], history["attempts_complete"], history["replays"]) == ([], False, [])
    assert {history[name] for name in ("execution_id", "journey_id", "node_id", "request_id")} == {None}
    assert "by event k1 of another destination" in history["explanation"]
    limited = await service.get("/events/k2", key=made["key"], destination_id=second)
    assert set(limited["duplicate_of"].values()) == {None, limited["duplicate_of"]["answered_at"]}
    assert "by an event of another destination" in limited["explanation"]
    assert "k1" not in str(limited)
    assert first not in str(limited)


async def test_a_history_never_shows_the_event_of_another_destination(service: Service, world: World) -> None:
    """Where one batch id was given twice, on two days, each destination sees its own event, in lists too."""
    first, second = await world.destination(), await world.destination()
    world.amazon.script = lambda request: (
        items("FIELD_VALUE_IS_INVALID") if request.advertiser_id == "1001" else None
    )
    await world.post(first, event(1))
    await world.post(second, event(2))
    await world.work_until(first, dead=1)
    await world.until(second, delivered=1)
    await world.stop_workers()
    await give_one_id(world)
    one, two = await service.history(first, "ord-1"), await service.history(second, "ord-2")
    assert (one["event_id"], one["status"], one["amazon_code"]) == ("ord-1", "dead", "FIELD_VALUE_IS_INVALID")
    assert (two["event_id"], two["status"], two["amazon_code"]) == ("ord-2", "delivered", None)
    assert (len(one["attempts"]), len(two["attempts"])) == (1, 1)
    for dst, status, name in ((first, "dead", "ord-1"), (second, "delivered", "ord-2")):
        for query in ({}, {"status": status}):
            listed = (await service.get(f"/destinations/{dst}/events", **query))["items"]
            assert [item["event_id"] for item in listed] == [name]


async def test_a_conflict_names_the_id_that_clashes(world: World) -> None:
    """The caller's `event_id`, or the field that the mapping reads Amazon's id from; across requests too."""
    dst = await world.destination(mapping=BY_ORDER)
    first, other = event(1, order="A"), event(2, order="A")
    results = await world.post(dst, {**first, "event_id": "k1"}, {**other, "event_id": "k2"})
    results += await world.post(dst, {**other, "event_id": "k3"}, {**other, "order": "B", "event_id": "k1"})
    mapped, again, own = (one.rejection for one in results if one.rejection is not None)
    assert [(one.reason, one.field, one.mapping_field) for one in (mapped, again, own)] == [
        *[("event_id_conflict", "order", "event_id")] * 2,
        ("event_id_conflict", "event_id", None),
    ]
    assert mapped.detail == (
        "Deduplication ID is mapped to order, and an event with other content was accepted before "
        "with the same value there; nothing was changed."
    )
    assert own.detail.startswith("This event_id was accepted before with other content")


async def test_a_history_says_which_match_keys_were_dropped_and_why(service: Service, world: World) -> None:
    """As do the statistics and the metric; a duplicate is not counted again."""
    dst = await world.destination(mapping={**MAPPING, "fields": {**MAPPING["fields"], "phone": "user.phone"}})
    sent = event(1)
    sent["user"] = {**sent["user"], "phone": "+1 000 000 0000"}
    await world.post(dst, sent, sent)
    history = await service.history(dst, sent["event_id"])
    assert history["dropped_match_keys"] == [{"match_key": "PHONE", "reason": "placeholder"}]
    stats = await service.get(f"/destinations/{dst}/stats")
    assert stats["match_key_coverage"]["dropped"] == [
        {"match_key": "PHONE", "reason": "placeholder", "events": 1}
    ]
    assert world.metric("match_keys_dropped_total", match_key="PHONE", reason="placeholder") == 1
    page = await service.console(f"/destinations/{dst}/event", id=sent["event_id"])
    assert "Phone Number was left out: placeholder" in page


async def find(service: Service, dst: str, event_id: str, **query: str) -> httpx.Response:
    return await service.client.get(f"/events/{event_id}", params={"destination_id": dst, **query})


async def test_an_id_under_two_mappings_needs_the_mapping(service: Service, world: World, dst: str) -> None:
    """The refusal names both, in order; with one of them its own event is shown."""
    async with world.resources.pool.acquire() as connection:
        await publish(connection, dst, f"map_{99:020d}", {**MAPPING, "name": "Second"}, version=1)
    maps = [f"map_{number:020d}" for number in (1, 99)]
    for mapping in maps:
        await service.post(dst, event(1, mapping_id=mapping))
    answer = await find(service, dst, "ord-1")
    assert (answer.status_code, answer.json()["error"]) == (409, "event_ambiguous")
    assert answer.json()["mapping_ids"] == maps
    for mapping in maps:
        found = (await find(service, dst, "ord-1", mapping_id=mapping)).json()
        assert (found["mapping_id"], found["status"]) == (mapping, "queued")
    assert (await find(service, dst, "ord-1", mapping_id=f"map_{98:020d}")).status_code == 404


async def test_an_unknown_id_is_not_found(service: Service) -> None:
    answer = await find(service, await service.world.destination(), "nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "This destination accepted no event with this id."
    assert (await find(service, "dst_" + "9" * 20, "nothing")).status_code == 404


async def test_rejections_are_listed_beside_the_accepted_event(service: Service) -> None:
    """Newest first, at most 50 of one id, each with what its record holds."""
    dst = await service.world.destination()
    rejected = {"event_id": "ord-1", "journey": JOURNEY}
    await service.post(dst, *[rejected] * 51, **{"X-Request-Id": "req-1"})
    only = (await find(service, dst, "ord-1")).json()
    assert (only["status"], only["reason"], only["attempts"]) == ("rejected", "timestamp_missing", [])
    assert (only["code"], only["tries"], only["attempts_complete"]) == ("BAD_REQUEST", 0, True)
    assert only["explanation"].startswith(
        "The event was rejected on receipt and not stored. Event Timestamp is mapped to event.timestamp, "
    )
    assert only["request_id"] == "req-1"
    assert (only["mapping_id"], only["execution_id"]) == (f"map_{1:020d}", "x1")
    assert (only["journey_id"], only["node_id"]) == ("j1", "n7")
    assert len(only["rejections"]) == 50
    await service.post(dst, event(1))
    history = (await find(service, dst, "ord-1")).json()
    assert (history["status"], len(history["rejections"])) == ("queued", 50)
    first = history["rejections"][0]
    assert first.pop("received_at")
    assert first == {
        "event_id": "ord-1",
        "code": "BAD_REQUEST",
        "reason": "timestamp_missing",
        "field": "event.timestamp",
        "mapping_field": "event_timestamp",
        "detail": "Event Timestamp is mapped to event.timestamp, which is absent.",
        "also": [{"reason": "no_match_key", "field": None, "mapping_field": None}],
        "request_id": "req-1",
        "mapping_id": f"map_{1:020d}",
        "execution_id": "x1",
        "journey_id": "j1",
        "node_id": "n7",
    }
    assert (await find(service, dst, "ord-1", mapping_id=f"map_{98:020d}")).status_code == 404


async def test_an_event_of_a_dropped_partition_is_reported_as_deleted(service: Service, world: World) -> None:
    """The ledger keeps its id longer than its batch; so do records of duplicates."""
    dst = await world.destination(mapping=BY_ORDER)
    await world.post(dst, order("k1"), order("k2"))
    await world.fetch("DELETE FROM batches")
    duplicate = await find(service, dst, "k2")
    assert duplicate.status_code == 404
    assert "deleted after the retention period" in duplicate.json()["detail"]
    await world.fetch("DELETE FROM batch_states")
    answer = await find(service, dst, "k1")
    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        "The event was accepted, but its history was deleted after the retention period."
    )


async def test_each_event_of_a_batch_has_its_own_history(service: Service) -> None:
    """By its place: the metadata of another event of the batch is not its own."""
    dst = await service.world.destination(event(1), {**event(2), "journey": JOURNEY}, event(3))
    for number, journey in ((1, None), (2, "j1"), (3, None)):
        found = (await find(service, dst, f"ord-{number}")).json()
        assert (found["event_id"], found["journey_id"]) == (f"ord-{number}", journey)


async def give_one_id(world: World) -> None:
    """Give the second of two batches the id of the first, as on another day."""
    first, second = [
        row["batch"] for row in await world.fetch("SELECT batch FROM batch_states ORDER BY batch")
    ]
    for table, column in (("batches", "id"), ("batch_states", "batch")):
        await world.fetch(
            f"UPDATE {table} SET {column} = $1, day = day - 1 WHERE {column} = $2", first, second
        )
    await world.fetch("UPDATE ledger SET batch = $1", first)
    await world.fetch("UPDATE attempts SET batches = ARRAY[$1::bigint]", first)


async def test_of_two_batches_with_one_id_each_event_finds_its_own(service: Service, world: World) -> None:
    """An id that was given on two days, to one destination: the event's own id decides."""
    dst = await world.destination(event(1))
    await world.post(dst, event(2))
    await give_one_id(world)
    for number in (1, 2):
        found = (await find(service, dst, f"ord-{number}")).json()
        assert (found["event_id"], found["status"]) == (f"ord-{number}", "queued")


async def test_an_event_whose_batch_id_another_event_has_now_is_deleted(service: Service) -> None:
    """Its own batch was dropped. The other one is readable, so it is no damaged batch of this event."""
    world = service.world
    dst = await world.destination(event(1))
    await world.post(dst, event(2))
    await world.fetch("UPDATE ledger SET batch = (SELECT max(batch) FROM batch_states)")
    answer = await find(service, dst, "ord-1")
    assert answer.status_code == 404
    assert "deleted after the retention period" in answer.json()["detail"]


async def test_an_age_is_measured_by_the_clock_of_the_database(service: Service, world: World) -> None:
    """The clock of the process that answers may differ from it."""
    dst = await world.destination()
    await world.post(dst, event(1))
    state = service.application.state
    state.context = replace(state.context, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    stats = await service.get(f"/destinations/{dst}/stats")
    assert stats["oldest_waiting_seconds"] == pytest.approx(7200, abs=60)
