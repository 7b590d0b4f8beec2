"""A world for each test: the application on the test's own database."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.store.organisations.scope import prepare_engine
from tests.api.world import JSON, ApiWorld, make_world
from tests.databases import ROLES, acting_as


@pytest.fixture
async def world(engine: AsyncEngine, database_url: str) -> AsyncIterator[ApiWorld]:
    """The web, assembled, with Amazon and the pipeline played by fakes; the database role is the API's."""
    limited = create_async_engine(acting_as(database_url, ROLES.api), hide_parameters=True)
    prepare_engine(limited)
    made = make_world(engine, limited)
    yield made
    await made.client.aclose()
    await limited.dispose()


@pytest.fixture
async def acme(world: ApiWorld) -> JSON:
    """A destination that was just created: a draft."""
    return await world.create_destination()


@pytest.fixture
def acme_id(acme: JSON) -> str:
    """Its id."""
    return str(acme["id"])
