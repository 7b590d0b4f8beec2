"""What the console's pages weigh and cost with much stored.

An instance is filled by SQL with what a long past leaves behind, and every page is opened. The CPU time of
the API's process and of Postgres says what a page costs on a machine that others use too.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from app.domain.batch import EventMetadata, pack
from app.store import read_sql
from tests.console.showcase import Cast, signed_in
from tests.databases import connected, execute
from tests.pipeline.processes import ADMIN, Product

MOST_BYTES, MOST_MS = 100_000, 200.0
_CONTENT = 243  # bytes that a stored event takes
_MOST_TIMES = 12


@dataclass(frozen=True)
class Weighed:
    """A page: bytes on the wire with its style sheets and scripts, and the CPU time of the server.

    The CPU time is the lowest of all tries: others are that of the page and of work in the background.
    """

    name: str
    whole: int
    cpu_ms: float


async def make_room(dsn: str, batches: int) -> None:
    """Let what is accepted from now on have ids above those of the past to come."""
    await execute(dsn, f"SELECT setval('batch_ids', {batches + 100})")


async def fill(dsn: str, cast: Cast, *, events: int, destinations: int) -> None:
    """Add a past to the shop, one event in each batch: delivered, dead and rejected events, and requests.

    Beside it stand active `destinations` with a history and requests of their own (`weight.sql`).
    """
    past, of_shop, *statements = read_sql(__file__).values()
    async with connected(dsn) as connection:
        mapping = await connection.fetchval("SELECT number FROM mappings WHERE id = $1", cast.mapping)
        shape = EventMetadata(
            0,
            "past-0:node-7",
            mapping,
            1,
            "ADD_TO_SHOPPING_CART",
            int(time.time() * 1000),
            ("EMAIL",),
            (),
            None,
            f"{0:032x}",
            "journey-0",
            "n0",
            request_id=f"{0:016x}",
        )
        await connection.execute(past)
        stored = (os.urandom(_CONTENT), pack([shape]))
        shop = (cast.shop, cast.mapping, *stored, events, destinations)
        assert await connection.execute(of_shop, *shop) == "INSERT 0 1"
        for statement in statements:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")


async def weigh(product: Product, dsn: str, cast: Cast) -> list[Weighed]:
    """Open every page as a browser would, and return what each costs."""
    meter = CpuMeter(product.children["api"].pid, await asyncpg.connect(dsn))
    async with signed_in(product) as client:
        answer = await client.get("/incidents", headers={"Authorization": f"Bearer {ADMIN}"})
        pages = cast.pages | {"incident": f"/console/incidents/{answer.json()['items'][0]['id']}"}
        weighed = [await _weigh(client, meter, name, path) for name, path in pages.items()]
    await meter.connection.close()
    return weighed


@dataclass(frozen=True)
class CpuMeter:
    """Measures the CPU time of an API process and of its sessions, without those of the incident monitor."""

    process: int
    connection: asyncpg.Connection

    async def read(self) -> tuple[float, dict[int, float]]:
        """Return the milliseconds of the process, and those of each session."""
        rows = await self.connection.fetch(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'conversions-api'"
        )
        return _cpu_ms(self.process), {row["pid"]: _cpu_ms(row["pid"]) for row in rows}


def _cpu_ms(process: int) -> float:
    """Return the time that the threads of a process ran, which the kernel counts in nanoseconds."""
    files = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


async def _weigh(client: httpx.AsyncClient, meter: CpuMeter, name: str, path: str) -> Weighed:
    costs: list[float] = []
    # What runs in the background costs too; an expensive page is expensive at every try.
    while not costs or (min(costs) > MOST_MS and len(costs) < _MOST_TIMES):
        process, sessions = await meter.read()
        answer = await client.get(path)
        later, present = await meter.read()
        costs.append(later - process + sum(ms - sessions.get(pid, 0.0) for pid, ms in present.items()))
    assert answer.status_code in (200, 404), (path, answer.status_code)
    found = {part.split('"')[0] for part in answer.text.split('"/console/static/')[1:]}
    assets = sum([(await client.get(f"/console/static/{one}")).num_bytes_downloaded for one in found])
    return Weighed(name, answer.num_bytes_downloaded + assets, min(costs))
