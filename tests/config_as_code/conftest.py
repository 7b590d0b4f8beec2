"""A real application beside the command's own functions, on one database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.domain.ids import DEFAULT_ORGANISATION
from app.store.database.migrate import upgrade
from app.store.organisations.scope import prepare_engine, scoped_engine
from tests.api.conftest import world

__all__ = ["world"]


@pytest.fixture
async def empty_instance(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Another instance, migrated and empty."""
    await asyncio.to_thread(upgrade, empty_database_url)
    made = create_async_engine(empty_database_url)
    prepare_engine(made)
    yield scoped_engine(made, DEFAULT_ORGANISATION)
    await made.dispose()
