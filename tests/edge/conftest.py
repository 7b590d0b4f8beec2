"""One running service for all edge tests of a test process."""

from collections.abc import Iterator

import pytest

from tests.databases import Office
from tests.edge.service import Service, running_service

CALLERS = 16


@pytest.fixture(scope="session")
def edge_database(office: Office, database_names: Iterator[str]) -> Iterator[str]:
    """The address of a migrated database that the edge tests share."""
    with office.database(next(database_names)) as address:
        yield address


@pytest.fixture(scope="session")
def service(edge_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API process with callers that have a key and a destination each."""
    with running_service(edge_database, tmp_path_factory.mktemp("edge"), CALLERS) as running:
        yield running
