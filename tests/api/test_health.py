"""`/health/live` and `/health/ready`."""

import asyncpg
import pytest

from app.health import Readiness
from tests.api.world import ApiWorld


@pytest.mark.reads_only
async def test_live_says_nothing_of_the_database(world: ApiWorld) -> None:
    """200 as long as the process answers."""
    await world.engine.dispose()
    answer = await world.call("GET", "/health/live", key=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_commits_a_row_at_most_once_a_second(world: ApiWorld) -> None:
    """However many ask."""

    async def written() -> object:
        rows = await world.sql("SELECT xmin::text AS by FROM readiness")
        return rows[0].by if rows else None

    await world.call("GET", "/health/ready", key=None)
    first = await written()
    assert first is not None
    await world.call("GET", "/health/ready", key=None)
    assert await written() == first
    world.elapsed += 1.1
    await world.call("GET", "/health/ready", key=None)
    assert await written() != first


async def settings_off(world: ApiWorld) -> set[str]:
    """Return the reasons that the cluster of this run gives: a throw-away one syncs nothing."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    return {
        f"{name}_off"
        for name in names
        if (await world.sql(f"SELECT current_setting('{name}') AS value"))[0].value == "off"
    }


async def test_ready_is_red_with_reasons(world: ApiWorld) -> None:
    """What durability rests on, each under its word, in the error's shape."""
    expected = await settings_off(world)
    answer = await world.call("GET", "/health/ready", key=None)
    assert answer.status_code == (503 if expected else 200)
    assert set(answer.json()["reasons"]) == expected
    if expected:
        assert set(answer.json()) >= {"error", "detail", "fields"}


async def test_ready_is_red_when_partitions_run_out(world: ApiWorld) -> None:
    """Under two days ahead."""
    days = await world.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'attempts'::regclass"
    )
    for row in days:
        await world.sql(f"DROP TABLE {row.name}")
    answer = await world.call("GET", "/health/ready", key=None)
    assert answer.status_code == 503
    assert "partitions_short" in answer.json()["reasons"]


async def test_ready_is_red_when_the_database_refuses_the_row(world: ApiWorld) -> None:
    """A database that cannot be written to is not ready, whatever else it says."""
    await world.sql("DROP TABLE readiness")
    answer = await world.call("GET", "/health/ready", key=None)
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["database_refused"])


async def test_ready_is_red_when_the_database_is_away(world: ApiWorld) -> None:
    """And says so in bounded time."""
    async with asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0) as nowhere:
        assert await Readiness(nowhere, lambda: 0.0).reasons() == ("database_unavailable",)
