"""A page of the ledger that is damaged on the disk: an API process is not ready while it is, and ready after.

With real processes, a real Postgres with checksums and one flipped bit; some twenty seconds.
`tests/pipeline/test_readiness.py` shows the same with errors that are raised on purpose.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.store.database.migrate import upgrade
from dev.postgres.cluster import THROWAWAY, Cluster
from tests.databases import running
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import event, eventually, make_world

pytestmark = pytest.mark.long

PAGE = 8192


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="conversions-damaged-"))
    folder.chmod(0o755)
    with running(Cluster(folder, settings=THROWAWAY)) as cluster:
        upgrade(cluster.url)
        yield cluster
    shutil.rmtree(folder, ignore_errors=True)


async def ask(cluster: Cluster, statement: str) -> object:
    connection = await asyncpg.connect(cluster.url.replace("+asyncpg", ""))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def flip(file: Path) -> None:
    """Flip one bit in the middle of the last page."""
    with file.open("r+b") as opened:
        opened.seek(-PAGE // 2, os.SEEK_END)
        [byte] = opened.read(1)
        opened.seek(-PAGE // 2, os.SEEK_END)
        opened.write(bytes([byte ^ 1]))


async def test_readiness_follows_a_damaged_page_of_the_ledger(own_cluster: Cluster, tmp_path: Path) -> None:
    """Not ready within ten seconds of the first refused post; after the repair ready again without a post."""
    if await ask(own_cluster, "SHOW data_checksums") != "on":
        pytest.skip("this Postgres makes no checksums by default")
    async with make_world(own_cluster.url) as world:
        dst = await world.destination()
        await world.post(dst, *(event(number) for number in range(50)))
    path = await ask(own_cluster, "SELECT pg_relation_filepath('ledger_g1')")
    home = Path(str(await ask(own_cluster, "SHOW data_directory")))
    if not home.exists() or home == Path("/proc/self/cwd"):
        home = own_cluster._home
    product = Product(own_cluster.url, tmp_path / "log.txt")
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(timeout=20, headers={"X-Api-Key": ADMIN}) as client:
        numbers = iter(range(1_000, 100_000))

        async def post() -> int:
            body = {"destination_id": dst, **event(next(numbers))}
            try:
                return (await client.post(f"{product.api}/events", json=body)).status_code
            except httpx.HTTPError:
                return 0

        async def refused() -> bool:
            answer = await client.get(f"{product.api}/health/ready")
            return "flushes_refused" in answer.json()["reasons"]

        async def accepts() -> bool:
            return await post() == 202

        try:
            product.start("api", "serve", "--socket", str(product.listener.fileno()))
            await eventually(accepts, seconds=60, every=0.2)
            assert not await refused()

            await asyncio.to_thread(own_cluster.stop)
            flip(home / str(path))
            await asyncio.to_thread(own_cluster.start)
            began = loop.time()

            async def red() -> bool:
                assert await post() != 202
                return await refused()

            await eventually(red, seconds=30, every=0.2)
            took = loop.time() - began
            assert took < 12
            metrics = (await client.get(f"{product.api}/metrics")).text
            assert 'amazon_conversions_database_errors_total{class="XX"}' in metrics
            doctor = await asyncio.to_thread(product.run, "doctor")
            assert doctor.returncode == 1
            assert "data checksums failed" in doctor.stdout

            await asyncio.to_thread(own_cluster.stop)
            flip(home / str(path))
            await asyncio.to_thread(own_cluster.start)

            async def green() -> bool:
                return not await refused()

            await eventually(green, seconds=30, every=0.2)
            assert await post() == 202
            print(f"not ready after {took:.1f} s")
        finally:
            await asyncio.to_thread(product.close)
