"""A flipped byte on a page of a real cluster: Postgres refuses the page (XX001), the service goes on.

A cluster of its own, stopped to damage its files: some five seconds.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.admin.destinations.stats import destination_stats
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId
from app.store.database.damage import check
from app.store.events import batches
from app.store.organisations.scope import scoped_pool
from dev.postgres.cluster import Cluster
from tests.databases import own_cluster
from tests.pipeline.processes import ADMIN, Product, running_product
from tests.pipeline.test_damaged_data import FAILED, MANY
from tests.pipeline.test_erasing import erase, finished
from tests.pipeline.world import event, eventually, make_world

pytestmark = pytest.mark.process

PAGE = 8192


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with own_cluster() as made:
        yield made


async def flip(cluster: Cluster, relation: str, page: int) -> None:
    """Stop the server, flip a bit in the middle of a page of a relation, and start it again."""
    connection = await asyncpg.connect(cluster.url.replace("+asyncpg", ""))
    path = cluster._home / await connection.fetchval(f"SELECT pg_relation_filepath({relation})")
    await connection.close()
    await asyncio.to_thread(cluster.stop)
    with path.open("r+b") as file:
        file.seek(page * PAGE + PAGE // 2)
        (byte,) = file.read(1)
        file.seek(page * PAGE + PAGE // 2)
        file.write(bytes((byte ^ 1,)))
    await asyncio.to_thread(cluster.start)


async def test_a_damaged_page_of_contents_costs_the_batches_on_it(cluster: Cluster) -> None:
    """The others, the sister destination, and erasures of other people go on; the receipt counts them."""
    async with make_world(cluster.url) as world:
        sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
        for first in range(0, 6 * MANY, MANY):
            await world.post(sick, *(event(n) for n in range(first, first + MANY)))
        await world.post(sister, event(1))
        amazon = world.amazon
    toast = "(SELECT reltoastrelid FROM pg_class WHERE oid = (SELECT tableoid FROM batches LIMIT 1))"
    await flip(cluster, toast, 1)
    async with make_world(cluster.url, amazon) as world:
        erasure = await erase(world, email=f"person{6 * MANY - 1}@example.com")
        world.work()
        await world.until(sister, delivered=1)
        counts = await world.until(sick, queued=0, retrying=0, erased=1)
        unreadable = counts["dead"] // MANY
        assert 1 <= unreadable <= 4
        assert (counts["dead"], counts["delivered"]) == (unreadable * MANY, (6 - unreadable) * MANY - 1)
        # What an erasure writes may meet the page as well; then it counts that batch too.
        assert (await finished(world, erasure)).unreadable in (unreadable, unreadable + 1)
        reasons = await world.fetch("SELECT DISTINCT reason FROM exceptions WHERE status = 'dead'")
        assert [row["reason"] for row in reasons] == ["unreadable"]


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
        world.work()
        await world.until(sister, delivered=60)
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


@pytest.mark.long
async def test_readiness_follows_a_damaged_page_of_the_ledger(cluster: Cluster, tmp_path: Path) -> None:
    """Not ready within ten seconds of the first refused post; after the repair ready again without a post."""
    async with running_product(Product(cluster.url, tmp_path / "log.txt")) as operator:
        api, client, numbers = operator.product.api, operator.client, itertools.count()
        destination = await operator.destination("1000000001")

        async def post() -> int:
            body = event(next(numbers), destination_id=destination)
            try:
                answer = await client.post(f"{api}/events", json=body, headers={"X-Api-Key": ADMIN})
            except httpx.HTTPError:
                return 0
            return answer.status_code

        async def is_refused() -> bool:
            return "flushes_refused" in (await client.get(f"{api}/health/ready")).json()["reasons"]

        async def is_red() -> bool:
            assert await post() != 202
            return await is_refused()

        async def is_green() -> bool:
            return not await is_refused()

        assert await post() == 202
        assert not await is_refused()
        await flip(cluster, "'ledger_g1'", 0)
        began = time.monotonic()
        await eventually(is_red, seconds=30, every=0.2)
        assert time.monotonic() - began < 12
        metrics = (await client.get(f"{api}/metrics")).text
        assert 'amazon_conversions_database_errors_total{class="XX"}' in metrics
        doctor = await asyncio.to_thread(operator.product.run, "doctor")
        assert (doctor.returncode, "data checksums failed" in doctor.stdout) == (1, True)
        await flip(cluster, "'ledger_g1'", 0)
        await eventually(is_green, seconds=30, every=0.2)
        assert await post() == 202
