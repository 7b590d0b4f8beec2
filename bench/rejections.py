"""The rate at which an API process rejects events compared with accepting them, and the rows it stores.

Interface §10: every rejection is counted, and 600 a minute and destination leave a record.
"""

import asyncio
import time

from bench.load import Plan
from bench.pipeline import Pipeline, post
from bench.report import middle, table
from bench.stage import Stage

_SIZES = ((500, 100_000, 4), (100, 50_000, 4), (1, 10_000, 64))  # events a post, events a round, connections
_LANES = 10


def run(running: Stage, pipeline: Pipeline, *, rounds: int) -> None:
    """Print the ratio of the two rates, interleaved, and the rows of the rejections."""
    if "worker" in running.processes:
        running.end("worker")  # compares only accepting with only rejecting
    pipeline.connect(_LANES)
    rows = []
    before, began, rejected = asyncio.run(_stored(running)), time.monotonic(), 0
    for per_post, events, connections in _SIZES:
        rates: dict[bool, list[float]] = {False: [], True: []}
        for number in range(rounds + 1):  # the first round warms up
            for rejects, found in rates.items():
                plan = Plan(
                    port=running.settings.port,
                    key=running.key,
                    run=f"rejections-{per_post}-{number}-{time.time_ns()}",
                    events=events,
                    per_post=per_post,
                    destinations=pipeline.destinations[:_LANES],
                    connections=connections,
                    rejected=rejects,
                )
                posted = post(plan)
                rejected += posted.rejected
                last = max(at for at in posted.answered if at is not None)
                if number:
                    found.append(events / (last - posted.began))
        ratios = [reject / accept for accept, reject in zip(rates[False], rates[True], strict=True)]
        rows.append((per_post, middle(rates[False]), middle(rates[True]), middle(ratios), min(ratios)))
    time.sleep(3)  # counts and records are written within a second
    after, minutes = asyncio.run(_stored(running)), int((time.monotonic() - began) // 60) + 2
    counted, records = (now - then for now, then in zip(after, before, strict=True))
    print(f"## Rejecting while accepting ({rounds} interleaved rounds, {_LANES} destinations, no worker)\n")
    print(table(("events a post", "accepted/s", "rejected/s", "ratio, median", "lowest"), rows))
    print(
        f"Rejected {rejected:,}; counted {counted:,}. Records: {records:,} of at most "
        f"{600 * _LANES * minutes:,} in {minutes} minutes.\n",
        flush=True,
    )


async def _stored(running: Stage) -> tuple[int, int]:
    """Return the stored counts and records of rejections."""
    async with running.connected() as connection:
        counted = await connection.fetchval("SELECT coalesce(sum(rejected), 0) FROM rejections")
        return int(counted), await connection.fetchval("SELECT count(*) FROM rejection_records")
