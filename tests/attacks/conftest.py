"""One running service for all attacks of a test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.recipes import MAPPING, Target
from tests.databases import Office
from tests.edge.service import Service, running_service
from tests.pipeline.processes import ADMIN


@pytest.fixture(scope="module")
def attacked(
    office: Office, database_names: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Target, Path]]:
    """A service of the module, with one destination and the mapping of the rows.

    Generated requests change it: they disconnect destinations and suspend organisations.
    """
    folder = tmp_path_factory.mktemp("hostile")
    with (
        office.database(next(database_names)) as address,
        running_service(address, folder, 1) as service,
    ):
        caller = service.callers[0]
        mappings = f"/destinations/{caller.destination}/mappings"
        mapping = service.call("POST", mappings, MAPPING)["id"]
        service.call("POST", f"{mappings}/{mapping}/publish")
        yield service, Target(caller.destination, mapping, caller.key, ADMIN), folder / "service.log"
