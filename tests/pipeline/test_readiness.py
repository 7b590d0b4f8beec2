"""Readiness follows what the process is for: flushes of an API process, claims of a worker.

The database here refuses them by a trigger that raises what Postgres raises for a damaged page.
"""

import asyncio
import time
from dataclasses import dataclass

import asyncpg
import pytest

from app.domain.database_refusals import FIRST_HOLD_S, LASTING_S, LONGEST_HOLD_S
from app.health import API, WORKER, Readiness
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from tests.clock import Clock
from tests.pipeline.world import World, event, eventually, locked, waits


@dataclass
class Watched:
    """A world whose outcomes and readiness run on a clock of the test's."""

    world: World
    clock: Clock
    outcomes: DatabaseResults
    readiness: Readiness

    async def reasons(self) -> set[str]:
        """Return why it is not ready, but for what a test database never is."""
        self.clock.now += 1.1
        never = {"fsync_off", "synchronous_commit_off", "full_page_writes_off"}
        return set(await self.readiness.reasons()) - never


def watched(world: World, role: object = API) -> Watched:
    clock = Clock()
    outcomes = DatabaseResults(clock)
    world.intake.group_commit.database_results = outcomes
    process = world.receiving if role is API else world.delivering
    assert process is not None
    readiness = Readiness(
        process.pool,
        clock,
        role=role,  # type: ignore[arg-type]
        outcomes=outcomes,
        clock=DatabaseClock(),
    )
    return Watched(world, clock, outcomes, readiness)


REFUSE = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'invalid page in block 7' USING ERRCODE = 'XX001'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()
"""


async def break_(world: World, table: str) -> None:
    await world.resources.pool.execute(REFUSE.format(table=table))


async def repair(world: World, table: str) -> None:
    await world.fetch(f"DROP TRIGGER refuse ON {table}")


@pytest.mark.parametrize("table", ["ledger", "batches", "batch_states"])
async def test_an_api_whose_flushes_are_all_refused_is_not_ready_until_a_probe_passes(
    world: World, table: str, dst: str
) -> None:
    """It says so in words of its own, gets no traffic, and comes back without any."""
    seen = watched(world)
    await world.post(dst, event(0))
    assert await seen.reasons() == set()
    await break_(world, table)
    for number in range(1, 8):
        assert (await world.try_post(dst, event(number))) is None
        seen.clock.now += 1
    assert await seen.reasons() == {"flushes_refused"}
    assert (world.metric("database_errors_total", **{"class": "XX"}) or 0) >= 7
    # No more posts arrive: only the repair of the database makes the process ready, not time.
    seen.clock.now += 600
    assert await seen.reasons() == {"flushes_refused"}
    await repair(world, table)
    assert await seen.reasons() == set()
    assert [one.status for one in await world.post(dst, event(1))] == ["accepted"]
    rows = await world.fetch("SELECT destination FROM batch_states WHERE destination = 0")
    assert rows == []  # the probe left nothing behind


async def test_a_success_makes_it_ready_at_once(world: World, dst: str) -> None:
    """Refusals of one post among others that are stored are not the database's."""
    seen = watched(world)
    await break_(world, "ledger")
    for number in range(8):
        await world.try_post(dst, event(number))
        seen.clock.now += 1
    await repair(world, "ledger")
    await world.post(dst, event(20))
    assert await seen.reasons() == set()


async def test_a_process_that_starts_on_a_refusing_database_is_not_ready(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it took anything: the first answer to who asks comes of a probe, which logs why."""
    await break_(world, "ledger")
    seen = watched(world)
    assert await seen.reasons() == {"flushes_refused"}
    [record] = [one for one in caplog.records if one.getMessage() == "readiness.refused"]
    assert record.fields["sqlstate"] == "XX001"  # type: ignore[attr-defined]
    await repair(world, "ledger")
    assert await seen.reasons() == set()


async def test_a_worker_whose_claims_are_all_refused_is_not_ready_until_one_passes(world: World) -> None:
    """Its attempts cannot be written; it goes on trying, counts its lanes' errors, and recovers."""
    dst = await world.destination()
    seen = watched(world, WORKER)
    await break_(world, "attempts")
    await world.post(dst, event(0))
    world.work().outcomes = seen.outcomes

    async def refused() -> bool:
        seen.clock.now += 3
        return seen.outcomes.are_refused

    await eventually(refused)
    assert await seen.reasons() == {"claims_refused"}
    assert (world.metric("lane_errors_total", kind="database") or 0) >= 3
    assert (world.metric("database_errors_total", **{"class": "XX"}) or 0) >= 3
    await repair(world, "attempts")
    await world.until(dst, delivered=1)
    assert await seen.reasons() == set()


async def test_an_api_whose_flush_hangs_is_not_ready_until_it_ends(world: World, dst: str) -> None:
    """Posts wait; nothing has been refused yet. A first flush that is short does not count as hanging."""
    seen = watched(world)
    await world.post(dst, event(0))
    seen.clock.now += 600
    async with locked(world, "LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"):
        posting = asyncio.create_task(world.try_post(dst, event(1)))
        await waits(world)
        assert await seen.reasons() == set()
        seen.clock.now += LASTING_S
        assert await seen.reasons() == {"flushes_refused"}
    assert (await posting) is not None
    assert await seen.reasons() == set()


def test_a_flush_hangs_if_it_runs_for_long_or_if_flushes_run_and_none_succeeds() -> None:
    clock = Clock()
    outcomes = DatabaseResults(clock)
    with outcomes.flushing():
        for _ in range(3):
            clock.now += 2
            outcomes.succeeded()  # a claim
        assert outcomes.are_refused
    assert not outcomes.are_refused
    for _ in range(3):
        assert not outcomes.are_refused
        with outcomes.flushing():
            clock.now += 2  # it fails
    with outcomes.flushing():
        assert outcomes.are_refused
        outcomes.succeeded()
        assert not outcomes.are_refused
    clock.now += 600
    with outcomes.flushing():
        assert not outcomes.are_refused


async def test_an_exhausted_sequence_is_a_refusal(world: World, dst: str) -> None:
    """Its SQLSTATE is of the class of wrong values, but no value causes it."""
    await world.fetch("SELECT setval('batch_ids', 9223372036854775807)")
    seen = watched(world)
    for number in range(8):
        assert (await world.try_post(dst, event(number))) is None
        seen.clock.now += 1
    assert await seen.reasons() == {"flushes_refused"}


def test_refused_values_are_no_refusals_of_the_database() -> None:
    clock = Clock()
    outcomes = DatabaseResults(clock)
    for _ in range(8):
        outcomes.refused(asyncpg.InvalidTextRepresentationError(""))
        outcomes.refused(asyncpg.UniqueViolationError(""))
        clock.now += 2
    assert not outcomes.are_refused


class Refused:
    """The results of a process whose statements the database refuses at these times."""

    def __init__(self, *times: float) -> None:
        self.clock = Clock()
        self.outcomes = DatabaseResults(self.clock)
        self.outcomes.succeeded()
        self.refuse(*times)

    def refuse(self, *times: float) -> None:
        for self.clock.now in times:
            self.outcomes.refused(asyncpg.InternalServerError(""))


def test_a_successful_probe_counts_until_the_next_refused_flush() -> None:
    """It writes other rows than a flush; so one refusal after it is enough."""
    refused = Refused(0.0, 3.0, 6.0)
    assert refused.outcomes.are_refused
    refused.outcomes.probed()
    assert not refused.outcomes.are_refused
    refused.refuse(7.0)
    assert refused.outcomes.are_refused
    refused.outcomes.succeeded()
    refused.refuse(8.0)
    assert not refused.outcomes.are_refused


def test_refusals_must_last_and_a_probe_that_was_wrong_is_trusted_later_each_time() -> None:
    """One refused flush is nothing; a probe that passes while every flush fails does not make it flap."""
    for few in ((0.0,), (0.0, 1.0, LASTING_S - 0.1), (0.0, LASTING_S + 1)):
        assert not Refused(*few).outcomes.are_refused

    holds = []
    refused, now = Refused(), 0.0
    for _ in range(6):
        while not refused.outcomes.are_refused:
            refused.refuse(now)
            now += 1
        began = now
        while not refused.outcomes.want_probe:
            now += 1
            refused.clock.now = now
        holds.append(now - began)
        refused.outcomes.probed()
        assert not refused.outcomes.are_refused
    assert holds[0] <= 1
    assert holds[1:3] == pytest.approx([FIRST_HOLD_S, 2 * FIRST_HOLD_S], abs=1.5)
    assert max(holds) <= LONGEST_HOLD_S


async def test_a_clock_that_is_off_is_a_reason(world: World) -> None:
    """The process judges by the database's clock, and says all the same that its own must be set."""
    clock = Clock()
    for by, reasons in ((31, {"clock_off"}), (-31, {"clock_off"}), (5, set())):
        own = DatabaseClock(lambda by=by: time.time() + by)  # type: ignore[misc]
        readiness = Readiness(world.resources.pool, clock, clock=own)
        assert (set(await readiness.reasons()) & {"clock_off"}) == reasons
