"""One search over all destinations: by every id, accepted and rejected events together, page by page.

Filters of lists and searches: a value that nothing can have is refused, and ids that nothing has are named.
"""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin.events.search import take_newest
from app.admin.events.summary import EventSummary
from tests.incidents.conftest import Service
from tests.incidents.test_rejections import nameless
from tests.pipeline.amazon import Request
from tests.pipeline.world import event

JOURNEY = {"id": "j1", "node_id": "n7", "execution_id": "x1"}


async def ids(service: Service, **query: str) -> list[tuple[str, str]]:
    items = (await service.get("/event-search", **query))["items"]
    return [(item["event_id"], item["status"]) for item in items]


async def test_every_id_finds_accepted_and_rejected_events(service: Service) -> None:
    """Event, execution, journey, node and request, over destinations or in one of them."""
    first, second = await service.world.destination(), await service.world.destination()
    await service.post(first, event(1, journey=JOURNEY), nameless(1, journey=JOURNEY))
    await service.post(second, event(2, journey=JOURNEY), nameless(2), **{"X-Request-Id": "req-1"})
    everything = [("ord-1", "queued"), ("ord-2", "queued"), ("no-1", "rejected"), ("no-2", "rejected")]
    assert sorted(await ids(service)) == sorted(everything)
    for name, value in (("execution_id", "x1"), ("journey_id", "j1"), ("node_id", "n7")):
        found = {("ord-1", "queued"), ("ord-2", "queued"), ("no-1", "rejected")}
        assert set(await ids(service, q=value)) == set(await ids(service, **{name: value})) == found
        assert set(await ids(service, q=value, destination_id=first)) == found - {("ord-2", "queued")}
    assert await ids(service, q="ord-1") == [("ord-1", "queued")]
    assert await ids(service, q="no-1") == [("no-1", "rejected")]
    assert sorted(await ids(service, q="req-1")) == [("no-2", "rejected"), ("ord-2", "queued")]
    assert await ids(service, q="x1", status="rejected") == [("no-1", "rejected")]
    assert await ids(service, q="ord-1", status="rejected") == []
    assert await ids(service, event_type="ADD_TO_SHOPPING_CART", q="j1", destination_id=second) == [
        ("ord-2", "queued")
    ]
    assert await ids(service, event_type="LEAD") == []
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await ids(service, since=future) == []
    assert await ids(service, since=future, q="ord-1") == [("ord-1", "queued")]  # an id has no age
    unknown = await service.client.get("/event-search?destination_id=dst_00000000000000000099")
    assert unknown.status_code == 404
    refused = await service.client.get("/event-search?status=lost")
    assert refused.json()["fields"] == [{"field": "status", "problem": "not_in_list"}]


async def test_an_id_finds_only_events_that_match_the_other_filters(service: Service, dst: str) -> None:
    """Also whether a person dismissed the event."""
    await service.post(dst, event(1), nameless(2))
    assert await ids(service, q="ord-1", dismissed="true") == []
    assert await ids(service, q="no-2", dismissed="true") == []
    assert await ids(service, q="ord-1", dismissed="false") == [("ord-1", "queued")]
    assert await ids(service, q="no-2", dismissed="false") == [("no-2", "rejected")]


async def test_the_request_id_of_a_post_finds_its_accepted_events(service: Service, dst: str) -> None:
    """The caller's own or ours, in search, lists and history."""
    body = json.dumps([event(1), event(2)])
    posted = await service.client.post(f"/events?destination_id={dst}", content=body)
    ours = posted.headers["x-request-id"]
    await service.post(dst, event(3), **{"X-Request-Id": "caller-7"})
    assert sorted(await ids(service, q=ours)) == [("ord-1", "queued"), ("ord-2", "queued")]
    assert await ids(service, q="caller-7") == [("ord-3", "queued")]
    (found,) = (await service.get("/event-search", q="caller-7"))["items"]
    assert found["request_id"] == "caller-7"
    history = await service.get("/events/ord-1", destination_id=dst)
    assert history["request_id"] == ours
    listed = (await service.get(f"/destinations/{dst}/events"))["items"]
    assert [each["request_id"] for each in listed] == ["caller-7", ours, ours]


async def test_the_traffic_of_others_does_not_hide_a_request(service: Service) -> None:
    """Amazon's request id is found by an index, however many requests others sent since."""
    mine = await service.world.destination()
    number = await service.world.number(mine)
    await service.post(mine, event(1))
    [batch] = await service.world.fetch("SELECT id, day FROM batches")
    await service.world.fetch(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation,"
        "  settled_at, outcome, request_id) "
        "SELECT n, $1, 1, CASE n WHEN 1 THEN $2::int ELSE 0 END, 1, 'w', ARRAY[$3::bigint], 1, 1, now(),"
        "  'answered', 'amzn-' || n FROM generate_series(1, 25000) n",
        batch["day"],
        number,
        batch["id"],
    )
    assert await ids(service, q="amzn-1") == [("ord-1", "queued")]
    assert await ids(service, q="amzn-2") == []


async def test_amazons_request_id_finds_the_events_of_the_request(service: Service, dst: str) -> None:
    """All events that the request carried."""

    def answer(request: Request) -> httpx.Response:
        success = [{"index": index} for index in range(len(request.events))]
        headers = {"x-amzn-RequestId": "amzn-request-7"}
        return httpx.Response(207, json={"success": success, "error": []}, headers=headers)

    service.world.amazon.script = answer
    await service.post(dst, event(1), event(2))
    await service.world.work_until(dst, delivered=2)
    history = await service.get("/events/ord-1", destination_id=dst)
    request_id = history["attempts"][0]["request_id"]
    assert request_id
    assert set(await ids(service, q=request_id)) == {("ord-1", "delivered"), ("ord-2", "delivered")}
    await service.world.stop_workers()


async def test_pages_hold_everything_once_and_newest_first(service: Service) -> None:
    """Whatever the size of the pages, over both kinds and two destinations."""
    first, second = await service.world.destination(), await service.world.destination()
    for number in range(6):
        await service.post(first, event(number), nameless(number))
        await service.post(second, event(100 + number))
    await service.get("/event-search")  # writes the records
    for limit in ("1", "4", "7", "200"):
        found = await service.all_items("/event-search", limit=limit)
        assert len({(item["event_id"], item["status"]) for item in found}) == len(found) == 18
        times = [item["received_at"] for item in found]
        assert times == sorted(times, reverse=True)
    exported = await service.client.get("/event-search?format=ndjson")
    assert len(exported.text.splitlines()) == 18
    bad = await service.client.get("/event-search?cursor=abc")
    assert (bad.status_code, bad.json()["fields"]) == (422, [{"field": "cursor", "problem": "invalid"}])


async def test_a_limited_key_finds_its_own_only(service: Service) -> None:
    """Neither by id nor in the list."""
    mine, other = await service.world.destination(), await service.world.destination()
    await service.post(mine, event(1, journey=JOURNEY), nameless(1))
    await service.post(other, event(2, journey=JOURNEY), nameless(2))
    body = {"name": "limited", "scopes": ["events:read"], "destination_ids": [mine]}
    headers = {"X-Api-Key": (await service.send("/keys", **body)).json()["key"]}

    async def found(query: str) -> set[str]:
        answer = await service.client.get(f"/event-search{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return {item["event_id"] for item in answer.json()["items"]}

    assert await found("") == {"ord-1", "no-1"}
    assert await found("?q=x1") == {"ord-1"}
    assert await found("?q=ord-2") == await found("?q=no-2") == set()
    refused = await service.client.get(f"/event-search?destination_id={other}", headers=headers)
    assert refused.status_code == 404


BEGIN = datetime(2026, 11, 25, tzinfo=UTC)
TIMES = st.lists(st.integers(0, 50).map(lambda second: BEGIN + timedelta(seconds=second)), max_size=20)


def summaries(times: list[datetime], status: Any) -> list[EventSummary]:
    """Return an event for each time."""
    return [
        EventSummary(
            destination_id="", destination_name="", event_id=str(number), status=status, received_at=at
        )
        for number, at in enumerate(times)
    ]


@given(TIMES, TIMES, st.integers(1, 7))
def test_two_lists_are_merged_in_their_order(
    accepted: list[datetime], rejected: list[datetime], limit: int
) -> None:
    """Each list keeps its order, however its times run; nothing is skipped and a page is never too long."""
    lists = summaries(accepted, "queued"), summaries(rejected, "rejected")
    taken = take_newest(*lists, BEGIN, limit)
    assert len(taken) == min(limit, len(accepted) + len(rejected))
    for whole in lists:
        of_list = [one for one in taken if one in whole]
        assert of_list == whole[: len(of_list)]
    if accepted == sorted(accepted, reverse=True) and rejected == sorted(rejected, reverse=True):
        assert all(one.received_at >= other.received_at for one, other in itertools.pairwise(taken))


@given(TIMES, TIMES)
def test_a_search_ends_at_the_horizon(accepted: list[datetime], rejected: list[datetime]) -> None:
    """What one list has not read yet may belong between."""
    horizon = BEGIN + timedelta(seconds=25)
    taken = take_newest(summaries(accepted, "queued"), summaries(rejected, "rejected"), horizon, 100)
    assert all(one.received_at >= horizon for one in taken)


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


async def test_the_list_of_events_has_accepted_ones_or_rejected_ones(service: Service, dst: str) -> None:
    """`rejected` is a status, too; a list without a status has accepted events only."""
    await service.post(dst, event(1), nameless(2))
    path = f"/destinations/{dst}/events"
    for query, ids in (
        ({}, ["ord-1"]),
        ({"status": "rejected"}, ["no-2"]),
        ({"status": "queued"}, ["ord-1"]),
    ):
        items = (await service.get(path, **query))["items"]
        assert [item["event_id"] for item in items] == ids, query


async def test_ids_that_no_event_has_are_not_found(service: Service, dst: str) -> None:
    """At most 100 of them; an event that is not dead exists."""
    await service.post(dst, event(1))
    ids = ["ord-1", *(f"none-{number}" for number in range(150))]
    for action in ("replay", "dead-letters/dismiss"):
        path = f"/destinations/{dst}/{action}"
        body: dict[str, Any] = {"status": "dead", "event_ids": ids, "dry_run": True}
        answer = (await service.send(path, **body)).json()
        assert answer["matched"] == 0
        assert answer["not_found"] == ids[1:101]
        body["event_ids"] = ["ord-1"]
        assert (await service.send(path, **body)).json()["not_found"] == []


async def test_the_summary_has_the_times_and_the_filters_of_the_records(service: Service, dst: str) -> None:
    """The exact counts by reason, field and mapping; the records by journey, node and execution."""
    mapping = (await service.get(f"/destinations/{dst}/mappings"))["items"][0]["id"]
    path = f"/destinations/{dst}/rejections"
    for number in range(3):
        journey = {"id": f"j{number}", "node_id": "n1", "execution_id": f"x{number}"}
        await service.post(dst, nameless(number, journey=journey))
    late = {"event": {"timestamp": "yesterday"}, "user": {"email": "a@example.com"}}
    await service.post(dst, {"event_id": "late", **late})
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
