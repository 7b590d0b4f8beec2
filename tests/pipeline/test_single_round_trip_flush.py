"""A single-round-trip flush assumes new keys and current versions and falls back otherwise (ADR 0029)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import asyncpg
import pytest

from app.domain.conversion.results import DeploymentRules
from app.ingest.flush_writer import CAUTIOUS_FLUSHES
from app.ingest.group_commit import FLUSH_MIN_REQUESTS, FlushSession
from app.processes import api
from app.processes.resources import open_resources
from app.store.counts import WRITERS, CountWriter
from app.store.database import partitions
from app.store.database.partitions import FLUSH_LOCK
from tests.crashes.amazon import StandIn, take
from tests.crashes.fuse import Fuse
from tests.crashes.rehearsal import rehearse
from tests.pipeline.rows import MAPPING, publish
from tests.pipeline.service import serving
from tests.pipeline.world import World, event, eventually, make_world, settings_of, waits
from tests.tables import cases


def many(first: int, events: int = 200) -> list[dict[str, Any]]:
    return [event(number) for number in range(first, first + events)]


def statuses(results: Any) -> list[str]:
    return [result.status for result in results]


@asynccontextmanager
async def taking_posts(url: str) -> AsyncIterator[tuple[Callable[..., Awaitable[list[bool]]], Fuse]]:
    """Open a pipeline; yield how to post ids, and learn of each flush whether it went in one round trip."""
    async with rehearse(url, StandIn(take)) as stage:
        dst, fuse = await stage.destination(), Fuse()
        async with stage.life(fuse) as life:
            assert await life.post(dst, "first")  # by which it learns the generation

            async def post(*names: str) -> list[bool]:
                fuse.calls.clear()
                assert await life.post(dst, *names)
                return [
                    "store_flush" in call for call in fuse.calls if "store_flush" in call or "BEGIN" in call
                ]

            yield post, fuse


async def test_a_flush_is_one_call(database_url: str) -> None:
    """One event or many: nothing else is asked."""
    async with taking_posts(database_url) as (post, _):
        assert await post("a") == [True]
        assert await post(*(f"b-{n}" for n in range(300))) == [True]


async def test_repeats_of_one_destination_do_not_slow_the_flushes_of_another(database_url: str) -> None:
    async with rehearse(database_url, StandIn(take)) as stage:
        repeating, other, fuse = await stage.destination(), await stage.destination(), Fuse()
        async with stage.life(fuse) as life:
            for name in ("first", "first"):
                assert await life.post(repeating, name)
            assert await life.post(other, "cached")
            for destination, calls in ((other, 1), (repeating, 0)):
                fuse.calls.clear()
                assert await life.post(destination, f"new-{destination}")
                assert sum("store_flush" in call for call in fuse.calls) == calls


async def test_after_a_repeat_flushes_are_cautious_for_a_while(database_url: str) -> None:
    """Where a caller repeats once it often does again, and each flush that fails is written twice."""
    async with taking_posts(database_url) as (post, _):
        assert await post("first") == [True, False]
        for turn in range(CAUTIOUS_FLUSHES):
            assert await post(f"a-{turn}") == [False]
        assert await post("b") == [True]


async def test_a_key_of_an_earlier_generation_is_met(world: World) -> None:
    """One and two generations back, by a flush that inserts into the third."""
    dst = await world.destination(event(7))
    async with world.resources.pool.acquire() as c:
        for turn in (1, 2):
            await c.execute("UPDATE ledger_generations SET began_at = began_at - interval '11 days'")
            assert await partitions.rotate_ledger(c) == 1 + turn
            async with make_world(world.url) as other:  # not cautious yet
                await other.post(dst, event(turn * 1000))
                assert statuses(await other.post(dst, event(turn * 1000 + 1), event(7))) == [
                    "accepted",
                    "duplicate",
                ]
    rows = await world.fetch("SELECT generation, count(*) AS keys FROM ledger GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, 1), (2, 2), (3, 2)]


async def test_the_same_ids_in_opposite_order_do_not_deadlock(world: World, database_url: str) -> None:
    """Two processes insert the same ids while another holds one of them. Every id is accepted once.

    In one round trip, and then, after a repeat, in steps.
    """
    dst = await world.destination()
    [(name,)] = await world.fetch("SELECT current_database()")
    # Earlier than a wait for a lock ends, so that it is counted: the flush would be tried again.
    await world.fetch(f"ALTER DATABASE {name} SET deadlock_timeout = '10ms'")
    holder = await asyncpg.connect(world.resources.dsn)
    async with make_world(database_url) as one, make_world(database_url) as other, asyncio.timeout(60):
        for turn in (1, 2):
            for _ in range(turn):
                await asyncio.gather(one.post(dst, event(1)), other.post(dst, event(2)))
            named = many(turn * 1000, 500)
            await world.post(dst, named[250])
            (row,) = await world.fetch(
                "DELETE FROM ledger WHERE batch = (SELECT max(batch) FROM batch_states) RETURNING *"
            )
            await holder.execute("BEGIN")
            await holder.execute("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)", *row.values())
            both = asyncio.gather(one.post(dst, *named), other.post(dst, *reversed(named)))
            await waits(world, 2)
            await holder.execute("ROLLBACK")
            ours, theirs = await both
            won = [r.event_id for r in (*ours, *theirs) if r.status == "accepted"]
            assert sorted(won) == sorted(e["event_id"] for e in named)
        for each in (one, other):
            session = await each.intake.group_commit.session.connection()
            await session.execute("SELECT pg_stat_force_next_flush()")
    [(number,)] = await world.fetch(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert number == 0
    await holder.close()


@pytest.mark.parametrize(("end", "first"), [("ROLLBACK", "accepted"), ("COMMIT", "duplicate")])
async def test_a_key_under_way_elsewhere_is_waited_for(world: World, end: str, first: str) -> None:
    """It is free again when the other rolls back, and a repeat when the other commits."""
    dst = await world.destination(event(1))
    (row,) = await world.fetch("DELETE FROM ledger RETURNING *")
    other = await asyncpg.connect(world.resources.dsn)
    await other.execute("BEGIN")
    await other.execute("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)", *row.values())
    posting = asyncio.create_task(world.post(dst, *many(1)))
    await waits(world)
    assert not posting.done()
    await other.execute(end)
    assert statuses(await posting) == [first] + ["accepted"] * 199
    await other.close()


async def test_what_is_committed_while_it_waits_for_the_lock_holds(world: World) -> None:
    """Its statements have a snapshot each: the version that it compares is read after the lock was given."""
    dst = await world.destination(event(1))
    other = await asyncpg.connect(world.resources.dsn)
    await other.execute(f"BEGIN; SELECT pg_advisory_xact_lock({FLUSH_LOCK})")
    posting = asyncio.create_task(world.post(dst, event(2)))
    await waits(world)
    await publish(other, dst, f"map_{1:020d}", {**MAPPING, "custom_data": []}, version=2)
    await other.execute("COMMIT")
    assert statuses(await posting) == ["accepted"]
    await other.close()
    await world.work_until(dst, delivered=2)
    sent = {e["eventId"].split(":")[1]: e for r in world.amazon.requests for e in r.events}
    assert "customData" in sent["ord-1"]
    assert "customData" not in sent["ord-2"]


async def test_an_account_that_may_not_make_the_function_does_without(world: World, dst: str) -> None:
    """It needs the right TEMPORARY on the database, which an administrator may have taken from everybody."""
    [(name, owner)] = await world.fetch("SELECT current_database(), current_user")
    plain = f"plain_{name}"
    await world.fetch(f"CREATE ROLE {plain} IN ROLE pg_read_all_data, pg_write_all_data")
    await world.fetch(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {plain}")
    await world.fetch(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    await world.fetch(f"ALTER ROLE {owner} IN DATABASE {name} SET role = '{plain}'")
    try:
        async with make_world(world.url) as other:
            [may] = await other.fetch("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
            assert may[0] is False
            for turn in range(3):
                assert statuses(await other.post(dst, event(turn))) == ["accepted"]
    finally:
        await world.fetch(f"ALTER ROLE {owner} IN DATABASE {name} RESET role")
        await world.fetch(f"DROP OWNED BY {plain}")
        await world.fetch(f"DROP ROLE {plain}")


_CANNOT_PLAN = """
DO $$
DECLARE types text;
BEGIN
  SELECT pg_get_function_identity_arguments(p.oid) INTO types FROM pg_proc p
  WHERE p.proname = 'store_flush' AND p.pronamespace = pg_my_temp_schema();
  EXECUTE format('CREATE OR REPLACE FUNCTION pg_temp.store_flush(%s) RETURNS boolean LANGUAGE plpgsql AS '
    || quote_literal('BEGIN RAISE ''could not plan'' USING ERRCODE = ''0A000''; END'), types);
END $$
"""


@cases(
    "statement",
    {
        "lost it, as behind a pooler that discards it": "DISCARD TEMP",
        "cannot plan it, as Citus under generic plans": _CANNOT_PLAN,
    },
)
async def test_a_session_without_the_function_writes_in_steps(database_url: str, statement: str) -> None:
    """Every post would be refused for ever otherwise."""
    async with taking_posts(database_url) as (post, fuse):
        assert await post("a") == [True]
        for connection in fuse.connections:
            await connection.execute(statement)
        await post("b")
        assert await post("c") == [False]


async def test_a_flush_whose_cached_plan_became_invalid_is_written_once(world: World) -> None:
    """0A000 inside the transaction, after a schema change: nothing is refused, lost or stored twice."""
    dst = await world.destination(event(1))
    assert statuses(await world.post(dst, event(1))) == ["duplicate"]  # the next flushes go step by step
    await world.fetch("ALTER TABLE destinations ALTER COLUMN version TYPE integer")
    assert statuses(await world.post(dst, event(1), event(2))) == ["duplicate", "accepted"]
    await world.work_until(dst, accepted=2, duplicates=2, delivered=2)


async def test_so_many_posts_as_are_worth_a_flush_do_not_wait_for_more(world: World, dst: str) -> None:
    """Where posts come together a flush waits for more of them, but not for ever more (ADR 0030)."""
    patient = settings_of(world.url).model_copy(update={"flush_wait_ms": 600_000})
    async with open_resources(patient, role="worker", pool_size=2) as resources:
        intake = api.build_ingest(resources, DeploymentRules())
        running = asyncio.create_task(intake.run())
        pipeline = World(resources, world.amazon, intake, world.url)
        async with asyncio.timeout(30):
            await asyncio.gather(*(pipeline.post(dst, event(n)) for n in range(3)))  # they came together
            posting = [
                asyncio.create_task(pipeline.post(dst, event(10 + n))) for n in range(FLUSH_MIN_REQUESTS - 1)
            ]
            while intake.group_commit.queue.requests < FLUSH_MIN_REQUESTS - 1:
                await asyncio.sleep(0)
            assert not any(one.done() for one in posting)
            await pipeline.post(dst, event(1_000))
            await asyncio.gather(*posting)
            intake.close()
            await running


@pytest.mark.parametrize(("requests", "tries"), [(1, 2), (2, 1)])
async def test_a_flush_that_waited_for_a_lock_is_repeated_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, requests: int, tries: int
) -> None:
    """Its callers wait. A group is divided instead."""
    async with make_world(database_url) as world:
        session = world.intake.group_commit.session
        request = await world.evaluated(await world.destination(), event(1))
        register = AsyncMock(side_effect=asyncpg.LockNotAvailableError)
        monkeypatch.setattr(session.writer, "journeys", SimpleNamespace(register=register))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await session.write([request] * requests)
        assert register.await_count == tries


async def test_a_flush_after_a_rotation_meets_the_keys_of_the_new_generation(database_url: str) -> None:
    """A process that has not noticed the rotation must not write into the generation before."""
    async with make_world(database_url) as world, make_world(database_url) as other:
        dst = await world.destination(event(1))
        await world.fetch(
            "WITH next AS (INSERT INTO ledger_generations (generation) "
            "SELECT max(generation) + 1 FROM ledger_generations RETURNING generation) "
            "SELECT create_ledger_partition(generation) FROM next"
        )
        assert statuses(await other.post(dst, event(2))) == ["accepted"]
        assert statuses(await world.post(dst, event(2))) == ["duplicate"]


async def test_a_destination_that_was_created_meanwhile_takes_events(database_url: str) -> None:
    """The process that evaluates them did not know it, and the flush has events of another one too."""
    async with make_world(database_url) as world:
        dst, new = await world.destination(), f"dst_{world.made + 1:020d}"
        await world.post(dst, event(1))
        unknown = await world.post(dst, event(2), event(3, destination_id=new))
        assert statuses(unknown) == ["accepted", "rejected"]
        assert await world.destination() == new
        assert statuses(await world.post(dst, event(4), event(5, destination_id=new))) == ["accepted"] * 2


async def test_a_refused_flush_ends_its_session(world: World) -> None:
    """The state of the session is unknown. The next flush opens another one, and none is left over."""
    dst = await world.destination(event(1))
    before = await own_sessions(world)
    await world.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON batches EXECUTE FUNCTION full_disk()"
    )
    assert (await world.try_post(dst, event(2))) is None
    await world.fetch("DROP TRIGGER full_disk ON batches")
    await world.post(dst, event(2))

    async def is_replaced() -> bool:
        after = await own_sessions(world)
        return len(after) == len(before) and after != before

    await eventually(is_replaced)


async def own_sessions(world: World) -> set[int]:
    rows = await world.fetch(
        "SELECT pid FROM pg_stat_activity "
        "WHERE application_name = 'conversions-own' AND datname = current_database()"
    )
    return {row["pid"] for row in rows}


async def test_a_connection_that_breaks_while_it_is_prepared_is_ended(world: World) -> None:
    connection = Mock(execute=AsyncMock(side_effect=OSError("broken")))
    session = FlushSession(
        connect=AsyncMock(return_value=connection),
        evaluator=None,  # type: ignore[arg-type]
        writer=None,  # type: ignore[arg-type]
        telemetry=world.resources.telemetry,
    )
    with pytest.raises(OSError, match="broken"):
        await session.connection()
    connection.terminate.assert_called_once_with()
    assert not session.terminate()  # there is none


def test_the_rows_of_the_counts_change_in_a_circle() -> None:
    """A number beyond the rows would not fit its column after a few locked rows."""
    writer = CountWriter(7)
    used = []
    for _ in range(2 * WRITERS):
        writer.change_rows()
        used.append(writer.number)
    assert used == [(8 + each) % WRITERS for each in range(2 * WRITERS)]


async def test_a_flush_that_changes_its_rows_leaves_delivery_control_on_its_own(database_url: str) -> None:
    """Else both would meet on the new rows again: a flush could not move away from the other's locks."""
    async with serving(database_url) as service:
        control = service.application.state.context.delivery_control
        ingest = service.world.intake.writer.count_writer
        before = control.writer.number
        assert ingest.number == before
        ingest.change_rows()
        assert (control.writer.number, ingest.number) == (before, (before + 1) % WRITERS)
