"""Pytest plugin of a build's test process: the broken module, and databases on the cluster of the run."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.crashes.builds import BROKEN, BUILD, CLUSTER, faulty_module

if BUILD in os.environ:
    sys.meta_path.insert(0, faulty_module(BROKEN[os.environ[BUILD]]))


@pytest.fixture
def database_url() -> Iterator[str]:
    """The address of a fresh, migrated database of the test's own."""
    from tests.databases import Office  # imports modules that a build may break

    with Office(os.environ[CLUSTER]).database(f"broken_{os.getpid()}") as address:
        yield address
