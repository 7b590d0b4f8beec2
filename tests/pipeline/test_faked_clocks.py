"""API and worker processes whose machine has another time: events are judged by the database's clock.

With real processes under libfaketime; half a minute.
`tests/pipeline/test_clock_skew.py` shows the same within one process.
"""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from dev.postgres.postmaster import free_port
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import event, eventually, make_world, stamp

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (.ci/run installs it)"),
]


@pytest.mark.parametrize("by", ["-3600", "+3600", "-3456000", "+3456000"], ids=["-1h", "+1h", "-40d", "+40d"])
async def test_events_are_judged_by_the_databases_clock(database_url: str, tmp_path: Path, by: str) -> None:
    """What is new is taken and does not expire; both processes say that their clock is off."""
    async with make_world(database_url) as world:
        dst = await world.destination()
    product = Product(database_url, tmp_path / "log.txt", forks=False)
    faked = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ports = [free_port(), free_port()]
    async with httpx.AsyncClient(timeout=20, headers={"X-Api-Key": ADMIN}) as client:

        async def post(number: int, **ago: int) -> tuple[int, str]:
            at = {"timestamp": stamp(ago=timedelta(**ago)), "total": 1, "brand": "acme"}
            try:
                answer = await client.post(
                    f"{product.api}/events", json={"destination_id": dst, **event(number, event=at)}
                )
            except httpx.HTTPError:
                return 0, ""
            [result] = answer.json().get("results", [{}])
            return answer.status_code, result.get("reason", "")

        try:
            more = ("--socket", str(product.listener.fileno()), "--metrics-port", str(ports[0]))
            product.start("api", "serve", *more, **faked)
            product.start("worker", "work", "--metrics-port", str(ports[1]), **faked)

            async def serves() -> bool:
                return (await post(0, seconds=1))[0] == 202

            await eventually(serves, seconds=60, every=0.2)
            assert await post(1, seconds=1) == (202, "")
            assert await post(2, days=20) == (202, "")
            assert await post(3, days=22) == (422, "event_too_old")
            assert await post(4, days=-1) == (422, "timestamp_future")

            for port in ports:

                async def off(port: int = port) -> bool:
                    answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
                    return "clock_off" in answer.json()["reasons"]

                await eventually(off, seconds=60, every=0.2)

            async def attempted() -> bool:
                """The stand-in is not there: what was claimed is retried, and nothing of it expires."""
                counts = (await client.get(f"{product.api}/destinations/{dst}/stats")).json()["counts"]
                assert counts["expired"] == 0
                return bool(counts["retrying"] == 3)

            await eventually(attempted, seconds=60, every=0.2)
            assert not re.search(r'"event": "\w+\.defect"', product.log.read_text())
        finally:
            await asyncio.to_thread(product.close)
