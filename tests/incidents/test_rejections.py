"""Rejected events: each is counted, up to 600 a minute leave a record, and no record holds a value."""

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain.outcomes.reasons import INGEST_REASONS, rejection_detail
from tests.incidents.conftest import Service
from tests.pipeline.world import event

SECRET = "ada.lovelace@example.com"


def nameless(number: int, **more: Any) -> dict[str, Any]:
    return {"event_id": f"no-{number}", "user": {"email": SECRET}, **more}


async def test_a_rejection_is_found_by_all_that_it_belongs_to(service: Service, dst: str) -> None:
    """By event id, execution, journey, node, request id, reason, field and mapping."""
    journey = {"id": "j1", "node_id": "n7", "execution_id": "x1"}
    await service.post(dst, nameless(1, journey=journey), event(2), **{"X-Request-Id": "req-1"})
    await service.post(dst, nameless(3))
    path = f"/destinations/{dst}/rejections"
    mapping = (await service.get(f"/destinations/{dst}/mappings"))["items"][0]["id"]
    wanted = {
        "event_id": "no-1", "execution_id": "x1", "journey_id": "j1", "node_id": "n7", "request_id": "req-1",
    }  # fmt: skip
    for name, value in wanted.items():
        (item,) = (await service.get(path, **{name: value}))["items"]
        assert {**item, "received_at": ""} == {
            **wanted,
            "received_at": "",
            "mapping_id": mapping,
            "code": "BAD_REQUEST",
            "reason": "timestamp_missing",
            "field": "event.timestamp",
            "mapping_field": "event_timestamp",
            "also": [],
            "detail": "Event Timestamp is mapped to event.timestamp, which is absent.",
        }
    assert len((await service.get(path, reason="timestamp_missing", mapping_id=mapping))["items"]) == 2
    history = await service.get("/events/no-1", destination_id=dst)
    assert (history["status"], history["reason"], history["accepted_at"]) == (
        "rejected", "timestamp_missing", None,
    )  # fmt: skip
    accepted = await service.get("/events/ord-2", destination_id=dst)
    assert (accepted["status"], accepted["rejections"]) == ("queued", [])
    assert len((await service.get(path, field="event.timestamp", limit="1"))["items"]) == 1
    assert (await service.get(path, reason="no_match_key"))["items"] == []
    first = await service.get(path, limit="1")
    assert first["items"][0]["event_id"] == "no-3"
    second = await service.get(path, limit="1", cursor=first["next_cursor"])
    assert [item["event_id"] for item in second["items"]] == ["no-1"]
    (row,) = (await service.get(f"{path}/summary"))["items"]
    assert (row["count"], row["reason"], row["mapping_id"]) == (2, "timestamp_missing", mapping)


async def test_a_record_names_all_problems_and_is_counted_by_the_first(service: Service, dst: str) -> None:
    """In the response, the record, the history and the console; never a value of the event."""
    results = await service.post(dst, {"event_id": "no-1", "user": {"email": "ada"}})
    also = [{"reason": "no_match_key", "field": None, "mapping_field": None}]
    assert [result["also"] for result in results] == [also]
    (item,) = (await service.get(f"/destinations/{dst}/rejections"))["items"]
    assert (item["reason"], item["also"]) == ("timestamp_missing", also)
    history = await service.get("/events/no-1", destination_id=dst)
    assert [record["also"] for record in history["rejections"]] == [also]
    (row,) = (await service.get(f"/destinations/{dst}/rejections/summary"))["items"]
    assert (row["reason"], row["count"]) == ("timestamp_missing", 1)


async def test_an_id_that_is_refused_is_counted_and_recorded_as_null(service: Service, dst: str) -> None:
    """The destination is that of the event, its envelope or the query."""
    await service.post(dst, nameless(1, event_id=SECRET, journey={"id": SECRET, "node_id": "n1"}))
    (item,) = (await service.get(f"/destinations/{dst}/rejections"))["items"]
    assert (item["event_id"], item["reason"]) == (None, "event_id_personal")
    assert (item["journey_id"], item["node_id"]) == (None, "n1")
    assert (await service.get(f"/destinations/{dst}/stats"))["counts"]["rejected"] == 1


async def test_what_is_no_event_counts_for_the_destination_of_its_batch(service: Service, dst: str) -> None:
    """A member that is no object and a line that is no JSON, by the envelope or the query."""
    await service.post(dst, 1, event(2))
    await service.client.post("/events", content=json.dumps({"destination_id": dst, "rows": ["x"]}))
    answer = await service.client.post(
        f"/events?destination_id={dst}",
        content=b"{]\n[]",
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 422
    path = f"/destinations/{dst}"
    items = (await service.get(f"{path}/rejections"))["items"]
    reasons = ["malformed_line", *["not_an_object"] * 3]
    assert sorted(item["reason"] for item in items) == reasons
    assert (await service.get(f"{path}/stats"))["counts"]["rejected"] == 4
    first = await service.get(f"{path}/rejections/summary", limit="1")
    assert [(row["reason"], row["count"]) for row in first["items"]] == [("not_an_object", 3)]
    second = await service.get(f"{path}/rejections/summary", limit="1", cursor=first["next_cursor"])
    assert [(row["reason"], row["count"]) for row in second["items"]] == [("malformed_line", 1)]
    assert second["next_cursor"] is None


async def test_what_leaves_no_record(service: Service, dst: str) -> None:
    """Dry runs, unknown destinations, and those that a key may not see."""
    body = json.dumps([nameless(1)])
    await service.client.post(f"/events?destination_id={dst}&dry_run=true", content=body)
    await service.client.post("/events?destination_id=dst_00000000000000000099", content=body)
    await service.client.get(f"/destinations/{dst}/rejections")
    assert await service.world.fetch("SELECT * FROM rejection_records") == []


async def test_six_hundred_a_minute_are_recorded_and_all_are_counted(service: Service, dst: str) -> None:
    """Over several requests and writes."""
    for begin in range(0, 2_000, 500):
        await service.post(dst, *(nameless(number) for number in range(begin, begin + 500)))
        await service.get(f"/destinations/{dst}/rejections", limit="1")
    minutes = await service.world.fetch(
        "SELECT count(*) AS n FROM rejection_records GROUP BY date_trunc('minute', received_at)"
    )
    assert max(row["n"] for row in minutes) == 600
    (row,) = (await service.get(f"/destinations/{dst}/rejections/summary"))["items"]
    assert row["count"] == 2_000


HOSTILE = st.sampled_from(
    [
        SECRET, [SECRET], {SECRET: SECRET}, {"": SECRET}, f"{{{SECRET}}}", f"x{SECRET}" * 100, 10**30, -1, "",
        None, True, [[SECRET]], f"\u202e{SECRET}", f"2026-13-45T99:99:99 {SECRET}",
        "=cmd|' /C calc'!A0" + SECRET,
    ]
)  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": HOSTILE,
        "mapping_id": HOSTILE,
        "journey": HOSTILE
        | st.fixed_dictionaries({}, optional={"id": HOSTILE, "node_id": HOSTILE, "execution_id": HOSTILE}),
        "event": HOSTILE | st.fixed_dictionaries({}, optional={"timestamp": HOSTILE, "total": HOSTILE}),
        "user": HOSTILE | st.fixed_dictionaries({}, optional={"email": HOSTILE}),
        SECRET: HOSTILE,
    },
)


async def test_no_record_holds_a_value_of_a_hostile_event(service: Service, dst: str) -> None:
    """Whatever stands in the members of an event, as their names, or in a header."""
    events: list[Any] = []

    @settings(
        max_examples=300, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(EVENTS | HOSTILE)
    def collect(found: Any) -> None:
        events.append(found)

    collect()
    results = await service.post(dst, *events, **{"X-Request-Id": SECRET})
    assert len([result for result in results if result["status"] == "rejected"]) > 200
    shown = await service.client.get(f"/destinations/{dst}/rejections?limit=200")
    summary = await service.client.get(f"/destinations/{dst}/rejections/summary")
    stored = await service.world.fetch("SELECT r::text AS row FROM rejection_records r")
    counted = await service.world.fetch("SELECT r::text AS row FROM rejections r")
    assert len(stored) > 100
    everything = shown.text + summary.text + str([*stored, *counted])
    for part in ("lovelace", "example.com", "calc"):
        assert part not in everything


def test_every_reason_has_a_fixed_sentence() -> None:
    """Filled with the names and paths of the mapping."""
    for reason in INGEST_REASONS:
        sentence = rejection_detail(reason, "user.country", "country_code")
        assert sentence.endswith(".")
        assert "{" not in sentence
        assert "None" not in rejection_detail(reason, None, None)


def test_a_reason_of_another_release_has_a_sentence_too() -> None:
    """Its record is listed beside those of reasons that this release knows."""
    sentence = "user.country has no value that Amazon accepts as country_code."
    assert rejection_detail("of_another_release", "user.country", "country_code") == sentence
