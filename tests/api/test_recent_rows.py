"""The cache of keys and organisations: requests do not wait for rows that were used recently."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from app.api import recent_rows
from app.api.recent_rows import CACHE_SECONDS, IDLE_SECONDS, REFRESH_SECONDS, RecentRows, keep_fresh
from app.processes.api import build_application
from app.processes.resources import open_resources
from app.telemetry import Telemetry
from tests.api.world import BOOTSTRAP, cache_queries
from tests.event_loop import turns
from tests.pipeline.world import settings_of


class Table:
    """Rows with a cache in front. `reads` are the ids of each query."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rows = dict.fromkeys("abc", "old")
        self.reads: list[list[str]] = []
        self.released = asyncio.Event()
        self.released.set()
        self.error: Exception | None = None
        self.cache: RecentRows[str, str] = RecentRows(self.read, monotonic=lambda: self.now)

    async def read(self, ids: Sequence[str]) -> dict[str, str]:
        self.reads.append(list(ids))
        found = {id_: self.rows[id_] for id_ in ids if id_ in self.rows}
        released = self.released
        await released.wait()
        if self.error is not None:
            raise self.error
        return found

    def change(self, id_: str, row: str | None) -> None:
        """Write a row, or delete it."""
        self.rows.pop(id_, None)
        if row is not None:
            self.rows[id_] = row

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, with the refreshes of the process."""
        for _ in range(int(seconds / REFRESH_SECONDS)):
            self.now += REFRESH_SECONDS
            await self.cache.refresh()

    @asynccontextmanager
    async def during(self, query: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
        """Run something while a query has read its rows and has not returned them."""
        before, self.released = self.released, asyncio.Event()
        task, held = asyncio.create_task(query), self.released
        await turns()
        self.released = before
        async with asyncio.timeout(30):
            yield
        held.set()
        await task


@pytest.fixture
def table() -> Table:
    return Table()


class TestARowInUse:
    async def test_costs_a_rare_sender_no_read_after_the_first(self, table: Table) -> None:
        """A request every twenty seconds, for ten minutes."""
        await table.cache.find("a")
        for _ in range(30):
            await table.pass_time(20)
            reads = len(table.reads)
            assert await table.cache.find("a") == "old"
            assert len(table.reads) == reads

    async def test_is_read_in_one_statement_with_all_others(self, table: Table) -> None:
        for id_ in "abc":
            await table.cache.find(id_)
        await table.pass_time(REFRESH_SECONDS)
        assert [sorted(ids) for ids in table.reads] == [["a"], ["b"], ["c"], ["a", "b", "c"]]

    async def test_shows_a_change_after_the_next_refresh(self, table: Table) -> None:
        await table.cache.find("a")
        table.rows["a"] = "new"
        await table.pass_time(REFRESH_SECONDS)
        assert await table.cache.find("a") == "new"

    async def test_is_gone_after_the_next_refresh(self, table: Table) -> None:
        """As a key that another process revoked. What does not exist is read at each request."""
        await table.cache.find("a")
        del table.rows["a"]
        await table.pass_time(REFRESH_SECONDS)
        reads = len(table.reads)
        assert await table.cache.find("a") is None
        assert await table.cache.find("a") is None
        assert table.reads[reads:] == [["a"], ["a"]]

    async def test_is_not_used_for_longer_if_refreshes_fail(self, table: Table) -> None:
        await table.cache.find("a")
        table.rows["a"] = "new"
        table.error = OSError()
        with pytest.raises(OSError):
            await table.pass_time(REFRESH_SECONDS)
        assert await table.cache.find("a") == "old"
        table.now += CACHE_SECONDS - REFRESH_SECONDS
        with pytest.raises(OSError):
            await table.cache.find("a")
        table.error = None
        assert await table.cache.find("a") == "new"

    async def test_is_not_used_for_longer_if_a_refresh_is_slow(self, table: Table) -> None:
        """The age of a row counts from the start of its query."""
        await table.cache.find("a")
        table.now += REFRESH_SECONDS
        async with table.during(table.cache.refresh()):
            table.rows["a"] = "new"
            table.now += CACHE_SECONDS
        assert await table.cache.find("a") == "new"

    async def test_does_not_return_with_a_refresh_after_a_request_found_it_gone(self, table: Table) -> None:
        await table.cache.find("a")
        table.now += CACHE_SECONDS
        async with table.during(table.cache.refresh()):
            del table.rows["a"]
            assert await table.cache.find("a") is None
        assert await table.cache.find("a") is None

    async def test_is_dropped_when_no_request_needs_it(self, table: Table) -> None:
        """Then the process sends no query at all, and did not before the first request."""
        await table.pass_time(60)
        assert table.reads == []
        await table.cache.find("a")
        await table.pass_time(IDLE_SECONDS)
        reads = len(table.reads)
        await table.pass_time(60)
        assert len(table.reads) == reads
        assert table.cache.uses() == []

    async def test_a_refresh_is_no_use_of_the_row(self, table: Table) -> None:
        await table.cache.find("a")
        await table.pass_time(60)
        assert table.cache.uses() == [("a", "old", 100.0)]


class TestRowsBeyondTheBound:
    @pytest.fixture(autouse=True)
    def bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recent_rows, "MAX_REFRESHED", 2)

    async def test_the_most_recently_used_are_refreshed(self, table: Table) -> None:
        for id_ in "abca":
            table.now += 0.1
            await table.cache.find(id_)
        await table.cache.refresh()
        assert table.reads[-1] == ["a", "c"]

    async def test_the_others_are_read_by_the_next_request(self, table: Table) -> None:
        for id_ in "abc":
            table.now += 0.1
            await table.cache.find(id_)
        table.rows["a"] = "new"
        await table.pass_time(2 * REFRESH_SECONDS)
        assert await table.cache.find("a") == "new"
        assert table.reads[-1] == ["a"]


class TestARequestThatWaits:
    async def test_shares_its_query_with_others(self, table: Table) -> None:
        """A client that disconnects does not end the query."""
        async with table.during(table.cache.find("a")):
            waiting = [asyncio.create_task(table.cache.find("a")) for _ in range(50)]
            await turns()
            assert not any(task.done() for task in waiting)
            waiting[0].cancel()
        assert (await asyncio.gather(*waiting, return_exceptions=True))[1:] == ["old"] * 49
        assert table.reads == [["a"]]


class TestAChangeByThisProcess:
    """`forget` is called after the commit; a query that began before it may have read the old row."""

    @pytest.mark.parametrize("new", ["new", None])
    @pytest.mark.parametrize("is_used_meanwhile", [True, False])
    async def test_wins_over_a_running_refresh(
        self, table: Table, new: str | None, is_used_meanwhile: bool
    ) -> None:
        await table.cache.find("a")
        async with table.during(table.cache.refresh()):
            table.change("a", new)
            table.cache.forget("a")
            if is_used_meanwhile:
                assert await table.cache.find("a") == new
        assert await table.cache.find("a") == new

    @pytest.mark.parametrize("forgotten", [("a",), ()])
    @pytest.mark.parametrize("is_used_meanwhile", [True, False])
    async def test_wins_over_a_running_query(
        self, table: Table, forgotten: tuple[str, ...], is_used_meanwhile: bool
    ) -> None:
        """Also where the caller does not know the id: a revoked key that is not cached has no digest here."""
        async with table.during(table.cache.find("a")):
            table.change("a", "new")
            table.cache.forget(*forgotten)
            if is_used_meanwhile:
                assert await table.cache.find("a") == "new"
        assert await table.cache.find("a") == "new"

    async def test_leaves_a_row_that_a_request_read_meanwhile(self, table: Table) -> None:
        """It is newer than the refresh that did not find it."""
        await table.cache.find("a")
        table.change("a", None)
        async with table.during(table.cache.refresh()):
            table.change("a", "new")
            table.cache.forget("a")
            await table.cache.find("a")
        reads = len(table.reads)
        assert await table.cache.find("a") == "new"
        assert len(table.reads) == reads


class TestTheBackgroundTask:
    async def test_refreshes_every_cache_every_two_seconds(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error is logged, and stops neither the others nor the next refresh."""
        tables = [Table(), Table()]
        for table in tables:
            await table.cache.find("a")
        tables[0].error = OSError()
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                raise asyncio.CancelledError

        with caplog.at_level(logging.WARNING, "app"), pytest.raises(asyncio.CancelledError):
            await keep_fresh([table.cache.refresh for table in tables], Telemetry(), sleep=sleep)
        assert slept == [REFRESH_SECONDS] * 3
        assert [len(table.reads) for table in tables] == [3, 3]
        assert [record.message for record in caplog.records] == ["cache.refresh_failed"] * 2

    async def test_refreshes_the_keys_and_organisations_of_an_api_process(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each is read by the request and then again without one."""
        monkeypatch.setattr(recent_rows, "REFRESH_SECONDS", 0.01)
        settings = settings_of(database_url, bootstrap_admin_key=BOOTSTRAP)
        async with (
            open_resources(settings, role="api", pool_size=2) as resources,
            build_application(resources) as application,
            httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client,
        ):
            wanted = {"name": "k", "scopes": ["events:write"]}
            made = await client.post("/keys", json=wanted, headers={"X-Api-Key": BOOTSTRAP})
            queries: Counter[str] = Counter()
            is_refreshed = asyncio.Event()

            def count(*given: Any) -> None:
                queries.update(cache_queries([given[2]]))
                if len(queries) == 2 and min(queries.values()) >= 2:
                    is_refreshed.set()

            event.listen(resources._engine.sync_engine, "before_cursor_execute", count)
            answer = await client.post("/events", json={}, headers={"X-Api-Key": made.json()["key"]})
            assert answer.status_code == 422
            async with asyncio.timeout(30):
                await is_refreshed.wait()
