"""A pipeline for each test."""

from collections.abc import AsyncIterator

import pytest

from app.store import transactions
from tests.api.description import check_responses
from tests.pipeline.service import Service, serving
from tests.pipeline.world import World, make_world


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions give up a lock sooner, in a test that waits for that. Needed before `world`."""
    monkeypatch.setattr(transactions, "LOCK_TIMEOUT_S", 0.5)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Both halves of the pipeline on the test's own database, each with its role's rights; no worker yet."""
    async with make_world(database_url, with_roles=True) as made:
        yield made


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    """The pipeline behind its API; each response is compared with its description."""
    async with serving(database_url) as made:
        made.client.event_hooks = {"response": [check_responses(made.application)]}
        yield made


@pytest.fixture
async def dst(world: World) -> str:
    """The id of a destination that is connected and has a mapping."""
    return await world.destination()
