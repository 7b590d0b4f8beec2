"""The throw-away Postgres of a run, and databases on it.

The migrations run once, into a template; each test gets a copy of it. In memory a copy costs 20 ms of CPU.
`TEST_POSTGRES_BIN` runs the same tests on another installation's programs.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.store.database.migrate import upgrade
from app.store.database.privileges import RoleNames, creation
from dev.postgres.cluster import THROWAWAY, Cluster, EmbeddedError
from tests.personal_markers import CONTROL, WalSearch

TEMPLATE = "migrated"
# Roles of the whole cluster; the template holds what `migrate` grants them.
ROLES = RoleNames("test_api", "test_worker", "test_backup")
PASSWORD = "of-the-tests"
FOLDERS = "conversions-tests-"
YOUNG = 120  # seconds
# Sessions and locks are of the whole cluster: without these, a test sees and ends those of another worker's.
SESSIONS_HERE = "pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
WAITING_LOCKS = f"SELECT 1 FROM pg_locks WHERE NOT granted AND {SESSIONS_HERE}"
# So that only the test itself brings statistics up to date.
WITHOUT_AUTOVACUUM = """
    DO $$ DECLARE name text; BEGIN
      FOR name IN SELECT oid::regclass::text FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      LOOP EXECUTE 'ALTER TABLE ' || name || ' SET (autovacuum_enabled = off)'; END LOOP; END $$
"""
# The pages of tables and indexes that this transaction has read so far.
PAGES_READ = """
    SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = current_schema()::regnamespace
"""
MEMORY, ROOM = Path("/dev/shm"), 2 << 30
RUNNING = pytest.StashKey["ThrowawayCluster"]()
_COPIES: set[str] = set()  # databases of this process that are copies of the template
_TYPES: dict[frozenset[int], Any] = {}


class ThrowawayCluster:
    """A cluster that forgets: deleted at the end of the run, or swept up by the next."""

    def __init__(self) -> None:
        self.delete_left_over()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDERS, dir=_memory()))
        # Older versions of Postgres, run for root by another account, look at the folders above them.
        self.folder.chmod(0o755)
        chosen = os.environ.get("TEST_POSTGRES_BIN")
        # Segments stay until `search` has read them.
        settings = {**THROWAWAY, "wal_keep_size": "512MB"}
        self._cluster = Cluster(self.folder, Path(chosen) if chosen else None, settings=settings)
        self._cluster.start()
        self.search = WalSearch(self.folder / "postgres" / "pg_wal")
        self.search.start()
        asyncio.run(self._create_template())
        upgrade(self.address(TEMPLATE), roles=ROLES)

    async def _create_template(self) -> None:
        """Create it and ROLES. A password is hashed once, not 4,096 times: a run logs in very often."""
        connection = await asyncpg.connect(self.address("postgres").replace("+asyncpg", ""))
        try:
            if connection.get_server_version().major >= 16:
                await connection.execute("SET scram_iterations = 1")
                own = urlsplit(self.address("postgres"))
                await connection.execute(f"ALTER ROLE {own.username} PASSWORD '{own.password}'")
            await connection.execute(f"CREATE TABLE control AS SELECT '{CONTROL}' AS word")
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")
            for role in ROLES.distinct:
                await connection.execute(
                    f"{creation(role, replicates=role == ROLES.backup)} PASSWORD '{PASSWORD}'"
                )
        finally:
            await connection.close()

    def address(self, database: str) -> str:
        return self._cluster.url_of(database)

    def close(self) -> None:
        self._cluster.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def delete_left_over() -> None:
        """End clusters of runs that were killed: no process holds their lock any more."""
        for folder in (*MEMORY.glob(f"{FOLDERS}*"), *Path(tempfile.gettempdir()).glob(f"{FOLDERS}*")):
            try:
                if time.time() - folder.stat().st_ctime < YOUNG:
                    continue  # perhaps another run is just creating it
                left_over = Cluster(folder, settings=THROWAWAY, lock_timeout=0)
                if (folder / "postgres" / "postmaster.pid").exists():
                    left_over.start()
                    left_over.stop()
            except (EmbeddedError, OSError):
                continue
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Start a cluster, and stop it at the end."""
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def _memory() -> Path | None:
    """Return a folder in memory if there is room, else None. On a disk a copy costs ten times as much."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return MEMORY if has_room else None


def acting_as(url: str, role: str | None) -> str:
    """Return the address by which one of ROLES reaches a database."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:{PASSWORD}@{rest.partition('@')[2]}"


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """Open a session on a database during the block."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), **options)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> list[asyncpg.Record]:
    """Execute statements in a session of their own; return the rows of the last one."""
    async with connected(url) as connection:
        for statement in statements:
            rows = await connection.fetch(statement)
    return list(rows)


class Office:
    """Creates and drops databases over one connection, in a thread: a test's loop ends with the test."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection | None = None
        Thread(target=self._loop.run_forever, daemon=True, name="databases").start()

    def _execute(self, statement: str) -> None:
        asyncio.run_coroutine_threadsafe(self._executed(statement), self._loop).result()

    async def _executed(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():
            address = self._cluster.format("postgres").replace("+asyncpg", "")
            self._connection = await asyncpg.connect(address)
        await self._connection.execute(statement)

    def refuse_changes(self, name: str) -> None:
        """Let every later transaction fail at its first change of a row, a sequence or a table."""
        self._execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    @contextmanager
    def database(self, name: str, *, template: str | None = TEMPLATE) -> Iterator[str]:
        """Lend a database, migrated unless `template` is None; yields its address."""
        copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
        self._execute(f"CREATE DATABASE {name}{copied}")
        if template == TEMPLATE:
            _COPIES.add(name)
        try:
            yield self._cluster.format(name)
        finally:
            _COPIES.discard(name)
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def own_cluster(base: Mapping[str, str] = THROWAWAY, **settings: str) -> Iterator[Cluster]:
    """Run a migrated server of the caller's own, which no other test loses when it is stopped or damaged."""
    folder = Path(tempfile.mkdtemp(prefix="conversions-own-"))
    folder.chmod(0o755)
    with running(Cluster(folder, settings={**base, **settings})) as cluster:
        upgrade(cluster.url)
        yield cluster
    shutil.rmtree(folder, ignore_errors=True)


def share_types() -> None:
    """Let connections to copies of the template share what asyncpg reads about types.

    It reads them again on every connection, by three statements that take a seventh of Postgres' time in
    the tests. A copy has the types of the template by the same numbers; a type that a test creates has a
    new number.
    """
    read = asyncpg.Connection._introspect_types

    async def shared(self: Any, numbers: set[int], timeout: float | None) -> tuple[Any, Any]:
        if self._params.database not in _COPIES:
            return await read(self, numbers, timeout)
        key = frozenset(numbers)
        if key not in _TYPES:
            _TYPES[key] = (await read(self, numbers, timeout))[0]
        # A statement with a name: asyncpg prepares its own again after one without.
        return _TYPES[key], SimpleNamespace(name="shared")

    asyncpg.Connection._introspect_types = shared
