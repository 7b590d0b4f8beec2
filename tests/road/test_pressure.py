"""At ten times what it can take the door stores about as much as at its best, and refuses the rest."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from tests.road.flood import EVENTS
from tests.road.processes import ADMIN, ROOT, Operator, Product
from tests.road.world import eventually

ROUNDS, SECONDS = 2, 2.0


@pytest_asyncio.fixture
async def product(database_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    """One API process, a worker and the sandbox."""
    made = Product(database_url, tmp_path / "everything.log")
    try:
        made.start("sandbox", "sandbox", LOG_LEVEL="warning")
        made.start("api", "serve", "--socket", str(made.listener.fileno()), LOG_LEVEL="warning")
        made.start("worker", "work", LOG_LEVEL="warning")
        await asyncio.to_thread(made.ready, made.api + "/health/live", made.amazon + "/_sandbox/health")
        yield made
    finally:
        await asyncio.to_thread(made.close)


async def flood(
    product: Product, destination: str, seed: int, connections: int, *rate: float
) -> dict[str, Any]:
    """Run the sender in a process of its own and return what it saw."""
    arguments = map(str, (product.api_port, destination, ADMIN, seed, SECONDS, connections, *rate))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.road.flood", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert child.returncode == 0
    seen: dict[str, Any] = json.loads(said)
    return seen


async def test_goodput_at_ten_times_the_capacity_is_that_of_the_peak(product: Product) -> None:
    """Rounds of both, by turns, so that a machine that is busy with something else weighs on both alike.

    The figure wanted is 0.9 (docs/performance.md); on shared cores the test holds it to 0.75.
    """
    async with httpx.AsyncClient(timeout=30) as client:
        destination = await Operator(product, client).destination("5800000001")
        await flood(product, destination, 0, 16)

        async def settled() -> bool:
            return "posts_under_way 0.0" in (await client.get(product.api + "/metrics")).text

        peaks, floods = [], []
        for turn in range(ROUNDS):
            await eventually(settled)
            peaks.append(await flood(product, destination, 10 + turn, 16))
            await eventually(settled)
            posts = peaks[-1]["events_s"] / EVENTS
            floods.append(await flood(product, destination, 50 + turn, 700, 10 * posts))
        metrics = (await client.get(product.api + "/metrics")).text
    report = {"peak": peaks, "flood": floods}
    print(json.dumps(report, indent=1))
    assert all(set(seen["statuses"]) == {"202"} for seen in peaks), report
    assert all(set(seen["statuses"]) <= {"202", "503"} for seen in floods), report
    assert any(seen["statuses"]["503"] > seen["statuses"]["202"] for seen in floods), report
    assert 'turned_away_total{cause="crowded"}' in metrics
    ratio = sum(seen["events_s"] for seen in floods) / sum(seen["events_s"] for seen in peaks)
    assert ratio >= 0.75, (ratio, report)
