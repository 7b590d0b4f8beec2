"""Compares what single posts over many lanes cost with another commit, with one and with several workers.

Both commits run at the same time, each with its own Postgres, API and workers, and one of them gets events.
At a given rate the cost of the idle processes, measured directly before, is subtracted: at 20 events a second
it would be most of the CPU time.
"""

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass

from app.settings import Settings
from bench import against
from bench.pipeline import Pipeline, Round
from bench.report import middle, quantile, table
from bench.stage import Checkout, Stage

_IDLE_S = 6.0
_WARMING = 3_000
CONNECTIONS = 64
HEAD = (
    "lanes", "posts a second", "workers", "CPU µs an event", "there", "ratio", "worker and Postgres, ratio",
    "events a request", "there", "worker ms a request", "there", "to delivery p50 ms", "there", "p99 ms",
    "there",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Load:
    """Single posts over this number of lanes; `per_second` is None for as many as possible."""

    lanes: int
    per_second: int | None
    events: int
    workers: int = 1


LOADS = (
    Load(1, 20, 400),
    *(Load(100, 100, 2_000, workers) for workers in (1, 4)),
    Load(1_000, 100, 3_000),
    # An event waits up to 10 s for its turn. With so many events, these seconds and their idle CPU are few.
    *(Load(lanes, None, 40_000, workers) for lanes in (100, 1_000) for workers in (1, 2, 4)),
)


LANES = max(load.lanes for load in LOADS)


@dataclass(frozen=True, slots=True)
class Cost:
    """The CPU of an event in µs, without that of idle processes at a given rate, and what a run showed."""

    whole: float
    delivery: float  # worker and Postgres
    round: Round

    @property
    def per_request(self) -> float:
        """Events in a request."""
        return self.round.events / self.round.requests

    @property
    def request_ms(self) -> float:
        """CPU of the worker for a request."""
        return self.round.cpu_us["worker"] * self.per_request / 1e3


def run(settings: Settings, commit: str, *, rounds: int) -> None:
    """Print the costs and their ratios."""
    found: dict[Load, list[tuple[Cost, Cost]]] = defaultdict(list)
    with ExitStack() as stack:
        codes = stack.enter_context(against.checkout(commit)), Checkout()
        there, here = (against.pipeline_of(settings, stack, code, lanes=LANES) for code in codes)
        for _ in range(rounds):
            for load in LOADS:
                found[load].append((measure(here, load), measure(there, load)))
    print(f"## Single posts over many lanes, beside {commit} ({rounds} interleaved rounds, medians)\n")
    print(table(HEAD, [_row(load, costs) for load, costs in found.items()]))


def measure(pipeline: Pipeline, load: Load) -> Cost:
    """Start the workers of a load, let them own the lanes, and measure."""
    stage = pipeline.stage
    if sum(name.startswith("worker") for name in stage.processes) != load.workers:
        stage.end_workers()
        stage.start_worker(load.workers)
    # All lanes are owned, and all connections have planned their statements.
    pipeline.run(max(_WARMING, load.lanes), 1, load.lanes, connections=CONNECTIONS)
    idle = _idle(stage) if load.per_second is not None else {}
    taken = time.monotonic()
    measured = pipeline.run(load.events, 1, load.lanes, connections=CONNECTIONS, per_second=load.per_second)
    taken = time.monotonic() - taken
    cpu = {
        part: measured.cpu_us[part] - idle.get(part, 0.0) * taken / measured.events * 1e6
        for part in against.PARTS
    }
    measured.cpu_us.update(cpu)
    return Cost(measured.cpu, cpu["worker"] + cpu["postgres"], measured)


def _idle(stage: Stage) -> dict[str, float]:
    """Return the CPU seconds that each part needs a second without events."""
    time.sleep(2)
    before = stage.spent()
    time.sleep(_IDLE_S)
    spent = stage.spent().since(before)
    return {part: spent.seconds[part] / _IDLE_S for part in against.PARTS}


def _row(load: Load, costs: list[tuple[Cost, Cost]]) -> list[object]:
    sides = list(zip(*costs, strict=True))
    row: list[object] = [load.lanes, load.per_second or "all", load.workers]
    row += [middle(cost.whole for cost in side) for side in sides]
    row.append(against.with_interval([here.whole / there.whole for here, there in costs]))
    row.append(against.with_interval([here.delivery / there.delivery for here, there in costs]))
    row += [middle(cost.per_request for cost in side) for side in sides]
    row += [middle(cost.request_ms for cost in side) for side in sides]
    for share in (0.5, 0.99):
        row += [middle(quantile(cost.round.delivered_ms, share) for cost in side) for side in sides]
    return row
