"""Compares the CPU time of an event with another commit's or an outbox's, in alternating rounds.

Both programs run at the same time, each with its own Postgres, API and worker, and one of them gets events.
Each round lies between two rounds of the base, and its ratio uses their mean, because machines change their
speed within seconds. The base's rounds, compared with each other, show what a ratio of 1 looks like.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from math import comb
from pathlib import Path

from app.settings import Settings
from bench import outbox
from bench.pipeline import SIZES, Pipeline
from bench.report import middle, table
from bench.stage import Checkout, as_in_the_image, stage
from dev.drills.stage import check_out, python_of

ROUNDS = 6  # the fewest whose range is a 95 % interval of the median
LIMIT = 1.05
LANES = 10
OUTBOX = "outbox"
PARTS = ("api", "worker", "postgres")

# For each size of posts: the CPU time of an event of each part, in each round.
_Costs = dict[int, list[dict[str, float]]]


def run(settings: Settings, commit: str, *, rounds: int) -> int:
    """Print the ratios; return 1 if an event costs more than `LIMIT` times as much as at the commit.

    The commit `outbox` is the program of `outbox.py`, whose costs are printed divided by ours.
    """
    ours: _Costs = defaultdict(list)
    bases: _Costs = defaultdict(list)
    with ExitStack() as stack:
        is_outbox = commit == OUTBOX
        code = Checkout(module="bench.outbox") if is_outbox else stack.enter_context(checkout(commit))
        base, our = (pipeline_of(settings, stack, each) for each in (code, Checkout()))
        for per_post, events, _, connections in SIZES * rounds:
            if not bases[per_post]:
                bases[per_post].append(_cost(base, events, per_post, connections))
            ours[per_post].append(_cost(our, events, per_post, connections))
            bases[per_post].append(_cost(base, events, per_post, connections))
    name = "an outbox ÷ ours" if is_outbox else f"ours ÷ at {commit}"
    print(f"## CPU time of an event, {name} ({rounds} interleaved rounds: median, interval of 95 %)\n")
    head = ("events a post", "whole", "API", "worker", "Postgres", f"{commit} ÷ itself", "us", "us there")
    broken, rows = False, []
    for size in ours:
        found = {part: ratios(ours[size], bases[size], part) for part in ("whole", *PARTS)}
        broken |= not is_outbox and interval(found["whole"])[0] > LIMIT
        if is_outbox:
            found = {part: [1 / ratio for ratio in part_ratios] for part, part_ratios in found.items()}
        itself = [later["whole"] / earlier["whole"] for earlier, later in pairwise(bases[size])]
        times = [middle(cost["whole"] for cost in costs[size]) for costs in (ours, bases)]
        rows.append((size, *map(with_interval, found.values()), with_interval(itself), *times))
    print(table(head, rows))
    if broken:
        print(f"An event costs more than {LIMIT} times as much as at {commit}.")
    return int(broken)


@contextmanager
def checkout(commit: str) -> Iterator[Checkout]:
    """Check a commit out in a temporary folder, with its own environment if its packages differ."""
    with tempfile.TemporaryDirectory(prefix="conversions-base-") as folder:
        root = Path(folder) / "base"
        check_out(commit, root)
        yield Checkout(root, python_of(root))


def pipeline_of(settings: Settings, stack: ExitStack, code: Checkout, *, lanes: int = LANES) -> Pipeline:
    """Start the processes of a checkout until the end of the stack, and create its destinations."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conversions-bench-")))
    code = as_in_the_image(code, folder / "code")
    running = stack.enter_context(stage(settings, folder, lanes=lanes, checkout=code))
    pipeline = Pipeline(running)
    if code.module == "app":
        pipeline.connect(lanes)
    else:
        pipeline.destinations = [outbox.DESTINATION.format(number) for number in range(lanes)]
    running.start_worker()
    pipeline.run(2_000, 100, LANES, connections=4)  # plans prepared, lanes owned
    pipeline.warm(LANES)
    return pipeline


def _cost(pipeline: Pipeline, events: int, per_post: int, connections: int) -> dict[str, float]:
    measured = pipeline.run(events, per_post, LANES, connections=connections)
    return {"whole": measured.cpu, **{part: measured.cpu_us[part] for part in PARTS}}


def ratios(ours: Sequence[dict[str, float]], bases: Sequence[dict[str, float]], part: str) -> list[float]:
    """Return the ratio of each round to the rounds of the base before and after it."""
    means = [(before[part] + after[part]) / 2 for before, after in pairwise(bases)]
    return [cost[part] / mean for cost, mean in zip(ours, means, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval that holds the median of all rounds in 95 % of cases, whatever their distribution.

    Its ends are the values of rank `k` from below and above. The median lies outside if fewer than `k` values
    are on one side of it, which is as likely as fewer than `k` heads of coins.
    """
    ordered, count = sorted(values), len(values)
    outside = 2 / 2**count
    k = 1
    while (outside := outside + 2 * comb(count, k) / 2**count) <= 0.05:
        k += 1
    return ordered[k - 1], ordered[-k]


def with_interval(found: Sequence[float]) -> str:
    """Return the median and its interval."""
    low, high = interval(found)
    return f"{middle(found):.2f} ({low:.2f} to {high:.2f})"
