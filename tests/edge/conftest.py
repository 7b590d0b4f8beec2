"""One running service for all edge tests of a test process."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.conftest import TEMPLATE, _execute
from tests.edge.service import Service, running_service

CALLERS = 16


@pytest.fixture(scope="session")
def edge_database(cluster: str, database_names: Iterator[str]) -> Iterator[str]:
    """The address of a migrated database that the edge tests share."""
    name, office = next(database_names), cluster.format("postgres")
    asyncio.run(_execute(office, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"))
    yield cluster.format(name)
    asyncio.run(_execute(office, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def service(edge_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API process with callers that have a key and a destination each."""
    with running_service(edge_database, tmp_path_factory.mktemp("edge"), CALLERS) as running:
        yield running
