"""The fixtures of a broken copy's tests: databases on the cluster of the run that made the copy."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

ADDRESS = "CHAOS_CLUSTER"
TEMPLATE = "migrated"


@pytest_asyncio.fixture
async def database_url() -> AsyncIterator[str]:
    """The address of a fresh, migrated database of the test's own."""
    address = os.environ[ADDRESS]
    name = f"broken_{os.getpid()}_{id(address)}"
    await _execute(address, f"DROP DATABASE IF EXISTS {name}")
    await _execute(address, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield address.format(name)
    await _execute(address, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(address: str, statement: str) -> None:
    connection = await asyncpg.connect(address.format("postgres").replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
