"""The cache of organisations: an old row is read again once, however many requests need it."""

import asyncio
from datetime import UTC, datetime

import pytest

from app.api.organisation_cache import CACHE_SECONDS, REFRESH_SECONDS, OrganisationCache
from app.domain.ids import OrganisationId
from app.store import organisations
from app.store.organisations import Organisation, OrganisationLimits
from tests.event_loop import turns

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
    async def test_is_read_again_once_and_no_request_waits(self, database: Database) -> None:
        now = 100.0
        cache = OrganisationCache(Engine(), monotonic=lambda: now)  # type: ignore[arg-type]
        await cache.find(ID)
        now += REFRESH_SECONDS
        database.released.clear()
        database.suspended_at = NOW
        found = [await cache.find(ID) for _ in range(50)]
        await turns(1)
        assert database.reads == 2
        assert not any(each is None or each.suspended_at for each in found)
        database.released.set()
        await turns()
        renewed = await cache.find(ID)
        assert renewed is not None
        assert renewed.suspended_at == NOW
        assert database.reads == 2

    async def test_is_not_used_for_longer(self, database: Database) -> None:
        """A suspension is effective within five seconds, however slow the database is."""
        now = 100.0
        cache = OrganisationCache(Engine(), monotonic=lambda: now)  # type: ignore[arg-type]
        await cache.find(ID)
        database.released.clear()
        database.suspended_at = NOW
        now += CACHE_SECONDS
        waiting = [asyncio.create_task(cache.find(ID)) for _ in range(50)]
        await turns()
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()  # its client disconnected
        database.released.set()
        for found in (await asyncio.gather(*waiting, return_exceptions=True))[1:]:
            assert isinstance(found, Organisation)
            assert found.suspended_at == NOW
        assert database.reads == 2

    async def test_that_was_read_before_a_change_is_not_kept(self, database: Database) -> None:
        """This process suspends an organisation while it reads the old row."""
        now = 100.0
        cache = OrganisationCache(Engine(), monotonic=lambda: now)  # type: ignore[arg-type]
        await cache.find(ID)
        now += REFRESH_SECONDS
        database.released.clear()
        await cache.find(ID)
        await turns(1)
        database.suspended_at = NOW
        cache.forget(ID)
        database.released.set()
        await turns()
        found = await cache.find(ID)
        assert found is not None
        assert found.suspended_at == NOW
