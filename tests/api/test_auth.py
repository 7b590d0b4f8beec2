"""Who is calling (interface §2, §5): three spellings of a key, limits, expiry, revocation.

Also the cache of keys and organisations: requests do not wait for rows that were used recently.
"""

import asyncio
import base64
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from app.admin.access.keys import new_key
from app.api import recent_rows
from app.api.recent_rows import CACHE_SECONDS, IDLE_SECONDS, REFRESH_SECONDS, RecentRows, keep_fresh
from app.processes.api import build_application
from app.processes.resources import open_resources
from app.telemetry import JsonLines, Telemetry
from tests.api.world import BOOTSTRAP, ApiWorld, cache_queries, statements_of
from tests.event_loop import turns
from tests.pipeline.world import settings_of


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_a_key_is_accepted_in_three_headers(world: ApiWorld) -> None:
    """Bearer, X-Api-Key, and the password of Basic whatever the user; the scheme in any case."""
    key = await world.key("destinations:read")
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer {key}"},
        {"X-Api-Key": key},
        {"Authorization": basic("anyone", key)},
        {"Authorization": basic("", key)},
    ):
        answer = await world.call("GET", "/destinations", key=None, headers=headers)
        assert answer.status_code == 200, headers


@pytest.mark.reads_only
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Digest abc"},
        {"Authorization": "Basic not-base64!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"Authorization": b"\xff"},
        {"Authorization": f"Bearer {'a' * 60_000}"},
        {"X-Api-Key": ""},
        {"X-Api-Key": b"\xe9"},
        {"X-Api-Key": new_key()},
    ],
)
async def test_without_a_valid_key_401_says_how(world: ApiWorld, headers: dict[str, Any]) -> None:
    """401 in the one shape, with WWW-Authenticate."""
    answer = await world.call("GET", "/destinations", key=None, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.reads_only
@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {BOOTSTRAP}"), ("Authorization", "Bearer bad")],
        [("Authorization", f"Bearer {BOOTSTRAP}"), ("Authorization", f"Bearer {BOOTSTRAP}")],
        [("Authorization", f"Bearer {BOOTSTRAP}"), ("X-Api-Key", BOOTSTRAP)],
    ],
)
async def test_two_keys_in_one_request_are_refused(world: ApiWorld, headers: list[tuple[str, str]]) -> None:
    """400, even when they agree: a proxy and this service could read different ones."""
    answer = await world.client.get("/destinations", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "credentials_ambiguous")


async def test_a_key_is_returned_once_and_stored_as_a_hash(world: ApiWorld) -> None:
    """POST gives it, GET does not, and the table does not hold it."""
    answer = await world.call("POST", "/keys", {"name": "engine", "scopes": ["events:write"]}, status=201)
    made = answer.json()
    assert re.fullmatch(r"ack_[0-9A-Za-z]{43}", made["key"])
    listed = (await world.call("GET", "/keys")).json()["items"]
    assert "key" not in listed[0]
    assert (listed[0]["id"], listed[0]["hint"]) == (made["id"], made["key"][:8])
    kept = str(await world.sql("SELECT * FROM api_keys")) + str(await world.sql("SELECT * FROM audit"))
    assert made["key"] not in kept


async def test_a_revoked_key_is_refused_here_at_once(world: ApiWorld) -> None:
    """In the process that revoked it, from the answer on; revoking again answers the same."""
    key = await world.key("destinations:read")
    assert (await world.call("GET", "/destinations", key=key)).status_code == 200
    (listed,) = (await world.call("GET", "/keys")).json()["items"]
    for _ in range(2):
        answer = await world.call("DELETE", f"/keys/{listed['id']}")
        assert (answer.status_code, bool(answer.json()["revoked_at"])) == (200, True)
    assert (await world.call("GET", "/destinations", key=key)).status_code == 401
    assert (await world.actions()).count("key.revoked") == 1


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
@pytest.mark.parametrize("is_refreshed", [True, False])
async def test_a_key_that_ended_is_refused_within_three_seconds(
    world: ApiWorld, is_refreshed: bool, end: str
) -> None:
    """Another process revokes it, or it expires on the database's clock.

    This process reads it again in the background, or cannot.
    """
    key = await world.key("destinations:read", expires_at="2199-01-01T00:00:00Z")
    assert (await world.call("GET", "/destinations", key=key)).status_code == 200
    await world.sql(f"UPDATE api_keys SET {end}")
    if is_refreshed:
        await world.pass_time(2.0)
    else:
        world.elapsed += 3.0
    assert (await world.call("GET", "/destinations", key=key)).status_code == 401


async def test_the_last_use_is_noted_at_most_once_a_minute(world: ApiWorld) -> None:
    """In the background, for all keys in one statement; an unused key is not written."""
    keys = [await world.key("destinations:read") for _ in range(3)]

    async def use_and_pass_time(seconds: float, *used: str) -> list[bool]:
        executed = statements_of(world)
        for key in used:
            assert (await world.call("GET", "/destinations", key=key)).status_code == 200
        await world.pass_time(seconds)
        noted = await world.sql("SELECT last_used_at FROM api_keys ORDER BY created_at")
        updates = [statement for statement in executed if "SET last_used_at" in statement]
        assert len(updates) == any(row.last_used_at for row in noted)
        await world.sql("UPDATE api_keys SET last_used_at = NULL")
        return [row.last_used_at is not None for row in noted]

    assert await use_and_pass_time(2, *keys[:2]) == [True, True, False]
    assert await use_and_pass_time(30, *keys) == [False, False, True]
    assert await use_and_pass_time(30) == [False, False, False]
    assert await use_and_pass_time(2, keys[0]) == [True, False, False]


async def test_a_limited_key_makes_sees_and_revokes_only_keys_within_its_limits(world: ApiWorld) -> None:
    """keys:admin with destination_ids cannot climb out of them."""
    mine, other = await world.create_destination(name="Mine"), await world.create_destination(name="Other")
    await world.key("events:write")
    await world.key("events:write", destination_ids=[other["id"]])
    admin = await world.key("keys:admin", destination_ids=[mine["id"]])

    async def made(**limits: Any) -> int:
        body = {"name": "k", "scopes": ["events:write"], **limits}
        return (await world.call("POST", "/keys", body, key=admin)).status_code

    assert await made() == 422
    assert await made(destination_ids=[other["id"]]) == 422
    assert await made(destination_ids=[mine["id"]]) == 201
    seen = (await world.call("GET", "/keys", key=admin)).json()["items"]
    assert {tuple(item["destination_ids"]) for item in seen} == {(mine["id"],)}
    for item in (await world.call("GET", "/keys")).json()["items"]:
        expected = 200 if item["destination_ids"] == [mine["id"]] else 404
        if item["scopes"] != ["keys:admin"]:
            assert (await world.call("DELETE", f"/keys/{item['id']}", key=admin)).status_code == expected


@pytest.mark.reads_only
@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"scopes": []}, "scopes", "too_short"),
        ({"scopes": ["root"]}, "scopes[0]", "not_in_list"),
        ({"scopes": "events:write"}, "scopes", "not_a_list"),
        ({"name": ""}, "name", "too_short"),
        ({"destination_ids": []}, "destination_ids", "too_short"),
        ({"destination_ids": ["dst_none"]}, "destination_ids[0]", "unknown"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "not_in_future"),
        ({"expires_at": "2199-01-01"}, "expires_at", "not_a_time"),
        ({"expires_at": "2199-01-01T00:00:00"}, "expires_at", "not_a_time"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at", "not_a_time"),
        ({"expires_at": 1}, "expires_at", "not_a_time"),
        ({"key": "mine"}, "key", "unknown_field"),
    ],
)
async def test_what_is_wrong_with_a_key_is_named(
    world: ApiWorld, change: dict[str, Any], field: str, problem: str
) -> None:
    """422 by field and word."""
    answer = await world.call("POST", "/keys", {"name": "k", "scopes": ["events:write"], **change})
    assert (answer.status_code, answer.json()["fields"]) == (422, [{"field": field, "problem": problem}])


async def test_keys_are_listed_in_pages(world: ApiWorld) -> None:
    """Each once, revoked ones too."""
    for _ in range(5):
        await world.key("events:read")
    found = [item["id"] for item in await world.pages("/keys")]
    assert len(found) == len(set(found)) == 5


async def test_an_unauthenticated_body_is_not_even_read(world: ApiWorld) -> None:
    """401 comes before what is wrong with the body, and 403 too."""
    await world.call("POST", "/destinations", b"{nonsense", key=None, status=401)
    key = await world.key("events:write")
    answer = await world.call("POST", "/destinations", b"{nonsense", key=key)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert "destinations:write" in answer.json()["detail"]


async def test_the_log_names_the_key_by_id_and_neither_key_nor_path(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a request, with the route's template."""
    key = await world.key("destinations:read")
    with caplog.at_level(logging.INFO, "app.requests"):
        await world.call("GET", "/destinations/ada@example.com", key=key, params={"q": "ada@example.com"})
    (record,) = [record for record in caplog.records if record.name == "app.requests"]
    line = JsonLines().format(record)
    fields = json.loads(line)
    assert fields["event"] == "http.request"
    assert fields["route"] == "/destinations/{destination_id}"
    assert fields["status"] == 422
    assert fields["key"].startswith("key_")
    assert "ada@example.com" not in line
    assert key not in line


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
