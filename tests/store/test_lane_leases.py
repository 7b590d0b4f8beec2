"""A lane that no worker owns can be acquired by every worker, whatever failed before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio

from app.domain.ids import LaneId
from app.store import due_work, lanes

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


async def test_a_release_does_not_wait_for_a_locked_row(sessions: tuple[asyncpg.Connection, ...]) -> None:
    """The lock ends, and a lease without it keeps the lane from no other worker."""
    first, second, other = sessions
    lease = await lanes.acquire(first, LANE, "first", lease=LEASE)
    assert lease is not None
    await first.execute("SET lock_timeout = '20ms'")
    async with row_lock(other):
        await lanes.release(first, lease)
    assert await due_work.busy_lanes(second) == []
    assert await lanes.acquire(second, LANE, "second", lease=LEASE) is not None


async def test_a_renewal_does_not_wait_for_a_locked_row(sessions: tuple[asyncpg.Connection, ...]) -> None:
    """The lane of that row is not renewed, and still owned. A lane with another fence is not owned."""
    first, _, other = sessions
    await other.execute(
        "INSERT INTO lanes (id, region, advertiser_id) OVERRIDING SYSTEM VALUE "
        "VALUES (2, 'NA', '2'), (3, 'NA', '3')"
    )
    leases = [await lanes.acquire(first, LaneId(number), "first", lease=LEASE) for number in (1, 2, 3)]
    fences = [(lease.id, lease.fence) for lease in leases if lease is not None]
    assert len(fences) == 3
    await other.execute("UPDATE lanes SET fence = 9 WHERE id = $1", fences[2][0])
    await first.execute("SET lock_timeout = '20ms'")
    async with row_lock(other):
        assert await lanes.renew(first, fences, lease=LEASE) == {fences[0][0]: False, fences[1][0]: True}
    assert await lanes.renew(first, fences, lease=LEASE) == {fences[0][0]: True, fences[1][0]: True}


async def test_a_renewal_does_not_meet_the_results_of_requests(
    sessions: tuple[asyncpg.Connection, ...],
) -> None:
    """A lane with many results a second would otherwise not be renewed. A new owner waits for them."""
    first, second, other = sessions
    lease = await lanes.acquire(first, LANE, "first", lease=LEASE)
    assert lease is not None
    async with other.transaction():
        await lanes.hold(other, lease)
        assert await lanes.renew(first, [(LANE, lease.fence)], lease=LEASE) == {LANE: True}
        await lanes.release(first, lease)
        assert await lanes.acquire(second, LANE, "second", lease=LEASE) is None
    assert await lanes.acquire(second, LANE, "second", lease=LEASE) is not None
