"""A flipped byte on a page of a real cluster: Postgres refuses the page (XX001), the service goes on.

A cluster of its own, stopped to damage its files: some five seconds.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.admin.destinations.stats import destination_stats
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId
from app.store.database.damage import check
from app.store.events import batches
from app.store.organisations.scope import scoped_pool
from dev.postgres.cluster import Cluster
from tests.databases import execute, own_cluster
from tests.pipeline.test_damaged_data import FAILED
from tests.pipeline.test_erasing import erase, finished
from tests.pipeline.world import event, make_world

pytestmark = pytest.mark.process

PAGE = 8192


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with own_cluster() as made:
        yield made


async def flip(cluster: Cluster, relation: str, page: int) -> None:
    """Stop the server, flip a bit in the middle of a page of a relation, and start it again."""
    [(name,)] = await execute(cluster.url, f"SELECT pg_relation_filepath({relation})")
    path = cluster._home / name
    await asyncio.to_thread(cluster.stop)
    with path.open("r+b") as file:
        file.seek(page * PAGE + PAGE // 2)
        (byte,) = file.read(1)
        file.seek(page * PAGE + PAGE // 2)
        file.write(bytes((byte ^ 1,)))
    await asyncio.to_thread(cluster.start)


async def test_a_damaged_page_of_states_holds_one_destination_up_and_is_named(cluster: Cluster) -> None:
    """No state on the page can be read or written: its destination waits, all others go on."""
    async with make_world(cluster.url) as world:
        sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
        other = await world.destination()
        for destination, first, number in ((sick, 0, 60), (sister, 100, 60), (other, 200, 20)):
            for n in range(first, first + number):
                await world.post(destination, event(n))
        amazon = world.amazon
    await flip(cluster, "(SELECT tableoid FROM batch_states LIMIT 1)", 0)
    async with make_world(cluster.url, amazon) as world:
        erasure = await erase(world, email="person219@example.com")
        await world.work_until(sister, delivered=60)
        await world.until(other, delivered=19, erased=1)
        on_page = (await finished(world, erasure)).unreadable
        assert 10 < on_page < 60
        assert (await world.counts(sick))["queued"] == 60
        registry = world.resources.telemetry.registry
        assert registry.get_sample_value(FAILED, {"reason": "damaged_data"})
        async with world.resources.pool.acquire() as c:
            found = [one async for portion in check(c) for one in portion.damaged]
        assert [one.reason for one in found] == ["XX001"] * on_page
        # The page of a destination reads its figures in one snapshot, damaged or not.
        async with (
            scoped_pool(world.resources.pool, DEFAULT_ORGANISATION).acquire() as c,
            c.transaction(isolation="repeatable_read", readonly=True),
        ):
            known = await batches.destination(c, DestinationId(sick))
            assert known is not None
            stats = await destination_stats(c, known, max_event_age=timedelta(days=21))
        assert (stats.waiting, stats.oldest_waiting_seconds, stats.rates.accepted_per_second) == (
            60,
            None,
            None,
        )
