"""The faults of `./run campaign single-faults`: each breaks one thing for as long as its context lasts."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.caller import Caller
from campaigns.chaos.stage import Installation, Process

CATCH_S = 20.0
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


@dataclass
class Scene:
    """What a fault may break. `touched` are the advertisers that it breaks on purpose."""

    stage: Installation
    operator: Administrator
    caller: Caller
    destinations: list[Destination]
    touched: set[str] = field(default_factory=set)
    erasures: list[str] = field(default_factory=list)
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    def touch(self, number: int) -> list[Destination]:
        """Choose the first destinations to be broken."""
        chosen = self.destinations[:number]
        self.touched |= {each.advertiser for each in chosen}
        return chosen

    def erase(self) -> None:
        """Request the erasure of a person, without a wait for the answer."""

        async def request() -> None:
            email = f"person-{len(self.erasures)}-{random.random()}@example.com"
            answer = await self.operator.ask("POST", "/subjects/erase", json={"email": email}, patience=150)
            self.erasures.append(answer.json()["id"])

        self.tasks.append(asyncio.create_task(request()))

    async def catch(self, pattern: str, *, state: str = "%", application: str = "conversions%") -> int:
        """Return the pid of the server process of a session that matches."""
        async with self.stage.office() as connection:
            await connection.execute(_CATCHER)
            pid: int | None = await connection.fetchval(
                "SELECT pg_temp.catch($1, $2, $3)", pattern, state, application, timeout=2 * CATCH_S
            )
        assert pid is not None, f"no session of the service runs {pattern}"
        return pid


Fault = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _transaction(scene: Scene, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold what these statements lock."""
    async with scene.stage.office() as connection:
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        yield connection


@contextlib.contextmanager
def _stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def holding(*statements: str, erases: bool = False) -> Fault:
    """Another session holds what these statements lock; with `erases`, a person is erased meanwhile."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        async with _transaction(scene, *statements):
            if erases:
                scene.erase()
            yield

    return fault


def holding_rows(statement: str, *, erases: bool = False) -> Fault:
    """Another session holds rows of the first destination, whose number stands for `{}`."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        (victim,) = scene.touch(1)
        number = f"(SELECT number FROM destinations WHERE id = '{victim.number}')"
        async with holding(statement.format(number), erases=erases)(scene):
            yield

    return fault


def frozen_session(
    pattern: str, *, state: str = "%", application: str = "conversions%", erases: bool = False
) -> Fault:
    """The server process of one session of the service stops."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        with _stopped(await scene.catch(pattern, state=state, application=application)):
            if erases:
                scene.erase()
            yield

    return fault


@asynccontextmanager
async def frozen_lease_session(scene: Scene) -> AsyncIterator[None]:
    """The server process of the session that holds the locks of a worker's lanes stops."""
    rows = await scene.stage.ask(
        "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND classid::int8 = 7311"
    )
    with _stopped(rows[0]["pid"]):
        yield


@asynccontextmanager
async def frozen_worker(scene: Scene) -> AsyncIterator[None]:
    """A worker stops."""
    process = scene.stage.workers[0]
    scene.touched |= await scene.stage.lanes_of(process)
    scene.stage.freeze(process)
    yield


@asynccontextmanager
async def frozen_in_transaction(scene: Scene) -> AsyncIterator[None]:
    """The only worker stops within a transaction, and a person is erased."""
    process = scene.stage.workers[0]
    for _ in range(60):
        pid = await scene.catch("%", state="idle in transaction", application="conversions-worker")
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        rows = await scene.stage.ask("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
        if rows and rows[0]["state"] == "idle in transaction":
            break
        process.signal(signal.SIGCONT)
    else:
        raise AssertionError("the worker was never caught within a transaction")
    scene.stage.freeze(process)
    scene.erase()
    yield


def of_amazon(*faults: Mapping[str, Any], touched: int | None) -> Fault:
    """Amazon has faults for the first destinations, or with None for all."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        targets = ["*"] if touched is None else [each.advertiser for each in scene.touch(touched)]
        for target in targets:
            await scene.operator.faults(target, [dict(each) for each in faults])
        try:
            yield
        finally:
            for target in targets:
                await scene.operator.faults(target, [])

    return fault


def without_tokens(fault_of_tokens: Mapping[str, Any]) -> Fault:
    """All access tokens have expired, and the token endpoint has a fault."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        async with of_amazon(fault_of_tokens, touched=None)(scene):
            await scene.stage.ask("UPDATE sign_ins SET access_until = now() - interval '1 second'")
            yield

    return fault


def network(
    *, amazon: bool = False, open_only: bool = False, latency: float = 0.0, worker: int | None = None
) -> Fault:
    """The network to Amazon or to Postgres is silent, or late; with `worker`, for that worker alone."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        stage = scene.stage
        proxies = [stage.to_amazon] if amazon else list(stage.to_database.values())
        clients = None if worker is None else _ports(stage.workers[worker])
        for proxy in proxies:
            if latency:
                proxy.latency = latency
            elif open_only or clients is not None:
                proxy.stall_open(clients)
            else:
                proxy.stall()
        try:
            yield
        finally:
            for proxy in proxies:
                proxy.heal()

    return fault


def _ports(process: Process) -> set[int]:
    """Return the local ports of a process's connections."""
    assert process.running is not None
    folder = f"/proc/{process.running.pid}"
    inodes = set()
    for name in os.listdir(f"{folder}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"{folder}/fd/{name}")
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    with open(f"{folder}/net/tcp") as table:
        rows = [line.split() for line in table.read().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}


def partitions_dropped(*tables: str, after: int, reader: bool) -> Fault:
    """The partitions of days later than `after` days from now are missing, and a report reads `batches`."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
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
                await stack.enter_async_context(_transaction(scene, "SELECT FROM batches LIMIT 1"))
                # A worker that starts creates missing partitions at once.
                scene.stage.workers[0].signal(signal.SIGKILL)
            yield

    return fault


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


def restarts(*, kills: bool) -> Fault:
    """Postgres restarts three times."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        for _ in range(3):
            if kills:
                await scene.stage.kill_postmaster()
            else:
                async with scene.stage.postgres_turn:
                    await asyncio.to_thread(scene.stage.cluster.stop)
                    await asyncio.to_thread(scene.stage.cluster.start)
            await asyncio.sleep(4)
        yield

    return fault


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


def erasures(number: int, *, posts: int) -> Fault:
    """Many persons are erased while many events are stored."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        (stored,) = scene.touch(1)
        until = asyncio.get_running_loop().time() + 120
        for post in range(posts):
            await scene.caller.send([f"stored-{post}-{n}" for n in range(500)], stored.number, until)
        for _ in range(number):
            scene.erase()
            await asyncio.sleep(0.02)
        yield

    return fault


@asynccontextmanager
async def missing_standby(scene: Scene) -> AsyncIterator[None]:
    """The configured synchronous standby is gone, so that no commit ends."""
    setting = "ALTER SYSTEM SET synchronous_standby_names = 'gone'"
    await scene.stage.ask(setting)
    await scene.stage.ask("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        await scene.stage.ask("ALTER SYSTEM RESET synchronous_standby_names")
        await scene.stage.ask("SELECT pg_reload_conf()")


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
