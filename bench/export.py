"""Export a million events: memory of the API process, and the age of the oldest transaction meanwhile."""

import asyncio
import time
import urllib.request

from bench.pipeline import Pipeline
from bench.report import MIB, table
from bench.stage import Stage
from bench.waiting import fill

_SAMPLE_BYTES = 64 * 1024
_OLDEST_TRANSACTION = """
    SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def run(running: Stage, pipeline: Pipeline, *, events: int) -> None:
    """Print rows, seconds, memory and the oldest transaction of both formats."""
    if "worker" in running.processes:
        running.end("worker")
    pipeline.connect(1)
    asyncio.run(fill(running, pipeline.destinations[0], events))
    rows = [asyncio.run(_exported(running, pipeline.destinations[0], form)) for form in ("ndjson", "csv")]
    head = ("format", "rows", "seconds", "rows/s", "API MB before", "highest MB", "oldest transaction s")
    print(f"## Export of {events:,} events\n")
    print(table(head, rows), flush=True)


async def _exported(running: Stage, destination: str, form: str) -> tuple[object, ...]:
    before, began = running.resident()["api"], time.monotonic()
    reading = asyncio.create_task(asyncio.to_thread(_read, running, destination, form))
    highest, oldest = before, 0.0
    async with running.connected() as connection:
        while not reading.done():
            highest = max(highest, running.resident()["api"])
            age = await connection.fetchval(_OLDEST_TRANSACTION)
            oldest = max(oldest, age or 0.0)
            await asyncio.sleep(0.1)
    rows, seconds = await reading, time.monotonic() - began
    return (form, f"{rows:,}", seconds, rows / seconds, before / MIB, highest / MIB, oldest)


def _read(running: Stage, destination: str, form: str) -> int:
    """Read an export to its end; return its rows."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.settings.port}/destinations/{destination}/events?format={form}",
        headers={"X-Api-Key": running.key},
    )
    lines = 0
    with urllib.request.urlopen(request, timeout=600) as answer:
        while part := answer.read(_SAMPLE_BYTES):
            lines += part.count(b"\n")
    return lines - (form == "csv")
