"""One running service for all attacks of a test process."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.recipes import MAPPING, Target
from tests.conftest import TEMPLATE, _execute
from tests.edge.service import Service, running_service
from tests.pipeline.processes import ADMIN


@pytest.fixture(scope="module")
def attacked(
    cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Target, Path]]:
    """A service of the module, with one destination and the mapping of the rows.

    Generated requests change it: they disconnect destinations and suspend organisations.
    """
    name, office = f"hostile_{os.getpid()}", cluster.format("postgres")
    asyncio.run(_execute(office, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"))
    folder = tmp_path_factory.mktemp("hostile")
    with running_service(cluster.format(name), folder, 1) as service:
        caller = service.callers[0]
        mappings = f"/destinations/{caller.destination}/mappings"
        mapping = service.call("POST", mappings, MAPPING)["id"]
        service.call("POST", f"{mappings}/{mapping}/publish")
        yield service, Target(caller.destination, mapping, caller.key, ADMIN), folder / "service.log"
    asyncio.run(_execute(office, f"DROP DATABASE {name} WITH (FORCE)"))
