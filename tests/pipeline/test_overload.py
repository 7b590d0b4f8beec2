"""At ten times its capacity the API stores about its peak rate and sheds the rest."""

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.pipeline.flood import EVENTS
from tests.pipeline.processes import ADMIN, ROOT, Product, running_product
from tests.pipeline.world import eventually

ROUNDS, SECONDS = 2, 2.0


async def flood(
    product: Product, destination: str, seed: int, connections: int, *rate: float
) -> dict[str, Any]:
    """Run the sender in a process of its own and return what it saw."""
    arguments = map(str, (product.api_port, destination, ADMIN, seed, SECONDS, connections, *rate))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.pipeline.flood", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert child.returncode == 0
    seen: dict[str, Any] = json.loads(output)
    return seen


@dataclass
class Meter:
    """What the API stored, and the CPU that it took for that and for refusing."""

    product: Product
    client: httpx.AsyncClient

    async def metrics(self) -> str:
        return (await self.client.get(self.product.api + "/metrics")).text

    async def read(self) -> tuple[float, float]:
        """Return events stored and CPU seconds so far, once nothing is under way."""
        cached = await self.metrics()  # for a second; the CPU time in each text differs

        async def settled() -> str | None:
            text = await self.metrics()
            idle = "amazon_conversions_event_requests_in_flight 0.0" in text
            return text if idle and text != cached else None

        metrics = await eventually(settled)
        stored = re.search(
            r'(?m)^amazon_conversions_events_received_total\{result="accepted"\} (\S+)', metrics
        )
        stat = Path(f"/proc/{self.product.children['api'].pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(stat[11]) + int(stat[12])
        return float(stored[1]) if stored else 0.0, ticks / os.sysconf("SC_CLK_TCK")


async def test_goodput_at_ten_times_the_capacity_is_that_of_the_peak(
    database_url: str, tmp_path: Path
) -> None:
    """Rounds of both, by turns. Wanted are nine tenths (docs/performance.md).

    Where cores are shared the wall clock tells as much of the other work as of this, so it is asked only
    that nothing breaks down. What an event costs the API, refusing included, is held to more.
    """
    product = Product(database_url, tmp_path / "everything.log")
    async with running_product(product, workers=["worker"], LOG_LEVEL="warning") as operator:
        client, destination = operator.client, await operator.destination("5800000001")
        meter = Meter(product, client)
        seen: dict[str, list[dict[str, Any]]] = {"peak": [], "flood": []}
        cost: dict[str, list[float]] = {"peak": [], "flood": []}  # events a CPU second, by round
        for turn in range(ROUNDS):
            for kind, seed, connections in (("peak", 10, 16), ("flood", 50, 700)):
                before = await meter.read()
                rate = [10 * seen["peak"][-1]["events_s"] / EVENTS] if kind == "flood" else []
                seen[kind].append(await flood(product, destination, seed + turn, connections, *rate))
                after = await meter.read()
                cost[kind].append((after[0] - before[0]) / (after[1] - before[1]))
        metrics = (await client.get(product.api + "/metrics")).text
    goodput = sum(one["events_s"] for one in seen["flood"]) / sum(one["events_s"] for one in seen["peak"])
    # The best round: other work on the cores makes an event cost more, and never less.
    a_cpu_second = max(flood / peak for peak, flood in zip(cost["peak"], cost["flood"], strict=True))
    report = {"goodput": goodput, "events a CPU second": a_cpu_second, **seen}
    print(json.dumps(report, indent=1))
    assert all(set(one["statuses"]) == {"202"} for one in seen["peak"]), report
    assert all(set(one["statuses"]) <= {"202", "503"} for one in seen["flood"]), report
    assert any(one["statuses"].get("503", 0) > one["statuses"]["202"] for one in seen["flood"]), report
    assert 'amazon_conversions_requests_shed_total{reason="crowded"}' in metrics
    # 0.68 to 0.72 where events at the peak cost 26 us: a refused request costs a twentieth of a post.
    assert a_cpu_second >= 0.6, report
    assert goodput >= 0.4, report
