"""The limit on events a second holds for all API processes together. Time passes by a clock of the test."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import ceil
from random import Random

import asyncpg
import pytest

from app.api.access.inbound_limits import EXCHANGE_EVERY_S, IDLE_S, InboundLimits
from app.domain.ids import OrganisationId
from app.store.organisations.scope import EVERY, SETTING
from tests.clock import Clock
from tests.databases import connected
from tests.pipeline.service import serving
from tests.pipeline.world import event, eventually

ACME = OrganisationId("default")
LIMIT = 100
STEP_S = 0.005


@dataclass
class Deployment:
    """Processes that post at `rates` events a second, at random times; a rate of None is a dead process."""

    connection: asyncpg.Connection
    rates: list[float | None]
    limit: int = LIMIT
    exchanging: bool = True
    clock: Clock = field(default_factory=Clock)
    random: Random = field(default_factory=lambda: Random(1))
    refused: int = 0

    def __post_init__(self) -> None:
        self.processes = [InboundLimits(monotonic=self.clock) for _ in self.rates]
        self.aged_at = self.clock.now
        self.due = [self.clock.now + n * EXCHANGE_EVERY_S / len(self.rates) for n in range(len(self.rates))]

    async def run(self, seconds: float) -> float:
        """Return the admitted events a second."""
        admitted, until = 0, self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += STEP_S
            for n, (process, rate) in enumerate(zip(self.processes, self.rates, strict=True)):
                if rate is None:
                    continue
                if self.random.random() < rate * STEP_S:
                    admitted += self.post(process)
                if self.clock.now >= self.due[n]:
                    self.due[n] += EXCHANGE_EVERY_S
                    await self.exchange(process)
        return admitted / seconds

    def post(self, process: InboundLimits) -> int:
        if process.wait(ACME, self.limit) > 0:
            self.refused += 1
            return 0
        process.charge(ACME, 1)
        return 1

    async def exchange(self, process: InboundLimits) -> None:
        if self.exchanging:
            # The clock of the database passes like that of the processes.
            age, self.aged_at = self.clock.now - self.aged_at, self.clock.now
            await self.connection.execute(
                "UPDATE inbound_demand SET updated_at = updated_at - $1 * interval '1 second'", age
            )
            await process.exchange(self.connection)

    async def rows(self) -> int:
        count: int = await self.connection.fetchval("SELECT count(*) FROM inbound_demand")
        return count


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_url, server_settings={SETTING: EVERY}) as opened:
        yield opened


@pytest.mark.parametrize(
    "rates",
    [[150], [150, 150, 150], [190, 60, 10], [190, 0, 0], [60, 60]],
    ids=["a process", "even", "uneven", "idle processes", "little more than the limit"],
)
async def test_in_steady_state_it_holds_within_a_tenth(
    connection: asyncpg.Connection, rates: list[float | None]
) -> None:
    deployment = Deployment(connection, rates)
    await deployment.run(5)
    for _ in range(2):
        assert 0.9 * LIMIT <= await deployment.run(10) <= 1.1 * LIMIT


async def test_the_first_burst_is_made_up_for(connection: asyncpg.Connection) -> None:
    """Each of two processes admits a second's worth before it knows the other."""
    deployment = Deployment(connection, [190, 190])
    assert await deployment.run(1) > 1.5 * LIMIT
    assert await deployment.run(9) <= 1.05 * LIMIT
    assert await Deployment(connection, [190, 190], random=Random(2)).run(10) <= 1.15 * LIMIT


async def test_below_the_limit_nothing_is_refused(connection: asyncpg.Connection) -> None:
    deployment = Deployment(connection, [40, 10, 20])
    await deployment.run(10)
    assert deployment.refused == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [([150, 150], [None, 150]), ([150, 0], [0, 150])],
    ids=["a process ends", "traffic moves"],
)
async def test_a_share_is_free_for_others_within_five_seconds(
    connection: asyncpg.Connection, before: list[float | None], after: list[float | None]
) -> None:
    deployment = Deployment(connection, before)
    await deployment.run(5)
    deployment.rates = after
    await deployment.run(4)
    assert 0.9 * LIMIT <= await deployment.run(10) <= 1.1 * LIMIT


async def test_without_the_exchange_each_process_keeps_its_share(connection: asyncpg.Connection) -> None:
    """Also right after it, when the demand of the others is not yet read again."""
    deployment = Deployment(connection, [190, 60, 10])
    await deployment.run(5)
    deployment.exchanging = False
    assert 0.85 * LIMIT <= await deployment.run(20) <= 1.05 * LIMIT
    deployment.exchanging = True
    assert 0.8 * LIMIT <= await deployment.run(2) <= 1.2 * LIMIT
    assert 0.9 * LIMIT <= await deployment.run(10) <= 1.1 * LIMIT


async def test_a_changed_limit_holds_for_all_together(connection: asyncpg.Connection) -> None:
    deployment = Deployment(connection, [150, 150])
    await deployment.run(5)
    deployment.limit = 50
    await deployment.run(3)
    assert 45 <= await deployment.run(10) <= 55


async def test_the_next_request_is_admitted_after_the_wait(connection: asyncpg.Connection) -> None:
    """Beside two other processes that are refused all the time, and after a post of three seconds' worth."""
    deployment = Deployment(connection, [190, 190, 0])
    await deployment.run(5)
    process = deployment.processes[2]
    for events in (1, 300):
        while process.wait(ACME, LIMIT) <= 0:
            process.charge(ACME, events)
            await deployment.run(EXCHANGE_EVERY_S)
        await deployment.run(ceil(process.wait(ACME, LIMIT)))  # as in Retry-After
        assert process.wait(ACME, LIMIT) <= 0


class TestRows:
    async def test_end_with_the_demand(self, connection: asyncpg.Connection) -> None:
        deployment = Deployment(connection, [150, 150])
        await deployment.run(2)
        assert await deployment.rows() == 2
        deployment.rates = [0, 150]
        for _ in range(int(IDLE_S) + 2):
            deployment.clock.now += 0.9
            await deployment.run(0.1)
        assert await deployment.rows() == 1

    async def test_of_idle_processes_are_not_written_again(self, connection: asyncpg.Connection) -> None:
        deployment = Deployment(connection, [150])
        await deployment.run(2)
        deployment.rates = [0]
        await deployment.run(10)
        before = await connection.fetchval("SELECT xmin::text FROM inbound_demand")
        await deployment.processes[0].exchange(connection)
        # The test itself updates the row before each exchange of a deployment, but not here.
        assert await connection.fetchval("SELECT xmin::text FROM inbound_demand") == before

    async def test_of_ended_processes_are_deleted(self, connection: asyncpg.Connection) -> None:
        deployment = Deployment(connection, [150, 150])
        await deployment.run(2)
        await connection.execute("UPDATE inbound_demand SET updated_at = now() - interval '2 hours'")
        deployment.rates = [0, 150]
        await deployment.processes[1].exchange(connection)
        assert await deployment.rows() == 1

    async def test_are_not_written_without_a_limit(self, connection: asyncpg.Connection) -> None:
        limits = InboundLimits(monotonic=Clock())
        assert limits.wait(ACME, None) == 0
        limits.charge(ACME, 100)
        await limits.exchange(connection)
        assert await connection.fetchval("SELECT count(*) FROM inbound_demand") == 0

    async def test_are_deleted_with_the_limit(self, connection: asyncpg.Connection) -> None:
        deployment = Deployment(connection, [150])
        await deployment.run(1)
        assert await deployment.rows() == 1
        assert deployment.processes[0].wait(ACME, None) == 0
        await deployment.processes[0].exchange(connection)
        assert await deployment.rows() == 0

    async def test_begin_again_with_a_new_limit(self, connection: asyncpg.Connection) -> None:
        deployment = Deployment(connection, [150])
        await deployment.run(1)
        deployment.processes[0].wait(ACME, None)
        await deployment.run(1)
        assert await deployment.rows() == 1


async def test_an_api_process_tells_the_others_its_demand(database_url: str) -> None:
    """In the background, after a post of an organisation with a limit."""
    async with serving(database_url) as service:
        change = {"limits": {"events_per_second": 10}}  # a demand below a hundredth of it is none
        assert (await service.client.patch("/organisations/default", json=change)).status_code == 200
        await service.post(await service.world.destination(), event(1))
        await eventually(lambda: service.world.fetch("SELECT FROM inbound_demand"))


def test_requests_that_waited_together_are_not_all_admitted() -> None:
    """All pass the check before their bodies are read; the first that are counted use the limit."""
    limits = InboundLimits(monotonic=Clock())
    assert all(limits.wait(ACME, 10) <= 0 for _ in range(50))
    admitted = [limits.charge(ACME, 5) <= 0 for _ in range(50)]
    assert 2 <= sum(admitted) <= 3
    assert admitted == sorted(admitted, reverse=True)


async def test_a_malformed_body_uses_nothing_of_the_limit(database_url: str) -> None:
    """Its events are counted before the last of them is read."""
    malformed = b"[" + b"{}," * 1_000 + b'{"a":1,"a":2}]'
    async with serving(database_url) as service:
        change = {"limits": {"events_per_second": 10}}
        assert (await service.client.patch("/organisations/default", json=change)).status_code == 200
        destination = await service.world.destination()
        for _ in range(2):
            answer = await service.client.post(f"/events?destination_id={destination}", content=malformed)
            assert (answer.status_code, answer.json()["reason"]) == (400, "duplicate_key")
        (result,) = await service.post(destination, event(1))
        assert result["status"] == "accepted"
