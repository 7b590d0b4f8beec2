"""A search for an id reads the batches that may hold it, and finds every event that has it."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from app.delivery.maintenance import Maintenance
from app.domain.id_digests import digest_of
from app.domain.ids import BatchId
from app.ingest.flush_writer import FlushWriter
from app.processes.worker import retention_of
from app.settings import Settings
from app.store.counts import CountWriter
from app.store.database.damage import newest_batch
from app.store.events import id_digests
from app.telemetry import Telemetry
from tests.pipeline.service import Service
from tests.pipeline.world import World, event


def maintenance_of(world: World) -> Maintenance:
    """Return the maintenance of a worker that does nothing else."""
    worker: Any = SimpleNamespace(pool=world.pool, monotonic=monotonic, telemetry=Telemetry())
    return Maintenance(worker=worker, retention=retention_of(Settings()))


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
    return [item["event_id"] for item in await service.all_items("/event-search", **query)]


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


async def test_the_newest_batches_wait_for_the_next_run(world: World, dst: str) -> None:
    """A session may still store a batch with a lower id that it has reserved."""
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
