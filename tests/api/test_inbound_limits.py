"""The limit on events a second holds for all API processes together."""

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from app.api.inbound_limits import IDLE_S, InboundLimits
from app.domain.ids import OrganisationId
from app.store.organisation_scope import EVERY, SETTING

ACME = OrganisationId("default")
RATE = 10


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url.replace("+asyncpg", ""), server_settings={SETTING: EVERY})
    yield opened
    await opened.close()


async def two(connection: asyncpg.Connection, clock: Clock) -> tuple[InboundLimits, InboundLimits]:
    """Two processes that have both exchanged once."""
    first, second = InboundLimits(monotonic=clock), InboundLimits(monotonic=clock)
    for limits in (first, second):
        assert limits.wait(ACME, RATE) <= 0
        await limits.exchange(connection)
    return first, second


class TestWhatAnotherProcessReceived:
    async def test_counts_here(self, connection: asyncpg.Connection) -> None:
        first, second = await two(connection, Clock())
        first.charge(ACME, 30)
        await first.exchange(connection)
        assert second.wait(ACME, RATE) <= 0  # not yet exchanged
        await second.exchange(connection)
        assert second.wait(ACME, RATE) == first.wait(ACME, RATE) == 2.1  # a second's worth was left

    async def test_counts_once(self, connection: asyncpg.Connection) -> None:
        first, second = await two(connection, Clock())
        first.charge(ACME, 30)
        for _ in range(3):
            await first.exchange(connection)
            await second.exchange(connection)
        assert second.wait(ACME, RATE) == 2.1

    async def test_before_this_one_began_does_not_count(self, connection: asyncpg.Connection) -> None:
        clock = Clock()
        first, _ = await two(connection, clock)
        first.charge(ACME, 30)
        await first.exchange(connection)
        third = InboundLimits(monotonic=clock)
        third.wait(ACME, RATE)
        await third.exchange(connection)
        assert third.wait(ACME, RATE) <= 0

    async def test_after_an_idle_time_counts_again(self, connection: asyncpg.Connection) -> None:
        """An idle process deletes its row and begins another one."""
        clock = Clock()
        first, second = await two(connection, clock)
        first.charge(ACME, 30)
        await first.exchange(connection)
        await second.exchange(connection)
        clock.now += IDLE_S + 1
        second.charge(ACME, 1)
        await first.exchange(connection)
        await second.exchange(connection)
        assert await connection.fetchval("SELECT count(*) FROM inbound_usage") == 1
        assert first.wait(ACME, RATE) <= 0
        first.charge(ACME, 20)
        await first.exchange(connection)
        await second.exchange(connection)
        assert round(second.wait(ACME, RATE), 3) == 1.2  # 1 and 20, of 10


async def test_a_limit_over_ten_seconds_is_that_of_all(connection: asyncpg.Connection) -> None:
    """Two processes that each get ten times the limit admit ten seconds' worth, and their first burst."""
    clock = Clock()
    processes = await two(connection, clock)
    admitted = 0
    for step in range(1_000):
        clock.now += 0.01
        for limits in processes:
            if limits.wait(ACME, RATE) <= 0:
                limits.charge(ACME, 1)
                admitted += 1
            if step % 50 == 0:
                await limits.exchange(connection)
    assert RATE * 10 <= admitted <= RATE * 14


async def test_rows_of_ended_processes_are_deleted(connection: asyncpg.Connection) -> None:
    """They never come back: a process that starts has another name."""
    first, second = await two(connection, Clock())
    first.charge(ACME, 1)
    await first.exchange(connection)
    await connection.execute("UPDATE inbound_usage SET updated_at = now() - interval '2 hours'")
    await second.exchange(connection)
    assert await connection.fetchval("SELECT count(*) FROM inbound_usage") == 0


async def test_without_a_limit_nothing_is_stored(connection: asyncpg.Connection) -> None:
    limits = InboundLimits(monotonic=Clock())
    assert limits.wait(ACME, None) == 0
    limits.charge(ACME, 100)
    await limits.exchange(connection)
    assert await connection.fetchval("SELECT count(*) FROM inbound_usage") == 0
