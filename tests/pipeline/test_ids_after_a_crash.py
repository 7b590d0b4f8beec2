"""Batch ids that a flush reserved are never used twice after Postgres crashed under it.

The crash takes the sequence back to what is on disk. A process that went on with ids from before it, and
another that reserves after it, would store two batches under one id.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest

from dev.postgres.cluster import Cluster
from tests.databases import WAITING_LOCKS, own_cluster
from tests.pipeline.world import World, event, eventually, make_world

pytestmark = pytest.mark.process


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
