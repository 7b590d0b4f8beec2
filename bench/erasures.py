"""Measures a thousand erasures over millions of stored events, and deliveries meanwhile."""

import asyncio
import json
import time
from statistics import median

from bench import waiting
from bench.pipeline import Pipeline, Round
from bench.report import table
from bench.stage import Stage

ERASURES = 1_000
ROUND, PER_POST = 30_000, 100  # events of a round of deliveries
ROUNDS = 3


def run(running: Stage, pipeline: Pipeline, *, events: int) -> None:
    """Print how long the erasures take, and the rates of deliveries before, during and after them.

    Each erased person has one event beside the stored ones.
    """
    running.end("worker")
    asyncio.run(_store(running, pipeline.destinations[0], events))
    running.start_worker()
    # The second half has the persons: events of an erased person are not sent.
    pipeline.run(2 * ROUND, PER_POST, 10, connections=4)
    before = [_delivered(pipeline) for _ in range(ROUNDS)]
    began = time.monotonic()
    for number in range(ERASURES):
        running.ask("/subjects/erase", json.dumps({"email": _person(number)}).encode())
    asked = time.monotonic() - began
    during: list[Round] = []
    while asyncio.run(_pending(running)):
        during.append(_delivered(pipeline))
    took = time.monotonic() - began
    delivered = sum(each.events for each in during)
    after = [_delivered(pipeline) for _ in range(ROUNDS)]
    rates = [median(each.rate for each in rounds) for rounds in (before, during, after)]
    print("## Erasures\n")
    print(f"{ERASURES} erasures over {events:,} stored events; requested in {asked:.0f} s\n")
    print(
        table(
            ("s until all have ended", "events delivered meanwhile", "persons found",
             "events/s before", "meanwhile", "after"),
            [(took, f"{delivered:,}", asyncio.run(_found(running)), *rates)],
        ),
        flush=True,
    )  # fmt: skip


def _delivered(pipeline: Pipeline) -> Round:
    return pipeline.run(ROUND, PER_POST, 10, connections=4)


def _person(number: int) -> str:
    return f"person.{ROUND + number * ROUND // ERASURES}@example.com"


async def _store(running: Stage, destination: str, events: int) -> None:
    """Store this number of events as if they had been delivered; their data keys exist."""
    await waiting.fill(running, destination, events)
    async with running.connected() as connection:
        await connection.execute(
            "UPDATE batch_states SET disposition = 'sent', settled_at = now() WHERE settled_at IS NULL"
        )
        await connection.execute("VACUUM ANALYZE batch_states")


async def _pending(running: Stage) -> bool:
    async with running.connected() as connection:
        return bool(
            await connection.fetchval("SELECT EXISTS (SELECT FROM erasures WHERE finished_at IS NULL)")
        )


async def _found(running: Stage) -> int:
    async with running.connected() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM erasures WHERE delivered > 0"))
