"""One search over all destinations: by every id, accepted and rejected events together, page by page."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from app.admin.event_search_rules import take_newest
from tests.incidents.conftest import KEY, Service
from tests.pipeline.amazon import Request
from tests.pipeline.world import event

JOURNEY = {"id": "j1", "node_id": "n7", "execution_id": "x1"}


def nameless(number: int, **more: Any) -> dict[str, Any]:
    """An event that is rejected: it has no timestamp."""
    return {"event_id": f"no-{number}", "user": {"email": "ada@example.com"}, **more}


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
    assert await ids(service, q="req-1") == [("no-2", "rejected")]
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


async def test_amazons_request_id_finds_the_events_of_the_request(service: Service) -> None:
    """As far as the newest requests go."""
    destination = await service.world.destination()

    def answer(request: Request) -> httpx.Response:
        success = [{"index": index} for index in range(len(request.events))]
        headers = {"x-amzn-RequestId": "amzn-request-7"}
        return httpx.Response(207, json={"success": success, "error": []}, headers=headers)

    service.world.amazon.script = answer
    await service.post(destination, event(1), event(2))
    service.world.work()
    await service.world.until(destination, delivered=2)
    history = await service.get("/events/ord-1", destination_id=destination)
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
        await asyncio.sleep(0.01)
    await service.get("/event-search")  # writes the records
    for limit in ("1", "4", "7", "200"):
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await service.get("/event-search", limit=limit, **cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
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
    key = (await service.send("/keys", **body)).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert key != KEY

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


@given(TIMES, TIMES, st.integers(1, 7))
def test_two_lists_are_merged_in_their_order(
    accepted: list[datetime], rejected: list[datetime], limit: int
) -> None:
    """Each list keeps its order, however its times run; nothing is skipped and a page is never too long."""
    chosen = take_newest(accepted, rejected, BEGIN, limit)
    assert len(chosen) == min(limit, len(accepted) + len(rejected))
    a, r = iter(accepted), iter(rejected)
    taken = [next(a) if is_accepted else next(r) for is_accepted in chosen]
    if accepted == sorted(accepted, reverse=True) and rejected == sorted(rejected, reverse=True):
        assert all(one >= other for one, other in itertools.pairwise(taken))


@given(TIMES, TIMES)
def test_nothing_beyond_the_horizon_is_taken(accepted: list[datetime], rejected: list[datetime]) -> None:
    """What one list has not read yet may belong between."""
    horizon = BEGIN + timedelta(seconds=25)
    chosen = take_newest(accepted, rejected, horizon, 100)
    a, r = iter(accepted), iter(rejected)
    assert all((next(a) if is_accepted else next(r)) >= horizon for is_accepted in chosen)
