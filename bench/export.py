"""Export a million events: memory of the API process, and the age of the oldest transaction meanwhile."""

import asyncio
import time
import urllib.request

import asyncpg

from app.crypto import Vault
from bench.events import bodies
from bench.pipeline import Pipeline
from bench.report import MIB, table
from bench.stage import Stage
from bench.waiting import FULL, multiply

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
    asyncio.run(_fill(running, pipeline, events))
    rows = [asyncio.run(_exported(running, pipeline.destinations[0], form)) for form in ("ndjson", "csv")]
    head = ("format", "rows", "seconds", "rows/s", "API MB before", "highest MB", "oldest transaction s")
    print(f"## Export of {events:,} events\n")
    print(table(head, rows), flush=True)


async def _fill(running: Stage, pipeline: Pipeline, events: int) -> None:
    (body,) = bodies("export", FULL, FULL, pipeline.destinations[:1])
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.settings.port}/events",
        data=body,
        headers={"X-Api-Key": running.key, "Content-Type": "application/json"},
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=60).close())
    connection = await asyncpg.connect(running.dsn)
    try:
        number = await connection.fetchval(
            "SELECT number FROM destinations WHERE id = $1", pipeline.destinations[0]
        )
        # Of the batches of the post, one is copied.
        await connection.execute(
            "DELETE FROM batch_states WHERE batch <> "
            "(SELECT max(batch) FROM batch_states WHERE destination = $1)",
            number,
        )
        size = await connection.fetchval("SELECT events FROM batch_states")
        await multiply(connection, Vault(running.settings.named_keys), number, times=events // size)
        await connection.execute("VACUUM ANALYZE batches, batch_states")
    finally:
        await connection.close()


async def _exported(running: Stage, destination: str, form: str) -> tuple[object, ...]:
    before, began = running.resident()["api"], time.monotonic()
    reading = asyncio.create_task(asyncio.to_thread(_read, running, destination, form))
    highest, oldest = before, 0.0
    connection = await asyncpg.connect(running.dsn)
    try:
        while not reading.done():
            highest = max(highest, running.resident()["api"])
            age = await connection.fetchval(_OLDEST_TRANSACTION)
            oldest = max(oldest, age or 0.0)
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
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
