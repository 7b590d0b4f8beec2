"""A world for each test: the application on the test's own database."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.api.world import World, make_world
from tests.conftest import ROLES


@pytest_asyncio.fixture
async def world(engine: AsyncEngine, database_url: str) -> AsyncIterator[World]:
    """The web, assembled, with Amazon and the road played by fakes; the database role is the API's."""
    limited = create_async_engine(
        database_url, connect_args={"server_settings": {"role": ROLES.api or ""}}, hide_parameters=True
    )
    made = make_world(engine, limited)
    yield made
    await made.client.aclose()
    await limited.dispose()
