"""The cache of organisations: an old row is read again once, however many requests need it."""

import asyncio
from datetime import UTC, datetime

import pytest

from app.api.organisation_cache import CACHE_SECONDS, OrganisationCache
from app.domain.ids import OrganisationId
from app.store import organisations
from app.store.organisations import Organisation, OrganisationLimits

ID = OrganisationId("default")
NOW = datetime(2026, 11, 25, tzinfo=UTC)


class Database:
    """Answers reads of an organisation when `released` is set, and counts them."""

    def __init__(self) -> None:
        self.reads = 0
        self.released = asyncio.Event()
        self.released.set()
        self.suspended_at: datetime | None = None

    async def find(self, _: object, organisation: str) -> Organisation:
        self.reads += 1
        found = self.suspended_at
        await self.released.wait()
        return Organisation(OrganisationId(organisation), "Default", OrganisationLimits(), found, 1, NOW, NOW)


class Engine:
    """Opens connections that nothing is asked of."""

    def connect(self) -> "Engine":
        return self

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(organisations, "find", database.find)
    return database


class TestAnOldRow:
    async def test_is_read_again_by_one_of_many_requests(self, database: Database) -> None:
        now = 100.0
        cache = OrganisationCache(Engine(), monotonic=lambda: now)  # type: ignore[arg-type]
        await cache.find(ID)
        now += CACHE_SECONDS
        database.released.clear()
        database.suspended_at = NOW
        waiting = [asyncio.create_task(cache.find(ID)) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert database.reads == 2
        assert sum(task.done() for task in waiting) == 49  # with the old row
        database.released.set()
        await asyncio.gather(*waiting)
        renewed = await cache.find(ID)
        assert renewed is not None
        assert renewed.suspended_at == NOW
        assert database.reads == 2

    async def test_is_read_by_another_request_when_its_reader_is_cancelled(self, database: Database) -> None:
        now = 100.0
        cache = OrganisationCache(Engine(), monotonic=lambda: now)  # type: ignore[arg-type]
        await cache.find(ID)
        now += CACHE_SECONDS
        database.released.clear()
        reader = asyncio.create_task(cache.find(ID))
        await asyncio.sleep(0)
        reader.cancel()
        database.released.set()
        database.suspended_at = NOW
        now += CACHE_SECONDS / 2
        found = await cache.find(ID)
        assert found is not None
        assert found.suspended_at == NOW
