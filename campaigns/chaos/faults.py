"""Faults: each breaks one thing of a scene for as long as its context lasts, or once, as a kill does.

These are of processes and of the database. `actions.py` names the faults that schedules draw,
`single_fault_rows.py` those that are played alone.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Concatenate, ParamSpec

import asyncpg

from campaigns.chaos.scene import Scene
from campaigns.chaos.stage import Process
from dev.postgres.postmaster import PidFile

Fault = Callable[[Scene], AbstractAsyncContextManager[None]]
Find = Callable[[Scene], Awaitable[Sequence[int]]]
P = ParamSpec("P")

CATCH_S = 20.0
UNDER_WAY_S = 1.0  # a frozen worker may still get lanes by a statement that it has sent
# Returns the pid of a session of the service, as soon as one matches.
_CATCHER = """
    CREATE OR REPLACE FUNCTION pg_temp.catch(pattern text, state_wanted text, application text)
    RETURNS integer LANGUAGE plpgsql AS $$
    DECLARE found integer;
    BEGIN
      FOR n IN 1..6000 LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT pid INTO found FROM pg_stat_activity WHERE application_name LIKE application
          AND query ILIKE pattern AND state LIKE state_wanted AND datname = current_database() LIMIT 1;
        EXIT WHEN found IS NOT NULL;
        PERFORM pg_sleep(0.003);
      END LOOP;
      RETURN found;
    END $$
"""
_BACKENDS = (
    "FROM pg_stat_activity WHERE application_name LIKE 'conversions%' AND datname = current_database()"
)


def once(act: Callable[[Scene], Awaitable[None]]) -> Fault:
    """Return what is over at once as a fault."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        await act(scene)
        yield

    return fault


def lasting(steps: Callable[Concatenate[Scene, P], AsyncIterator[None]]) -> Callable[P, Fault]:
    """Make a fault with arguments of a function that yields while the fault lasts."""
    context = asynccontextmanager(steps)

    def given(*arguments: P.args, **options: P.kwargs) -> Fault:
        return lambda scene: context(scene, *arguments, **options)

    return given


def instant(act: Callable[Concatenate[Scene, P], Awaitable[None]]) -> Callable[P, Fault]:
    """Make a fault with arguments of what is over at once."""

    def given(*arguments: P.args, **options: P.kwargs) -> Fault:
        return once(lambda scene: act(scene, *arguments, **options))

    return given


# -- Processes -----------------------------------------------------------------------------------


def process(group: str, which: int = 0) -> Find:
    """Find one of the `apis` or `workers`."""

    async def find(scene: Scene) -> Sequence[int]:
        members: list[Process] = getattr(scene.stage, group)
        member = members[which % len(members)]
        return [member.running.pid] if member.running is not None and member.alive else []

    return find


def backend(which: int) -> Find:
    """Find a server process of Postgres that serves the product."""

    async def find(scene: Scene) -> Sequence[int]:
        rows = await scene.stage.ask(f"SELECT pid {_BACKENDS} ORDER BY pid")
        return [rows[which % len(rows)]["pid"]] if rows else []

    return find


async def postmaster(scene: Scene) -> Sequence[int]:
    """Find the postmaster. Its backends notice its death, and the watcher starts it again."""
    found = PidFile.of(scene.stage.folder / "cluster" / "postgres")
    return [] if found is None else [found.pid]


def session(pattern: str, *, state: str = "%", application: str = "conversions%") -> Find:
    """Find the server process of a session of the service that runs a statement."""

    async def find(scene: Scene) -> Sequence[int]:
        async with scene.stage.office() as connection:
            await connection.execute(_CATCHER)
            pid: int | None = await connection.fetchval(
                "SELECT pg_temp.catch($1, $2, $3)", pattern, state, application, timeout=2 * CATCH_S
            )
        assert pid is not None, f"no session of the service runs {pattern}"
        return [pid]

    return find


async def lease_session(scene: Scene) -> Sequence[int]:
    """Find the server process of the session that holds the locks of a worker's lanes."""
    rows = await scene.stage.ask(
        "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND classid::int8 = 7311"
    )
    return [rows[0]["pid"]]


@lasting
async def signalled(
    scene: Scene, find: Find, number: int = signal.SIGSTOP, *, erases: bool = False
) -> AsyncIterator[None]:
    """Processes get a signal. Those that are stopped continue in the end; `erases` a person meanwhile."""
    pids = await find(scene)
    send(pids, number)
    try:
        if erases:
            scene.erase(f"person-{random.random()}@example.com")
        yield
    finally:
        if number == signal.SIGSTOP:
            send(pids, signal.SIGCONT)


def send(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@instant
async def frozen(scene: Scene, group: str, which: int = 0) -> None:
    """One of the `apis` or `workers` stops until the stage is healed. The watcher starts no other one."""
    members: list[Process] = getattr(scene.stage, group)
    member = members[which % len(members)]
    scene.stage.freeze(member)
    if group == "workers":
        await asyncio.sleep(UNDER_WAY_S)
        scene.touched |= await scene.stage.lanes_of(member)


@asynccontextmanager
async def frozen_in_transaction(scene: Scene) -> AsyncIterator[None]:
    """The only worker stops within a transaction, and a person is erased."""
    worker = scene.stage.workers[0]
    find = session("%", state="idle in transaction", application="conversions-worker")
    for _ in range(60):
        (pid,) = await find(scene)
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        rows = await scene.stage.ask("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
        if rows and rows[0]["state"] == "idle in transaction":
            break
        worker.signal(signal.SIGCONT)
    else:
        raise AssertionError("the worker was never caught within a transaction")
    scene.stage.freeze(worker)
    scene.erase(f"person-{random.random()}@example.com")
    yield


@asynccontextmanager
async def crash_loop(scene: Scene) -> AsyncIterator[None]:
    """A worker is killed as soon as it has worked for three seconds, again and again."""

    async def kill() -> None:
        while True:
            await asyncio.sleep(3)
            scene.stage.workers[0].signal(signal.SIGKILL)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()


# -- Sessions, locks and rows of the database ----------------------------------------------------


async def end_backends(scene: Scene) -> None:
    """End every session of the product."""
    await scene.stage.ask(f"SELECT pg_terminate_backend(pid) {_BACKENDS}")


async def drop_flush_functions(scene: Scene) -> None:
    """Drop the function of every session that flushes, as a pooler does that discards sessions."""
    functions = await scene.stage.ask(
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname LIKE 'pg\\_temp\\_%'"
    )
    for function in functions:
        with contextlib.suppress(asyncpg.PostgresError):  # the session has just ended
            await scene.stage.ask(f"DROP FUNCTION {function['name']}")


@lasting
async def holding(scene: Scene, *statements: str, erases: bool = False) -> AsyncIterator[None]:
    """Another session holds what these statements lock; with `erases`, a person is erased meanwhile."""
    async with scene.stage.office() as connection:
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        if erases:
            scene.erase(f"person-{random.random()}@example.com")
        yield


@lasting
async def holding_rows(scene: Scene, statement: str, *, erases: bool = False) -> AsyncIterator[None]:
    """Another session holds rows of the first destination, whose number stands for `{}`."""
    (victim,) = scene.touch(1)
    number = f"(SELECT number FROM destinations WHERE id = '{victim.number}')"
    async with holding(statement.format(number), erases=erases)(scene):
        yield


@lasting
async def partitions_dropped(scene: Scene, *tables: str, after: int, reader: bool) -> AsyncIterator[None]:
    """The partitions of days later than `after` days from now are missing, and a report reads `batches`."""
    for table in tables:
        rows = await scene.stage.ask(
            "SELECT name FROM (SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = $1::text::regclass) partitions WHERE name ~ '_[0-9]{8}$' "
            "AND right(name, 8) > to_char((now() AT TIME ZONE 'UTC')::date + $2::int, 'YYYYMMDD')",
            table,
            after,
        )
        for row in rows:
            await scene.stage.ask(f"DROP TABLE {row['name']}")
    async with contextlib.AsyncExitStack() as stack:
        if reader:
            await stack.enter_async_context(holding("SELECT FROM batches LIMIT 1")(scene))
            # A worker that starts creates missing partitions at once.
            scene.stage.workers[0].signal(signal.SIGKILL)
        yield


@asynccontextmanager
async def sequences_exhausted(scene: Scene) -> AsyncIterator[None]:
    """`batch_ids` and `attempt_ids` are at the end of their range."""
    names = ("batch_ids", "attempt_ids")
    before = {
        name: (await scene.stage.ask(f"SELECT last_value FROM {name}"))[0]["last_value"] for name in names
    }
    for name in names:
        await scene.stage.ask(f"SELECT setval('{name}', 9223372036854775807)")
    try:
        yield
    finally:
        for name in names:
            await scene.stage.ask(f"SELECT setval('{name}', $1)", before[name] + 100_000)


@asynccontextmanager
async def connections_used_up(scene: Scene) -> AsyncIterator[None]:
    """All connections of Postgres are in use, and a worker is killed."""
    dsn = scene.stage.cluster.url.replace("+asyncpg", "")
    opened: list[asyncpg.Connection] = []
    try:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                opened.append(await asyncpg.connect(dsn))
        # The judge needs one.
        opened.pop().terminate()
        scene.stage.workers[0].signal(signal.SIGKILL)
        yield
    finally:
        for connection in opened:
            connection.terminate()


@lasting
async def setting(scene: Scene, name: str, value: str) -> AsyncIterator[None]:
    """Postgres has another setting."""
    await scene.stage.ask(f"ALTER SYSTEM SET {name} = '{value}'")
    await scene.stage.ask("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        async with scene.stage.office() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER SYSTEM RESET {name}")
            await connection.execute("SELECT pg_reload_conf()")


@instant
async def restarts(scene: Scene, *, kills: bool) -> None:
    """Postgres restarts three times."""
    for _ in range(3):
        if kills:
            send(await postmaster(scene), signal.SIGKILL)
        else:
            async with scene.stage.postgres_turn:
                await asyncio.to_thread(scene.stage.cluster.stop)
                await asyncio.to_thread(scene.stage.cluster.start)
        await asyncio.sleep(4)


@asynccontextmanager
async def misplaced_batch(scene: Scene) -> AsyncIterator[None]:
    """The state of a waiting batch names the destination of another advertiser."""
    (victim,) = scene.touch(1)
    await scene.operator.ask("POST", f"{victim.path}/pause")
    await scene.caller.send(
        [f"misplaced-{n}" for n in range(20)], victim.number, asyncio.get_running_loop().time() + 30
    )
    await scene.stage.ask(
        "UPDATE batch_states SET destination = (SELECT number FROM destinations WHERE id = $2) "
        "WHERE settled_at IS NULL AND destination = (SELECT number FROM destinations WHERE id = $1)",
        victim.number,
        scene.destinations[1].number,
    )
    await scene.operator.ask("POST", f"{victim.path}/resume")
    yield


@instant
async def erasures(scene: Scene, number: int, *, posts: int) -> None:
    """Many persons are erased while many events are stored."""
    (stored,) = scene.touch(1)
    until = asyncio.get_running_loop().time() + 120
    for post in range(posts):
        await scene.caller.send([f"stored-{post}-{n}" for n in range(500)], stored.number, until)
    for person in range(number):
        scene.erase(f"person-{person}@example.com")
        await asyncio.sleep(0.02)
