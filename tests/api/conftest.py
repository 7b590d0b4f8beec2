"""A world for each test: the application on the test's own database."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.world import World, make_world


@pytest_asyncio.fixture
async def world(engine: AsyncEngine) -> AsyncIterator[World]:
    """The web, assembled, with Amazon and the road played by fakes."""
    made = make_world(engine)
    yield made
    await made.client.aclose()
