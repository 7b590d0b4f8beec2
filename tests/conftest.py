"""A real Postgres for every test that asks for one.

One throw-away cluster serves the whole run: pytest's first process starts it and hands its address to
xdist's workers. The migrations run once, into a template; each test gets a copy of it (about 30 ms).
`TEST_POSTGRES_BIN` runs the same tests on another installation's programs.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.domain.ids import DEFAULT_ORGANISATION
from app.store.migrate import upgrade
from app.store.organisation_scope import prepare_engine, scoped_engine
from app.store.privileges import RoleNames, creation
from dev.postgres.cluster import THROWAWAY, Cluster, EmbeddedError

TEMPLATE = "migrated"
# Roles of the whole cluster; the template holds what `migrate` grants them.
ROLES = RoleNames("test_api", "test_worker")
PASSWORD = "of-the-tests"
FOLDERS = "conversions-tests-"
YOUNG = 120  # seconds
RUNNING = pytest.StashKey["ThrowawayCluster"]()


class ThrowawayCluster:
    """A cluster that forgets: deleted at the end of the run, or swept up by the next."""

    def __init__(self) -> None:
        self.sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDERS))
        # Older versions of Postgres, run for root by another account, look at the folders above them.
        self.folder.chmod(0o755)
        chosen = os.environ.get("TEST_POSTGRES_BIN")
        self._cluster = Cluster(self.folder, Path(chosen) if chosen else None, settings=THROWAWAY)
        self._cluster.start()
        asyncio.run(_execute(self.address("postgres"), f"CREATE DATABASE {TEMPLATE}"))
        for role in ROLES.distinct:
            asyncio.run(_execute(self.address("postgres"), f"{creation(role)} PASSWORD '{PASSWORD}'"))
        upgrade(self.address(TEMPLATE), roles=ROLES)

    def address(self, database: str) -> str:
        return self._cluster.url_of(database)

    def close(self) -> None:
        self._cluster.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def sweep() -> None:
        """End clusters of runs that were killed: nobody holds their lock any more."""
        for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
            try:
                if time.time() - folder.stat().st_ctime < YOUNG:
                    continue  # perhaps another run is just making it
                left_over = Cluster(folder, settings=THROWAWAY, lock_timeout=0)
                if (folder / "postgres" / "postmaster.pid").exists():
                    left_over.start()
                    left_over.stop()
            except (EmbeddedError, OSError):
                continue
            shutil.rmtree(folder, ignore_errors=True)


async def _execute(address: str, *statements: str) -> None:
    connection = await asyncpg.connect(address.replace("+asyncpg", ""))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _running(config: pytest.Config) -> ThrowawayCluster:
    if RUNNING not in config.stash:
        config.stash[RUNNING] = ThrowawayCluster()
    return config.stash[RUNNING]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: tell a worker where the cluster listens."""
    node.workerinput["cluster"] = _running(node.config).address("{}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNNING in config.stash:
        config.stash[RUNNING].close()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> str:
    """The address of the cluster, with `{}` where the name of a database belongs."""
    worker = getattr(request.config, "workerinput", None)
    return str(worker["cluster"]) if worker else _running(request.config).address("{}")


@pytest.fixture(scope="session")
def database_names(worker_id: str) -> Iterator[str]:
    """Names that no other test of this run uses."""
    return (f"test_{worker_id}_{number}" for number in itertools.count())


@pytest_asyncio.fixture
async def database_url(cluster: str, database_names: Iterator[str]) -> AsyncIterator[str]:
    """The address of a fresh, migrated database of the test's own."""
    name, office = next(database_names), cluster.format("postgres")
    await _execute(office, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield cluster.format(name)
    await _execute(office, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def empty_database_url(cluster: str, database_names: Iterator[str]) -> AsyncIterator[str]:
    """The address of a database without any table, for tests of the migrations themselves."""
    name, office = next(database_names), cluster.format("postgres")
    await _execute(office, f"CREATE DATABASE {name}")
    yield cluster.format(name)
    await _execute(office, f"DROP DATABASE {name} WITH (FORCE)")


def acting_as(url: str, role: str | None) -> str:
    """Return the address by which one of ROLES reaches a database."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:{PASSWORD}@{rest.partition('@')[2]}"


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's own database, for the organisation `default`."""
    made = create_async_engine(database_url)
    prepare_engine(made)
    yield scoped_engine(made, DEFAULT_ORGANISATION)
    await made.dispose()
