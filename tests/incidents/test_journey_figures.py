"""Figures of journeys: exact after every change of a status, and bounded for any number of ids."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.admin.destinations import find_visible_row
from app.admin.events.figures import count_stored, counts_of
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status
from app.store.events import journey_figures
from app.store.events.journey_figures import MOST_NODES
from tests.incidents.conftest import Service
from tests.incidents.test_journeys import of_node
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.test_erasing import erase
from tests.pipeline.test_replaying import OPERATOR, never_send
from tests.pipeline.world import World, event, eventually

NODES = ("n1", "n2", None)
TOTALS = ("accepted", "duplicates", "rejected", "retrying", "delivered", "dead", "expired", "erased")


async def figures(world: World, destination: str, **wanted: str) -> dict[str, int]:
    """Return the counts of a journey or a node. Each must equal the count of its stored events."""
    async with world.pool.acquire() as connection:
        row = await find_visible_row(connection, OPERATOR, destination)
        query = EventQuery(**wanted)  # type: ignore[arg-type]
        counted = asdict(await counts_of(connection, row, query))
        stored = asdict((await count_stored(connection, row, query))[0])
    assert {name: counted[name] for name in stored} == stored
    return {name: number for name, number in counted.items() if number}


async def exact(world: World, destination: str) -> None:
    """Compare the figures with the stored events, and their sums with the counts of the destination."""
    for node in NODES:
        if node is not None:
            await figures(world, destination, node_id=node)
    number = await world.number(destination)
    sums = ", ".join(f"sum({name}) AS {name}" for name in TOTALS)
    found = await world.fetch(f"SELECT {sums} FROM journey_figures WHERE destination = $1", number)
    counted = await world.fetch(f"SELECT {sums} FROM counts WHERE destination = $1", number)
    assert dict(found[0]) == dict(counted[0])


def mixed(number: int) -> dict[str, Any]:
    node = NODES[number % 3]
    return event(number) if node is None else of_node(number, node, execution=f"x{number}")


def uniform(number: int) -> dict[str, Any]:
    return of_node(number, "n1", execution=f"x{number}")


@pytest.mark.parametrize("event_of", [mixed, uniform])
@pytest.mark.parametrize("is_sent", [False, True])
async def test_figures_count_erased_events_apart(
    service: Service, event_of: Callable[[int], dict[str, Any]], *, is_sent: bool
) -> None:
    """Before and after a first attempt, whether or not all events of the batch have one node."""
    world = service.world
    destination = await world.destination()
    await service.post(destination, *(event_of(number) for number in range(6)))
    nodes = await world.fetch("SELECT cardinality(nodes) AS members FROM batch_states")
    assert [row["members"] for row in nodes] == [1 if event_of is uniform else 6]
    failures = iter([httpx.Response(500)] if is_sent else [])
    world.amazon.script = lambda request: next(failures, None) or refuse_odd(request)
    for email in ("person3@example.com", "person4@example.com"):
        await erase(world, email=email)
    await world.work_until(destination, delivered=2, dead=2, erased=2)
    await world.stop_workers()
    await exact(world, destination)
    n2 = {"accepted": 2, "dead": 1, "erased": 1} if event_of is mixed else {}
    assert await figures(world, destination, node_id="n2") == n2


@pytest.mark.parametrize("event_of", [mixed, uniform])
async def test_a_place_without_an_event_has_no_figure(
    service: Service, event_of: Callable[[int], dict[str, Any]], world: World, dst: str
) -> None:
    """A place stays empty if the ledger refuses its event after it has assigned the places of a batch."""
    await service.post(dst, event_of(6))
    conflict = event_of(6) | {"other": True}
    await service.post(dst, conflict, *(event_of(number) for number in (2, 4, 8)))
    await exact(world, dst)
    for email in ("person4@example.com", "person8@example.com"):
        await erase(world, email=email)
    world.amazon.script = refuse_odd
    await world.work_until(dst, delivered=2, erased=2)
    await world.stop_workers()
    await exact(world, dst)
    n2 = {"accepted": 1, "erased": 1} if event_of is mixed else {}
    assert await figures(world, dst, node_id="n2") == n2


async def test_figures_equal_the_stored_events_after_each_change(service: Service, world: World) -> None:
    """Retried, refused, replayed, discarded and expired, in whole batches and alone."""
    destination = await world.destination()
    await service.post(destination, *(mixed(number) for number in range(12)), mixed(9))
    timeless = {"journey": {"id": "j1", "node_id": "n1"}}
    await service.post(destination, mixed(0), {"event_id": "no", **timeless}, {"event_id": "nor", **timeless})
    await exact(world, destination)
    failures = iter([httpx.Response(500), httpx.Response(500)])
    world.amazon.script = lambda request: next(failures, None) or refuse_odd(request)
    await world.work_until(destination, delivered=6, dead=6)
    await world.stop_workers()
    await exact(world, destination)
    assert await figures(world, destination, node_id="n1") == {
        "accepted": 4, "duplicates": 2, "rejected": 2, "delivered": 2, "dead": 2,
    }  # fmt: skip
    path = f"/destinations/{destination}"
    await service.send(f"{path}/replay", node_id="n2", dry_run=False)
    await exact(world, destination)
    assert (await figures(world, destination, node_id="n2"))["retrying"] == 2
    world.amazon.script = None
    await world.work_until(destination, delivered=8, dead=4)
    await exact(world, destination)


@pytest.mark.parametrize("event_of", [mixed, uniform])
@pytest.mark.parametrize("disposition", ["discarded", "expired"])
async def test_batches_that_were_never_sent_are_counted(
    service: Service, disposition: str, event_of: Callable[[int], dict[str, Any]], world: World, dst: str
) -> None:
    """Discarded or expired whole, then replayed."""
    await service.post(dst, *(event_of(number) for number in range(6)))
    status = {"discarded": "dead", "expired": "expired"}[disposition]
    await never_send(world, dst, disposition, status, 6)
    await exact(world, dst)
    assert (await figures(world, dst, node_id="n1"))[status] == (2 if event_of is mixed else 6)
    await service.send(f"/destinations/{dst}/replay", status=status, dry_run=False)
    await exact(world, dst)
    await world.work_until(dst, delivered=6)
    await world.stop_workers()
    await exact(world, dst)


async def test_a_day_has_at_most_a_thousand_nodes(service: Service, world: World, dst: str) -> None:
    """The rest is one row without ids, also in another process that registers at the same time."""
    number = await world.number(dst)
    async with world.pool.acquire() as one, world.pool.acquire() as other:
        nodes = [(number, "j", f"n{node}") for node in range(MOST_NODES + 5)]
        found = await asyncio.gather(
            journey_figures.register(one, nodes[:600]), journey_figures.register(other, nodes[300:900])
        )
        for _ in range(3):
            last = await journey_figures.register(one, nodes)
    assert number in last.full
    assert len(last.numbers) == MOST_NODES
    assert sorted(last.numbers.values()) == [*range(1, MOST_NODES + 1)]
    for each in found:
        assert each.numbers.items() <= last.numbers.items()
    missing = next(iter(set(nodes) - last.numbers.keys()))
    await service.post(dst, of_node(1, missing[2], journey="j"), of_node(2, "n1", journey="j"))
    async with world.pool.acquire() as connection:
        rows = await journey_figures.by_node(connection, number, since=datetime.now(UTC))
    assert {(journey, node): totals.accepted for journey, node, totals in rows} == {
        (None, None): 1,
        ("j", "n1"): 1,
    }


async def test_a_flush_of_the_next_day_registers_its_nodes_again(service: Service, world: World) -> None:
    """A process that numbered its nodes yesterday does not use these numbers today."""
    destination = await world.destination()
    await service.post(destination, of_node(1, "n1"))
    journeys = world.intake.writer.journeys
    assert isinstance(journeys.day, date)
    journeys.day -= timedelta(days=1)
    await world.fetch("UPDATE journey_nodes SET number = 7")
    await world.fetch("UPDATE journey_figures SET node = 7")
    await world.fetch("UPDATE batch_states SET nodes = '{7}'")
    await service.post(destination, of_node(2, "n1"))
    assert (await figures(world, destination, node_id="n1"))["accepted"] == 2


async def test_a_failover_that_lost_a_node_counts_its_events_for_no_other(service: Service) -> None:
    """The new primary lacks the newest transactions. Another process then gives the number to its node."""
    world = service.world
    dst = await world.destination()
    await service.post(dst, of_node(1, "n1"))
    number = await world.number(dst)
    lost = "ledger, batches, batch_states, counts, journey_nodes, journey_figures"
    await world.fetch(f"TRUNCATE {lost}")
    async with world.resources.pool.acquire() as connection:
        await journey_figures.register(connection, [(number, "j1", "n2")])
    await world.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await eventually(lambda: world.try_post(dst, of_node(2, "n1")))
    assert (await figures(world, dst, node_id="n1")) == {"accepted": 1, "queued": 1}
    assert (await figures(world, dst, node_id="n2")) == {}


async def test_the_rows_of_earlier_days_are_merged(service: Service, world: World, dst: str) -> None:
    """The sums stay equal; rows of today stay apart."""
    await service.post(dst, of_node(1, "n1"))
    number = await world.number(dst)
    await world.fetch(
        "INSERT INTO journey_figures (destination, day, node, writer, accepted, dead) "
        "SELECT $1, current_date - d, 1, w, 3, 1 FROM generate_series(0, 2) d, generate_series(1, 4) w",
        number,
    )
    before = await world.fetch(
        "SELECT day, sum(accepted) AS n, sum(dead) AS d FROM journey_figures GROUP BY 1"
    )
    async with world.pool.acquire() as connection:
        while await journey_figures.fold(connection, limit=1):
            pass
    after = await world.fetch(
        "SELECT day, sum(accepted) AS n, sum(dead) AS d FROM journey_figures GROUP BY 1"
    )
    assert Counter(map(tuple, after)) == Counter(map(tuple, before))
    rows = Counter(row["day"] for row in await world.fetch("SELECT day FROM journey_figures"))
    assert sorted(rows.values()) == [1, 1, 5]


async def test_the_status_of_a_filter_decides_nothing(service: Service, dst: str) -> None:
    """An unknown journey has no members of the whole destination."""
    await service.post(dst, of_node(1, "n1"))
    for name in ("journey_id", "node_id", "execution_id"):
        stats = await service.get(f"/destinations/{dst}/stats", **{name: "nope"})
        own = {"counted_back_to"} if name == "execution_id" else set()
        assert stats.keys() == {"destination_id", "counts", "waiting"} | own
        assert set(stats["counts"].values()) == {0}
    stats = await service.get(f"/destinations/{dst}/stats", execution_id="x1", node_id="n1")
    assert stats["counts"] == {"accepted": 1, **dict.fromkeys(Status, 0), "queued": 1}


async def test_counting_an_execution_ends_in_time(service: Service, world: World, dst: str) -> None:
    """Executions are counted batch by batch. The answer says back to when, if that took too long."""
    await service.post(dst, of_node(1, "n1", execution="x1"))
    await world.fetch(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "  data_key, accepted_at) "
        "SELECT batch + n, day, destination, events, bytes, first_event, last_event, "
        "  data_key, accepted_at + interval '1 minute' FROM batch_states, generate_series(1, 200) n"
    )
    async with world.pool.acquire() as connection:
        row = await find_visible_row(connection, OPERATOR, dst)
        wanted = EventQuery(execution_id="x1")
        counts, back_to = await count_stored(connection, row, wanted, seconds=0)
        assert counts.accepted == 0
        assert back_to is not None
        counts, back_to = await count_stored(connection, row, wanted)
        assert (counts.accepted, counts.queued, back_to) == (1, 1, None)
    stats = await service.get(f"/destinations/{dst}/stats", execution_id="x1")
    assert (stats["counts"]["accepted"], stats["counted_back_to"]) == (1, None)


MILLION = """
    INSERT INTO journey_figures (destination, day, node, writer, accepted, delivered, dead, retrying)
    SELECT $1, (now() AT TIME ZONE 'UTC')::date - day, node, writer, n, n - 2, 1, 1 FROM (
      SELECT day, node, writer, 35 + (row_number() OVER (ORDER BY day, node, writer) <= 20000)::int AS n
      FROM generate_series(0, 6) day, generate_series(1, 1000) node, generate_series(1, 4) writer) rows
"""


async def test_figures_of_a_million_events_are_exact_and_cheap(service: Service, dst: str) -> None:
    """What a week of single posts to a thousand nodes leaves: rows of four sessions for each node and day."""
    number = await service.world.number(dst)
    await service.world.fetch(
        "INSERT INTO journey_nodes (destination, day, number, journey_id, node_id) SELECT $1, "
        "(now() AT TIME ZONE 'UTC')::date - day, node, 'j' || node % 10, 'n' || node "
        "FROM generate_series(0, 6) day, generate_series(1, 1000) node",
        number,
    )
    await service.world.fetch(MILLION, number)
    ((total,),) = await service.world.fetch("SELECT sum(accepted)::bigint FROM journey_figures")
    assert total == 1_000_000
    counted = Counter[str]()
    for journey in range(10):
        cpu = time.thread_time()
        stats = await service.get(f"/destinations/{dst}/stats", journey_id=f"j{journey}")
        assert time.thread_time() - cpu < 0.05
        counted.update(stats["counts"])
        assert stats["counts"]["dead"] == 2_800
    expected = {"accepted": 1_000_000, "delivered": 944_000, "dead": 28_000, "retrying": 28_000}
    assert {name: events for name, events in counted.items() if events} == expected
    # The 20,000 rows with one event more are those of five days.
    one = await service.get(f"/destinations/{dst}/stats", journey_id="j3", node_id="n13")
    assert (one["counts"]["accepted"], one["counts"]["dead"]) == (7 * 4 * 35 + 5 * 4, 28)
