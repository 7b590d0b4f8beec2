"""Filters: a value that nothing can have is refused, and ids that nothing has are named."""

import json
from typing import Any

import pytest

from tests.incidents.conftest import Service
from tests.incidents.test_rejections import nameless
from tests.pipeline.world import event

UNKNOWN_MAPPING = f"map_{99:020d}"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("reason", "throtled", "not_in_list"),
        ("event_type", "CART", "not_in_list"),
        ("status", "waiting", "not_in_list"),
        ("mapping_id", UNKNOWN_MAPPING, "unknown"),
        ("mapping_id", "map_x", "unknown"),
    ],
)
async def test_a_misspelt_filter_of_events_is_refused(
    service: Service, field: str, value: str, problem: str
) -> None:
    """In lists, searches, rejected events, their summary, replays and dismissals."""
    here = f"/destinations/{await service.world.destination()}"
    lists = [f"{here}/events", "/event-search"]
    if field in ("reason", "mapping_id"):
        lists += [f"{here}/rejections", f"{here}/rejections/summary"]
    answers = [await service.client.get(path, params={field: value}) for path in lists]
    if field in ("reason", "mapping_id", "status"):
        answers += [
            await service.send(f"{here}/{action}", **{"status": "dead", field: value})
            for action in ("replay", "dead-letters/dismiss")
        ]
    for answer in answers:
        assert answer.status_code == 422, answer.request.url
        assert answer.json()["fields"] == [{"field": field, "problem": problem}], answer.request.url
        assert value not in answer.json()["detail"]


@pytest.mark.parametrize(("field", "value"), [("action", "mapping.publish"), ("kind", "mappings")])
async def test_a_misspelt_filter_of_the_audit_is_refused(service: Service, field: str, value: str) -> None:
    """An action and the first word of an action are closed lists."""
    assert (await service.client.get("/audit", params={field: value})).status_code == 422
    assert (await service.client.get("/audit", params={"action": "mapping.published"})).status_code == 200
    assert (await service.client.get("/audit", params={"kind": "mapping"})).status_code == 200


async def test_the_list_of_events_has_accepted_ones_or_rejected_ones(service: Service) -> None:
    """`rejected` is a status, too; a list without a status has accepted events only."""
    destination = await service.world.destination()
    await service.post(destination, event(1), nameless(2))
    path = f"/destinations/{destination}/events"
    for query, ids in (
        ({}, ["ord-1"]),
        ({"status": "rejected"}, ["no-2"]),
        ({"status": "queued"}, ["ord-1"]),
    ):
        items = (await service.get(path, **query))["items"]
        assert [item["event_id"] for item in items] == ids, query


async def test_ids_that_no_event_has_are_not_found(service: Service, destination: str) -> None:
    """At most 100 of them; an event that is not dead exists."""
    await service.post(destination, event(1))
    ids = ["ord-1", *(f"none-{number}" for number in range(150))]
    for action in ("replay", "dead-letters/dismiss"):
        path = f"/destinations/{destination}/{action}"
        body: dict[str, Any] = {"status": "dead", "event_ids": ids, "dry_run": True}
        answer = (await service.send(path, **body)).json()
        assert answer["matched"] == 0
        assert answer["not_found"] == ids[1:101]
        body["event_ids"] = ["ord-1"]
        assert (await service.send(path, **body)).json()["not_found"] == []


async def test_the_summary_has_the_times_and_the_filters_of_the_records(service: Service) -> None:
    """The exact counts by reason, field and mapping; the records by journey, node and execution."""
    destination = await service.world.destination()
    mapping = (await service.get(f"/destinations/{destination}/mappings"))["items"][0]["id"]
    path = f"/destinations/{destination}/rejections"
    for number in range(3):
        journey = {"id": f"j{number}", "node_id": "n1", "execution_id": f"x{number}"}
        await service.post(destination, nameless(number, journey=journey))
    late = {"event": {"timestamp": "yesterday"}, "user": {"email": "a@example.com"}}
    await service.post(destination, {"event_id": "late", **late})
    rows = {row["reason"]: row for row in (await service.get(f"{path}/summary"))["items"]}
    for reason, row in rows.items():
        times = [item["received_at"] for item in (await service.get(path, reason=reason))["items"]]
        assert (row["last_at"], row["first_at"]) == (max(times), min(times)), json.dumps(rows)
    assert {reason: row["count"] for reason, row in rows.items()} == {
        "timestamp_missing": 3,
        "timestamp_invalid": 1,
    }
    for query, counts in (
        ({"reason": "timestamp_missing"}, [3]),
        ({"field": "event.timestamp"}, [3, 1]),
        ({"field": "event.other"}, []),
        ({"mapping_id": mapping}, [3, 1]),
        ({"journey_id": "j1"}, [1]),
        ({"node_id": "n1"}, [3]),
        ({"execution_id": "x2", "reason": "timestamp_missing"}, [1]),
        ({"journey_id": "j1", "until": "2026-01-01T00:00:00Z"}, []),
    ):
        found = (await service.get(f"{path}/summary", **query))["items"]
        assert [row["count"] for row in found] == counts, query
