"""A lane that no worker owns can be acquired by every worker, whatever failed before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio

from app.domain.ids import LaneId
from app.store import lanes

LANE, LEASE = LaneId(1), timedelta(seconds=50)


@pytest_asyncio.fixture
async def sessions(database_url: str) -> AsyncIterator[tuple[asyncpg.Connection, ...]]:
    """Two workers' sessions and one that is no worker; a free lane."""
    connections = [await asyncpg.connect(database_url.replace("+asyncpg", "")) for _ in range(3)]
    await connections[2].execute(
        "INSERT INTO lanes (id, region, advertiser_id) OVERRIDING SYSTEM VALUE VALUES (1, 'NA', '1')"
    )
    yield tuple(connections)
    for connection in connections:
        await connection.close()


@asynccontextmanager
async def row_lock(other: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the row of the lane, as a request for an erasure or a frozen worker does."""
    async with other.transaction():
        await other.execute("SELECT FROM lanes WHERE id = 1 FOR UPDATE")
        yield


async def test_a_worker_that_found_the_row_locked_does_not_keep_the_lane(
    sessions: tuple[asyncpg.Connection, ...],
) -> None:
    """Its advisory lock would keep the lane from the other worker as long as both live."""
    first, second, other = sessions
    async with row_lock(other):
        assert await lanes.acquire(first, LANE, "first", lease=LEASE) is None
    assert await lanes.acquire(second, LANE, "second", lease=LEASE) is not None


async def test_a_worker_whose_statement_failed_does_not_keep_the_lane(
    sessions: tuple[asyncpg.Connection, ...],
) -> None:
    first, second, _ = sessions
    await first.execute("SET default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await lanes.acquire(first, LANE, "first", lease=LEASE)
    assert await lanes.acquire(second, LANE, "second", lease=LEASE) is not None


async def test_a_release_that_failed_keeps_lock_and_lease(sessions: tuple[asyncpg.Connection, ...]) -> None:
    """A lock without a lease would keep the lane from the other worker; a second try ends both."""
    first, second, other = sessions
    lease = await lanes.acquire(first, LANE, "first", lease=LEASE)
    assert lease is not None
    await first.execute("SET lock_timeout = '20ms'")
    async with row_lock(other):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await lanes.release(first, LANE, lease.fence)
    [work] = await lanes.busy_lanes(second)
    assert work.owner == "first"
    await lanes.release(first, LANE, lease.fence)
    assert await lanes.acquire(second, LANE, "second", lease=LEASE) is not None
