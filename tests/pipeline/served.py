"""A world whose application answers on a port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.processes.api import build_application
from app.processes.resources import open_resources
from tests.api.test_ways_in import served
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.world import World, settings_of

ADMIN = "bootstrap-key-of-thirty-two-letters"


@asynccontextmanager
async def served_world(database_url: str) -> AsyncIterator[tuple[World, int]]:
    """Serve the application of a new world. Yield the world and the port; the admin key is ADMIN."""
    settings = settings_of(database_url, bootstrap_admin_key=ADMIN)
    async with (
        open_resources(settings, role="worker", pool_size=10) as resources,
        build_application(resources) as application,
        served(application) as port,
    ):
        yield World(resources, FakeAmazon(), application.state.context.intake, database_url), port
