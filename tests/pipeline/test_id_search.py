"""A search for an id reads the batches that may hold it; how the history of an event is found."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.delivery.maintenance import Maintenance
from app.domain.event_query import digest_of
from app.domain.ids import BatchId
from app.ingest.flush_writer import FlushWriter
from app.settings import Settings
from app.store.counts import CountWriter
from app.store.database.damage import newest_batch
from app.store.events import id_digests
from app.telemetry import Telemetry
from tests.pipeline.rows import BY_ORDER, MAPPING, publish
from tests.pipeline.service import Service
from tests.pipeline.world import World, event


def maintenance_of(world: World) -> Maintenance:
    """Return the maintenance of a worker that does nothing else."""
    worker: Any = SimpleNamespace(pool=world.pool, monotonic=monotonic, telemetry=Telemetry())
    return Maintenance(worker=worker, settings=Settings())


async def index(maintenance: Maintenance) -> None:
    """Index the stored batches, as the job does after a minute."""
    await run_once(maintenance)
    await run_once(maintenance)


async def run_once(maintenance: Maintenance) -> None:
    job = next(each for each in maintenance._jobs if each.name == "index_ids")
    async with maintenance.worker.pool.acquire() as connection:
        await job.run(connection)


def with_ids(number: int) -> dict[str, Any]:
    """Return an event with ids of its own."""
    ids = {"id": f"j-{number}", "node_id": f"n-{number}", "execution_id": f"x-{number}"}
    return event(number, journey=ids)


async def search(service: Service, **query: str) -> list[str]:
    """Return the ids of the events on all pages."""
    return [item["event_id"] for item in await service.pages("/event-search", **query)]


async def batches_read(world: World, id_: str) -> list[int]:
    """Return the numbers of batches that a search for an id reads, range by range."""
    async with world.pool.acquire() as connection:
        spans, are_all = await id_digests.next_spans(connection, digest_of(id_), highest=None, since=None)
        assert are_all
        older, _ = await id_digests.next_spans(
            connection, digest_of(id_), highest=BatchId(spans[-1].first - 1), since=None
        )
        return [
            await connection.fetchval(
                "SELECT count(*) FROM batch_states WHERE batch BETWEEN $1 AND $2", *span
            )
            for span in (*spans, *older)
        ]


@pytest.fixture
async def indexed(service: Service) -> tuple[Service, Maintenance]:
    """A service with twelve indexed batches of 150 events, and one that is not indexed yet."""
    world = service.world
    dst = await world.destination()
    for start in range(0, 1_800, 150):
        await world.post(dst, *(with_ids(number) for number in range(start, start + 150)))
    maintenance = maintenance_of(world)
    await index(maintenance)
    await world.post(dst, with_ids(9_999))
    return service, maintenance


@pytest.mark.parametrize("name", ["j", "n", "x"])
async def test_every_id_is_found(indexed: tuple[Service, Maintenance], name: str) -> None:
    """In the oldest batch, in the newest indexed one, and in the one that is not indexed."""
    reader, _ = indexed
    for number in (3, 1_799, 9_999):
        assert await search(reader, q=f"{name}-{number}") == [f"ord-{number}"]
    assert await search(reader, q=f"{name}-3", status="expired") == []


async def test_a_search_without_a_match_reads_nearly_nothing(indexed: tuple[Service, Maintenance]) -> None:
    reader, _ = indexed
    assert await search(reader, q="nothing-like-it") == []
    assert await batches_read(reader.world, "nothing-like-it") == [1], "only the batch that is not indexed"
    assert await batches_read(reader.world, "x-3") == [1, 1]


async def test_a_batch_that_cannot_be_read_is_not_left_out(indexed: tuple[Service, Maintenance]) -> None:
    reader, maintenance = indexed
    world = reader.world
    await world.fetch("DELETE FROM id_digests")
    await world.fetch("UPDATE batches SET shapes = 'x' WHERE id = (SELECT min(id) FROM batches)")
    await index(maintenance)
    assert await world.fetch("SELECT 1 FROM id_digests WHERE digests IS NULL")
    assert (await reader.get("/event-search", q="x-3"))["unreadable_batches"] == 1


async def test_batches_are_indexed_once_by_one_worker(indexed: tuple[Service, Maintenance]) -> None:
    reader, maintenance = indexed
    world = reader.world
    before = await world.fetch("SELECT * FROM id_digests ORDER BY first_batch")
    await index(maintenance_of(world))
    await index(maintenance)
    after = await world.fetch("SELECT * FROM id_digests ORDER BY first_batch")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    [row] = await world.fetch(
        "SELECT count(*) FROM batch_states s WHERE (SELECT count(*) FROM id_digests d "
        "WHERE s.batch BETWEEN d.first_batch AND d.last_batch) <> 1"
    )
    assert row["count"] == 0


async def test_the_newest_batches_wait_for_the_next_run(world: World) -> None:
    """A session may still store a batch with a lower id that it has reserved."""
    dst = await world.destination()
    maintenance = maintenance_of(world)
    await world.fetch("SELECT nextval('batch_ids')")
    await run_once(maintenance)
    await world.post(dst, with_ids(1))
    await run_once(maintenance)
    assert await world.fetch("SELECT FROM id_digests") == []
    await run_once(maintenance)
    assert len(await world.fetch("SELECT FROM id_digests")) == 1


async def test_the_index_needs_little_more_than_three_bytes_an_id(
    indexed: tuple[Service, Maintenance],
) -> None:
    """Each of the 1,800 events has four ids of its own."""
    [row] = await indexed[0].world.fetch("SELECT sum(pg_column_size(d)) AS bytes FROM id_digests d")
    assert row["bytes"] / (1_800 * 4) < 3.2


async def test_a_session_does_not_use_ids_that_it_reserved_long_ago(world: World) -> None:
    """Such an id would be below those that the worker has indexed."""
    writer = FlushWriter(world.resources.vault, CountWriter(1))
    async with world.pool.acquire() as connection:
        first = await writer._next_id(connection)
        assert await writer._next_id(connection) == first + 1
        writer._ids[connection] = monotonic(), writer._ids[connection][1]
        newest = await newest_batch(connection)
        assert await writer._next_id(connection) == newest + 1


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
