"""One running service for all edge tests of a test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Office
from tests.edge.hostile_inputs import MAPPING, Target
from tests.edge.service import EdgeService, running_service
from tests.pipeline.processes import ADMIN

CALLERS = 16


@pytest.fixture(scope="session")
def edge_database(office: Office, database_names: Iterator[str]) -> Iterator[str]:
    """The address of a migrated database that the edge tests share."""
    with office.database(next(database_names)) as address:
        yield address


@pytest.fixture(scope="session")
def service(edge_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeService]:
    """An API process with callers that have a key and a destination each."""
    with running_service(edge_database, tmp_path_factory.mktemp("edge"), CALLERS) as running:
        yield running


@pytest.fixture(scope="module")
def attacked(
    office: Office, database_names: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EdgeService, Target, Path]]:
    """A service of the module, with one destination and the mapping of the rows.

    Generated requests change it: they disconnect destinations and suspend organisations.
    """
    folder = tmp_path_factory.mktemp("hostile")
    with office.database(next(database_names)) as address, running_service(address, folder, 1) as service:
        caller = service.callers[0]
        mappings = f"/destinations/{caller.destination}/mappings"
        mapping = service.call("POST", mappings, MAPPING)["id"]
        service.call("POST", f"{mappings}/{mapping}/publish")
        yield service, Target(caller.destination, mapping, caller.key, ADMIN), folder / "service.log"
