"""Latency of 47 lanes alone, and with three hostile ones: a million waiting, responses after 10 s, only 500s.

The tests assert that no lane takes send slots from another (tests/pipeline/test_hostile_lanes.py).
"""

import asyncio
import json
import tempfile
from pathlib import Path

from app.settings import Settings
from bench.pipeline import Pipeline, Round
from bench.report import quantile, table
from bench.stage import Stage, stage
from bench.waiting import FULL, fill

OTHERS = 47
CROWDED, SLOW, FAILING = OTHERS, OTHERS + 1, OTHERS + 2
PER_SECOND, SECONDS = 25, 30


def run(settings: Settings) -> None:
    """Print the latencies of the others, alone and with the hostile ones, from one run."""
    hostile = (f"{CROWDED}=crowded", f"{SLOW}=slow", f"{FAILING}=failing")
    with (
        tempfile.TemporaryDirectory(prefix="conversions-bench-") as folder,
        stage(settings, Path(folder), lanes=OTHERS + 3, hostile=hostile) as running,
    ):
        pipeline = Pipeline(running)
        pipeline.connect(OTHERS + 3)
        running.start_worker()
        pipeline.run(OTHERS * 10, 1, OTHERS, connections=8)  # every lane is owned, plans are prepared
        rounds = [("alone", _trickle(pipeline))]
        running.end("worker")
        asyncio.run(_crowd(running, pipeline))
        running.start_worker()
        pipeline.run(OTHERS, 1, OTHERS, connections=8)
        rounds.append(("with three hostile lanes", _trickle(pipeline)))
        requests = json.loads(running.fetch("/_hostile"))
    print("## Latency of 47 lanes with three hostile ones\n")
    head = ("", "events", "accept p50 ms", "p99", "to delivery p50 ms", "p90", "p99", "worst")
    print(table(head, [_row(name, one) for name, one in rounds]))
    ratio = quantile(rounds[1][1].delivered_ms, 0.99) / quantile(rounds[0][1].delivered_ms, 0.99)
    print(
        f"p99 with hostile lanes / alone: {ratio:.2f}. Requests of the hostile ones: {requests}.\n",
        flush=True,
    )


def _trickle(pipeline: Pipeline) -> Round:
    return pipeline.run(PER_SECOND * SECONDS, 1, OTHERS, connections=32, per_second=PER_SECOND)


def _row(name: str, one: Round) -> tuple[object, ...]:
    accepted, delivered = one.accept_ms, one.delivered_ms
    return (
        name, len(delivered), quantile(accepted, 0.5), quantile(accepted, 0.99), quantile(delivered, 0.5),
        quantile(delivered, 0.9), quantile(delivered, 0.99), max(delivered),
    )  # fmt: skip


async def _crowd(running: Stage, pipeline: Pipeline) -> None:
    """Store a million waiting events in one lane, and some hundred in the two others."""
    for lane, events in ((CROWDED, 1_000_000), (SLOW, FULL), (FAILING, FULL)):
        await fill(running, pipeline.destinations[lane], events)
