"""Pytest plugin of a build's test process: the broken module, and databases on the cluster of the run."""

import os
import sys
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.builds import BROKEN, BUILD, CLUSTER, faulty_module

if BUILD in os.environ:
    sys.meta_path.insert(0, faulty_module(BROKEN[os.environ[BUILD]]))


@pytest_asyncio.fixture
async def database_url() -> AsyncIterator[str]:
    """The address of a fresh, migrated database of the test's own."""
    from tests.databases import create_database, drop_database  # imports modules that a build may break

    cluster, name = os.environ[CLUSTER], f"broken_{os.getpid()}"
    yield await create_database(cluster, name)
    await drop_database(cluster, name)
