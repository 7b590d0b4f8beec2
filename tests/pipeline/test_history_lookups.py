"""How the history of an event is found: ledger, batch, duplicates, rejections."""

from typing import Any

import httpx

from tests.pipeline.rows import BY_ORDER, MAPPING, publish
from tests.pipeline.service import Service
from tests.pipeline.world import event

JOURNEY = {"id": "j1", "node_id": "n7", "execution_id": "x1"}


async def find(service: Service, dst: str, event_id: str, **query: str) -> httpx.Response:
    return await service.client.get(f"/events/{event_id}", params={"destination_id": dst, **query})


async def post(service: Service, *events: dict[str, Any]) -> None:
    answer = await service.client.post(
        "/events", json={"events": list(events)}, headers={"X-Request-Id": "req-1"}
    )
    assert answer.status_code in (202, 207, 422), answer.text


async def test_an_id_under_two_mappings_needs_the_mapping(service: Service) -> None:
    """The refusal names both, in order; with one of them its own event is shown."""
    world = service.world
    dst = await world.destination()
    async with world.resources.pool.acquire() as connection:
        await publish(connection, dst, f"map_{99:020d}", {**MAPPING, "name": "Second"}, version=1)
    maps = [f"map_{number:020d}" for number in (1, 99)]
    for mapping in maps:
        await post(service, {**event(1), "destination_id": dst, "mapping_id": mapping})
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
    rejected = {"event_id": "ord-1", "destination_id": dst, "journey": JOURNEY}
    await post(service, *[rejected] * 51)
    only = (await find(service, dst, "ord-1")).json()
    assert (only["status"], only["reason"], only["attempts"]) == ("rejected", "timestamp_missing", [])
    assert (only["mapping_id"], only["execution_id"]) == (f"map_{1:020d}", "x1")
    assert (only["journey_id"], only["node_id"]) == ("j1", "n7")
    assert len(only["rejections"]) == 50
    await post(service, {**event(1), "destination_id": dst})
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


async def test_an_event_of_a_dropped_partition_is_reported_as_deleted(service: Service) -> None:
    """The ledger keeps its id longer than its batch; so do records of duplicates."""
    world = service.world
    dst = await world.destination(mapping=BY_ORDER)
    same = {key: value for key, value in event(1, order="A-1").items() if key != "event_id"}
    await world.post(dst, {"event_id": "k1", **same}, {"event_id": "k2", **same})
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


async def test_of_two_batches_with_one_id_each_event_finds_its_own(service: Service) -> None:
    """An id that was given on two days, to one destination: the event's own id decides."""
    world = service.world
    dst = await world.destination(event(1))
    await world.post(dst, event(2))
    first, second = (
        row["batch"] for row in await world.fetch("SELECT batch FROM batch_states ORDER BY batch")
    )
    for table, column in (("batches", "id"), ("batch_states", "batch")):
        await world.fetch(
            f"UPDATE {table} SET {column} = $1, day = day - 1 WHERE {column} = $2", first, second
        )
    await world.fetch("UPDATE ledger SET batch = $1", first)
    for number in (1, 2):
        found = (await find(service, dst, f"ord-{number}")).json()
        assert (found["event_id"], found["status"]) == (f"ord-{number}", "queued")
