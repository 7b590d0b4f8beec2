"""A page of events, and a search for an id, cost what they return, however many events are stored."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final

import asyncpg
import pytest

from app.delivery.maintenance import Maintenance
from app.domain.batch import digest_of
from app.domain.event_query import EventQuery
from app.domain.ids import DEFAULT_ORGANISATION, BatchId, DestinationNumber
from app.domain.outcomes.status import Status
from app.ingest.flush_writer import FlushWriter
from app.processes.resources import pool_settings
from app.processes.worker import retention_of
from app.settings import Settings
from app.store import ledger
from app.store.counts import CountWriter
from app.store.database.damage import newest_batch
from app.store.destinations import figures
from app.store.events import attempts, batches, id_digests, journey_figures, rejections
from app.store.organisations.scope import scoped_pool
from app.store.replays import selection
from app.store.replays.selection import ReplaySelection
from app.telemetry import Telemetry
from tests.databases import PAGES_READ, ROLES, WITHOUT_AUTOVACUUM, acting_as
from tests.pipeline.rows import stored_batch
from tests.pipeline.service import Service
from tests.pipeline.world import World, event

BATCHES: Final = 40_000
KEY: Final = b"0123456789abcdef"
MOST_PAGES: Final = 360  # of 8 KiB: seven for each batch of a page of 50. The tables have thousands.
# If all events were settled at the last ANALYZE, Postgres expects none to wait, and reads the newest batches.
KNOWN: Final = {("of few events", "waiting", "a plan")}
ANALYZE: Final = (
    "ANALYZE batches, batch_states, exceptions, attempts, rejection_records, journey_figures, ledger, "
    "id_digests"
)


class Counted:
    """A connection that also counts the pages of tables and indexes that each statement reads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.pages = 0

    async def _counted(self, read: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        async with self._connection.transaction():
            before = await self._connection.fetchval(PAGES_READ)
            result = await read(*given)
            read = await self._connection.fetchval(PAGES_READ) - before
        self.pages = max(self.pages, read)
        return result

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        return partial(self._counted, found) if name in {"fetch", "fetchval", "fetchrow"} else found


async def fill(
    world: World, number: int, *, first: int = 1, count: int = BATCHES, dead: str = "dead"
) -> None:
    """Store batches of two destinations: sent ones, with dead letters in every second one."""
    today = "(now() AT TIME ZONE 'UTC')::date"
    for statement in (
        "INSERT INTO batches (id, day, destination, content, shapes) "
        f"SELECT n, {today}, $1 + n % 2, 'c', 's' FROM rows",
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, data_key,"
        "  disposition, settled_at, accepted_at) "
        f"SELECT n, {today}, $1 + n % 2, 10, 100, now(), now(), 'key',"
        "  CASE WHEN n % 5000 = 1 THEN 'expired' ELSE 'sent' END, now(), now() - interval '1 s' * ($3 - n) "
        "FROM rows",
        "INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason) "
        f"SELECT n / 2 * 2, n % 2, {today}, $1, '{dead}', now(), 'amazon_refused' FROM rows WHERE n > 1 "
        f"UNION ALL SELECT -n, 0, {today}, 1000000 + n / 100, '{dead}', now(), 'x' FROM rows",
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
        "settled_at, outcome, request_id) "
        f"SELECT n, {today}, 1, $1, 1, 'w', ARRAY[n::bigint], 1, 1, now(), 'answered', 'amzn-' || n "
        "FROM rows",
        "INSERT INTO rejection_records (organisation_id, destination, received_at, event_id, code, reason) "
        "SELECT 'default', $1 + n % 2, now(), 'bad-' || n, 'BAD_REQUEST', 'timestamp_missing' FROM rows",
        "INSERT INTO journey_figures (destination, day, node, writer, accepted) "
        f"SELECT 1000000 + n / 1000, {today}, n % 1000 + 1, 1, 1 FROM rows",
        "INSERT INTO ledger (generation, key, content, batch, place) "
        "SELECT 1, substr(sha256(n::text::bytea), 1, 11), '', n, 0 FROM rows",
        "INSERT INTO id_digests (organisation_id, first_batch, last_batch, day, digests) "
        f"SELECT 'default', n, n + 19, {today}, decode(repeat('00', 600), 'hex') FROM rows WHERE n % 20 = 1",
    ):
        await world.fetch(
            "WITH rows AS (SELECT n FROM generate_series($2::int, $3::int) AS n"
            f"  WHERE $1::int IS NOT NULL) {statement}",
            number,
            first,
            first + count - 1,
        )


Read = Callable[[Any, list[DestinationNumber]], Awaitable[Any]]


def newest(wanted: str | None, count: int | None, before: int | None = None) -> Read:
    """Return a read of a page of batches of `count` destinations."""
    return lambda c, numbers: batches.newest(
        c,
        None if count is None else numbers[:count],
        wanted=wanted,
        before=None if before is None else BatchId(before),
        limit=50,
    )


def rejected(count: int | None, **wanted: str) -> Read:
    """Return a read of a page of rejection records of `count` destinations."""
    query = EventQuery(**wanted)  # type: ignore[arg-type]
    return lambda c, numbers: rejections.newest(
        c, None if count is None else numbers[:count], query, limit=50, below=BATCHES // 2
    )


READS: Final[dict[str, Read]] = {
    "the newest": newest(None, 1),
    "a later page": newest(None, 1, BATCHES // 2),
    "delivered": newest("delivered", 1),
    "waiting": newest("queued", 1),
    "dead": newest("dead", 1, BATCHES // 2),
    "expired": newest("expired", 1),
    "of two destinations": newest(None, 2, BATCHES // 2),
    "of all destinations": newest(None, None, BATCHES // 2),
    "rejections": rejected(1),
    "rejections of all destinations": rejected(None),
    "rejections of an event": rejected(None, event_id="bad-77"),
    "a request": lambda c, numbers: attempts.find_request(c, numbers, "amzn-77"),
    "attempts of an event": lambda c, numbers: attempts.attempts(
        c, stored_batch(BATCHES, numbers[0], datetime.now(UTC).date(), attempts=(BATCHES,)), 0
    ),
    "figures of journeys": lambda c, numbers: journey_figures.by_node(c, numbers[0], since=datetime.now(UTC)),
    "a history": lambda c, numbers: ledger.find(c, 1, [KEY, bytes(16)]),
    "its batch": lambda c, numbers: batches.batches(c, numbers[0], [BatchId(BATCHES)]),
    "its exceptions": lambda c, numbers: batches.exceptions(c, numbers, [BatchId(BATCHES)]),
    "the place of a duplicate": lambda c, numbers: attempts.mapped_duplicates(c, [KEY]),
    "a search by id": lambda c, numbers: id_digests.next_spans(c, bytes(3), highest=None, since=None),
    "statistics": lambda c, numbers: figures.destination_figures(c, numbers[1]),
    "rates": lambda c, numbers: figures.rates(c, numbers[1], timedelta(minutes=15)),
    "requests": lambda c, numbers: figures.requests(c, numbers[0], 50),
    "a page of requests": lambda c, numbers: figures.request_page(
        c,
        numbers[0],
        figures.RequestQuery(datetime.now(UTC) - timedelta(days=7), None, failed=False, limit=50),
    ),
    "the next request": lambda c, numbers: figures.next_attempt_at(c, numbers[0]),
    "batches of a replay": lambda c, numbers: selection.candidate_batches(
        c, ReplaySelection(numbers[0], EventQuery(status=Status.DEAD), None), after=BATCHES // 2, limit=200
    ),
    "batches of a replay of a destination without exceptions": lambda c, numbers: selection.candidate_batches(
        c, ReplaySelection(numbers[1], EventQuery(status=Status.DEAD), None), after=0, limit=200
    ),
    "unsent batches of a replay": lambda c, numbers: selection.unsent_batches(
        c, ReplaySelection(numbers[0], EventQuery(), None), after=BATCHES // 2, limit=200
    ),
}


@asynccontextmanager
async def session(world: World, **settings: str) -> AsyncIterator[Counted]:
    """Connect as a request of the organisation `default` does."""
    pool = await asyncpg.create_pool(
        acting_as(world.url, ROLES.api).replace("+asyncpg", "", 1),
        server_settings=pool_settings("api") | settings,
        min_size=1,
        max_size=1,
    )
    async with pool, scoped_pool(pool, DEFAULT_ORGANISATION).acquire() as connection:
        yield Counted(connection)


async def pages_of(connection: Counted, numbers: list[DestinationNumber]) -> dict[str, int]:
    pages = {}
    for name, read in READS.items():
        connection.pages = 0
        await read(connection, numbers)
        pages[name] = connection.pages
    return pages


@pytest.mark.parametrize("statistics", ["fresh", "none", "of empty tables", "of few events"])
async def test_a_read_does_not_grow_with_the_tables(world: World, statistics: str) -> None:
    """Also until Postgres analyses the tables, for example after an upgrade of Postgres."""
    *numbers, other, _ = [await world.number(await world.destination()) for _ in range(4)]
    await world.fetch(WITHOUT_AUTOVACUUM)
    if statistics == "of few events":
        await fill(world, other, first=BATCHES + 1, count=1_000, dead="delivered")
    if statistics in ("of empty tables", "of few events"):
        await world.fetch(ANALYZE)
    generic = {"plan_cache_mode": "force_generic_plan"}
    async with (
        session(world, **generic) as planned,
        session(world) as connection,
        session(world, **generic) as later,
    ):
        if statistics == "of few events":  # a plan of empty tables is soon made again
            await pages_of(planned, numbers)
        await fill(world, numbers[0])
        if statistics == "fresh":
            await world.fetch(ANALYZE)
        found = {
            "an earlier plan": await pages_of(planned, numbers),
            "a plan": await pages_of(connection, numbers),
            "a generic plan": await pages_of(later, numbers),
        }
    assert {
        (name, plan): read
        for plan, pages in found.items()
        for name, read in pages.items()
        if read > MOST_PAGES and (statistics, name, plan) not in KNOWN
    } == {}


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
