"""Lanes: only the owner writes a result, and a lane without an owner can be acquired by every worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from app.delivery.access_tokens import Access
from app.delivery.claim import BatchSource, Item, RequestContent, RequestInFlight
from app.delivery.settlement import SettlementWriter
from app.domain.ids import DEFAULT_ORGANISATION, AttemptId, BatchId, DestinationId, DestinationNumber, LaneId
from app.domain.outcomes.outcome import ACCEPTED, PerItemReply, SentRequest
from app.domain.outcomes.settle import Delivered, PerItem
from app.domain.pacing.order import WorkKind
from app.store import due_work, exceptions, lanes
from app.store.attempts import StartedAttempt
from app.store.counts import CountDelta, CountWriter
from app.store.lanes import LaneLease, StaleOwner
from tests.databases import connected

BATCHES = [BatchId(1), BatchId(2)]


@pytest.fixture
async def c(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A lane of ours by fence 7, an attempt that was sent, and the two batches that it carries."""
    async with connected(database_url, server_settings={"timezone": "UTC"}) as connection:
        await connection.execute(
            """
            INSERT INTO lanes (id, region, advertiser_id, fence) OVERRIDING SYSTEM VALUE
              VALUES (1, 'NA', '1', 7);
            INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation)
              VALUES (5, current_date, 1, 1, 7, 'w', '{1,2}', 3, 1);
            INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event,
              data_key) SELECT n, current_date, 1, n, 1, now(), now(), 'k' FROM generate_series(1, 3) n
            """
        )
        yield connection


def today() -> date:
    return datetime.now(UTC).date()


async def written(c: asyncpg.Connection) -> tuple[object, ...]:
    """Return what stands of attempt, batches and counts."""
    attempt = await c.fetchrow("SELECT outcome, http_status, request_id, duration_ms FROM attempts")
    states = await c.fetch(
        "SELECT batch, disposition, attempts FROM batch_states WHERE disposition IS NOT NULL ORDER BY 1"
    )
    counted = await c.fetch("SELECT writer, delivered, retrying FROM counts")
    return tuple(attempt), [tuple(row) for row in states], [tuple(row) for row in counted]


NOTHING = ((None,) * 4, [], [])


def request_in_flight() -> RequestInFlight:
    """Return the request of the attempt: the events of its batches, one of which was retrying."""
    queue = due_work.DestinationQueue(DestinationNumber(1), DestinationId("dst_1"), {})
    items = [
        Item(BatchSource(batch, today(), tries, tries > 0, datetime.now(UTC)), place, b"{}")
        for batch, places, tries in ((BatchId(1), 1, 1), (BatchId(2), 2, 0))
        for place in range(places)
    ]
    content = RequestContent(
        queue, tuple(items), (), tuple(BATCHES), (), None, has_more=False, kind=WorkKind.LIVE
    )
    started = StartedAttempt(AttemptId(5), today())
    return RequestInFlight(content, started, Access("token", 1, forced=False, usable_until=0.0), 0.0)


async def settle(c: asyncpg.Connection, *, fence: int = 7) -> CountDelta:
    """Settle as a worker does; return what it adds to its metrics."""
    lease = LaneLease(LaneId(1), fence, DEFAULT_ORGANISATION, "NA", "1", 0.0)
    sent = SentRequest(PerItemReply((ACCEPTED,) * 3), 207, "r-1", 12)
    settlement = PerItem((Delivered(),) * 3, 3)
    return await SettlementWriter(c, lease, CountWriter(4)).write_settlement(
        request_in_flight(), sent, settlement
    )


async def test_a_delivered_request_is_written_once(c: asyncpg.Connection) -> None:
    """The batch beside them stays open. A second write changes nothing, and the metrics do not grow twice.

    Postgres committed the first one, and the answer was lost.
    """
    assert await settle(c) == CountDelta(delivered=3, retrying=-1)
    once = await written(c)
    assert once == (("answered", 207, "r-1", 12), [(1, "sent", [5]), (2, "sent", [5])], [(4, 3, -1)])
    assert await settle(c) == CountDelta()
    assert await written(c) == once


async def test_the_tries_of_an_event_end_at_the_largest_number(c: asyncpg.Connection) -> None:
    """They are a smallint, and a further try is no error."""
    change = exceptions.ExceptionChange(
        BatchId(1), 0, today(), "retrying", datetime.now(UTC), "throttled", wait=timedelta(0), costs_try=True
    )
    for before in (0, 32_767):
        await c.execute("UPDATE exceptions SET tries = $1", before)
        await exceptions.write(c, DestinationNumber(1), None, [change])
    assert await c.fetchval("SELECT tries FROM exceptions") == 32_767


async def test_who_no_longer_owns_the_lane_writes_nothing(c: asyncpg.Connection) -> None:
    """The fence is part of the statement."""
    with pytest.raises(StaleOwner):
        await settle(c, fence=6)
    assert await written(c) == NOTHING


async def test_a_batch_closed_by_another_transaction_rolls_everything_back(c: asyncpg.Connection) -> None:
    """Two of two are closed by this attempt or none: the attempt is left to be recovered."""
    await c.execute("UPDATE batch_states SET settled_at = now(), disposition = 'expired' WHERE batch = 2")
    with pytest.raises(AssertionError, match="2 batches"):
        await settle(c)
    assert await written(c) == ((None,) * 4, [(2, "expired", [])], [])


async def test_a_new_owner_waits_for_what_is_being_written(
    c: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Taking over changes the fence: before, and nothing is written; after, and everything is."""
    async with c.transaction():
        assert await settle(c)
        await owner.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await owner.execute("UPDATE lanes SET fence = 8 WHERE id = 1")
    await owner.execute("UPDATE lanes SET fence = 8 WHERE id = 1")


LANE, LEASE = LaneId(1), timedelta(seconds=50)


@pytest.fixture
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
