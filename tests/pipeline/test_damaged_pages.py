"""A cluster of its own that breaks: a flipped byte on a page (XX001), and a crash that takes ids back.

Postgres is stopped to damage its files, or a server process is killed: some five seconds each. Batch ids that
a flush reserved are never used twice after such a crash, which takes the sequence back to what is on disk.
A process that went on with ids from before it, and another that reserves after it, would store two batches
under one id.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest

from app.admin.context import EvaluationSettings
from app.admin.destinations.stats import destination_stats
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId
from app.store.database.damage import check
from app.store.events import batches
from app.store.organisations.scope import scoped_pool
from dev.postgres.cluster import Cluster
from tests.databases import WAITING_LOCKS, execute, own_cluster
from tests.pipeline.test_damaged_data import FAILED
from tests.pipeline.test_erasing import erase, finished
from tests.pipeline.world import World, event, eventually, make_world

pytestmark = pytest.mark.process

PAGE = 8192


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with own_cluster() as made:
        yield made


async def flip(cluster: Cluster, relation: str, page: int) -> None:
    """Stop the server, flip a bit in the middle of a page of a relation, and start it again."""
    [(name,)] = await execute(cluster.url, f"SELECT pg_relation_filepath({relation})")
    path = cluster._home / name
    await asyncio.to_thread(cluster.stop)
    with path.open("r+b") as file:
        file.seek(page * PAGE + PAGE // 2)
        (byte,) = file.read(1)
        file.seek(page * PAGE + PAGE // 2)
        file.write(bytes((byte ^ 1,)))
    await asyncio.to_thread(cluster.start)


async def test_a_damaged_page_of_states_holds_one_destination_up_and_is_named(cluster: Cluster) -> None:
    """No state on the page can be read or written: its destination waits, all others go on, as do probes."""
    async with make_world(cluster.url) as world:
        sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
        other, probed = await world.destination(), await world.destination()
        for destination, first, number in (
            (sick, 0, 60),
            (sister, 100, 60),
            (other, 200, 20),
            (probed, 300, 1),
        ):
            for n in range(first, first + number):
                await world.post(destination, event(n))
        amazon = world.amazon
    await flip(cluster, "(SELECT tableoid FROM batch_states LIMIT 1)", 0)
    async with make_world(cluster.url, amazon) as world:
        await world.fetch(
            "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'endpoint_not_found', "
            "endpoint_probe_at = now() WHERE id = $1",
            probed,
        )
        erasure = await erase(world, email="person219@example.com")
        await world.work_until(sister, delivered=60)
        await world.until(other, delivered=19, erased=1)
        await world.until(probed, delivered=1)
        on_page = (await finished(world, erasure)).unreadable
        assert 10 < on_page < 60
        assert (await world.counts(sick))["queued"] == 60
        assert world.metric(FAILED, reason="damaged_data")
        async with world.resources.pool.acquire() as c:
            damaged, _ = await check(c)
        assert [one.reason for one in damaged] == ["XX001"] * on_page
        # The page of a destination reads its figures in one snapshot, damaged or not.
        async with (
            scoped_pool(world.resources.pool, DEFAULT_ORGANISATION).acquire() as c,
            c.transaction(isolation="repeatable_read", readonly=True),
        ):
            known = await batches.destination(c, DestinationId(sick))
            assert known is not None
            stats = await destination_stats(c, known, EvaluationSettings(pepper=b""))
        assert (stats.waiting, stats.oldest_waiting_seconds, stats.rates.accepted_per_second) == (
            60,
            None,
            None,
        )


@pytest.fixture
def fragile() -> Iterator[Cluster]:
    """A server whose log's background writer would else put the reservation on disk within 200 ms."""
    with own_cluster(wal_writer_delay="10s", autovacuum="off") as cluster:
        yield cluster


async def kill_a_backend(url: str) -> None:
    """End one server process by SIGKILL: Postgres ends all others and recovers from its log."""
    victim = await asyncpg.connect(url.replace("+asyncpg", ""))
    os.kill(await victim.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    victim.terminate()


async def is_back(url: str) -> bool:
    with suppress(OSError, asyncpg.PostgresError):
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.close()
        return True
    return False


async def store_in_two(survivor: World, dst: str) -> None:
    """Store in a new process, then in one from before the crash: each batch has an id of its own."""
    before = await survivor.fetch("SELECT FROM batch_states")
    async with make_world(survivor.url) as other:
        for number in range(1, 4):
            await other.post(dst, event(number))
    await survivor.try_post(dst, event(4))  # by which it may find its connection gone
    for number in range(4, 8):
        # Under an id that the other has, it would be refused; past midnight it would not even be that.
        await survivor.post(dst, event(number))
    ids = [row["batch"] for row in await survivor.fetch("SELECT batch FROM batch_states")]
    assert len(ids) == len(set(ids)) == len(before) + 7


async def test_ids_reserved_before_a_crash_are_not_used_after_it(fragile: Cluster) -> None:
    """Postgres crashes while a flush holds its reservation uncommitted; then two processes store."""
    url = fragile.url
    async with make_world(url) as survivor:
        dst = await survivor.destination()
        blocker = await asyncpg.connect(url.replace("+asyncpg", ""))
        await blocker.execute("BEGIN; LOCK TABLE ledger IN EXCLUSIVE MODE")
        posting = asyncio.create_task(survivor.try_post(dst, event(0)))
        await eventually(lambda: survivor.fetch(WAITING_LOCKS))

        await kill_a_backend(url)
        assert (await posting) is None
        await eventually(lambda: is_back(url))

        await store_in_two(survivor, dst)
        blocker.terminate()


async def test_ids_of_one_session_are_not_used_by_the_next(fragile: Cluster) -> None:
    """A standby that takes over may not know what the lost primary had reserved, committed or not."""
    async with make_world(fragile.url) as survivor:
        dst = await survivor.destination(event(0))
        # As after a failover: the sequence is behind, and every session of the old server has ended.
        await survivor.fetch("SELECT setval('batch_ids', 1)")
        await survivor.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'conversions-own' AND datname = current_database()"
        )
        await store_in_two(survivor, dst)
