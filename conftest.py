"""A real Postgres for every test that asks for one, and a guard against processes in fast tests.

pytest's first process starts one throw-away cluster for the run and hands its address to xdist's workers.
"""

import gc
import itertools
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.domain.ids import DEFAULT_ORGANISATION
from app.store.organisations.scope import prepare_engine, scoped_engine
from tests.databases import RUNNING, Office, ThrowawayCluster, connected, share_types
from tests.personal_markers import LogSearch
from tests.process_guard import GUARD, MARK, ProcessGuard

# The same examples in every run, and no limit of their time: on a busy machine an example takes longer.
# `--hypothesis-profile=default` draws other examples.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

# They wait for real time, or take longest in one process.
FIRST_MODULES = (
    "test_campaign",
    "test_foreign_locks",
    "test_loop_time",
    "test_stale_statistics",
    "test_conformance",
    "test_frozen_workers",
    "test_slow_clients",
    "test_incident_kinds",
    "test_readiness",
)

LONGEST_TEST_S = 60.0

LOG_SEARCH = LogSearch()
CLEAR_TEXT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    logging.getLogger("app").addHandler(LOG_SEARCH)
    config.stash[GUARD] = ProcessGuard()
    config.pluginmanager.register(config.stash[GUARD])
    share_types()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[object]:
    """Spare the collector the 250,000 objects of modules and tests, which live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that wait or take long, so that no process runs one alone at the end."""
    slow = {
        item.path for item in items if item.get_closest_marker(MARK) or item.get_closest_marker("campaign")
    }
    items.sort(key=lambda item: (item.path.stem not in FIRST_MODULES, item.path not in slow))


def _running(config: pytest.Config) -> ThrowawayCluster:
    if RUNNING not in config.stash:
        with config.stash[GUARD].suspended():
            config.stash[RUNNING] = ThrowawayCluster()
    return config.stash[RUNNING]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give an xdist worker the address of the cluster."""
    node.workerinput["cluster"] = _running(node.config).address("{}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let no midnight (UTC) pass during a test: figures, partitions and limits are of a day."""
    left = -time.time() % 86_400  # seconds; a day of Unix time is a UTC day
    if left < LONGEST_TEST_S:
        time.sleep(left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test whose log has personal data."""
    yield
    found, LOG_SEARCH.found = LOG_SEARCH.found, set()
    assert not found, f"a log line has {sorted(found)}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that has stored personal data in clear, in whatever row of whatever test."""
    if RUNNING not in session.config.stash:
        return
    search = session.config.stash[RUNNING].search
    search.close()
    if search.found or not search.saw_control:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[CLEAR_TEXT] = f"{sorted(search.found)[:20]}, control: {search.saw_control}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if CLEAR_TEXT in config.stash:
        terminalreporter.section("personal data in the write-ahead log of the tests", red=True, bold=True)
        terminalreporter.line(config.stash[CLEAR_TEXT])


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNNING in config.stash:
        config.stash[RUNNING].close()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> str:
    """The address of the cluster, with `{}` where the name of a database belongs."""
    worker = getattr(request.config, "workerinput", None)
    return str(worker["cluster"]) if worker else _running(request.config).address("{}")


@pytest.fixture(scope="session")
def office(cluster: str) -> Office:
    """Who creates databases in the cluster."""
    return Office(cluster)


@pytest.fixture(scope="session")
def database_names(worker_id: str) -> Iterator[str]:
    """Names that no other test of this run uses."""
    return (f"test_{worker_id}_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def read_only_database_url(office: Office, database_names: Iterator[str]) -> Iterator[str]:
    """The address of a migrated, empty database that refuses every change."""
    name = next(database_names)
    with office.database(name) as address:
        office.refuse_changes(name)
        yield address


@pytest.fixture
def database_url(
    request: pytest.FixtureRequest, office: Office, database_names: Iterator[str]
) -> Iterator[str]:
    """The address of a migrated database of the test's own, or of the shared one (mark `reads_only`)."""
    if request.node.get_closest_marker("reads_only"):
        yield request.getfixturevalue("read_only_database_url")
        return
    with office.database(next(database_names)) as address:
        yield address


@pytest.fixture
def empty_database_url(office: Office, database_names: Iterator[str]) -> Iterator[str]:
    """The address of a database without any table, for tests of the migrations themselves."""
    with office.database(next(database_names), template=None) as address:
        yield address


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of the owner of the tables."""
    async with connected(database_url) as connection:
        yield connection


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's own database, for the organisation `default`."""
    made = create_async_engine(database_url)
    prepare_engine(made)
    yield scoped_engine(made, DEFAULT_ORGANISATION)
    await made.dispose()
