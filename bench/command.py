"""`./run bench`: all measurements, or the quick ones.

Quick: the three sizes of posts over ten lanes and the reference loops, three rounds. `--full` adds five
rounds, one and a thousand lanes, latencies at 20 % and 80 % load, a backlog, and millions waiting.
`--against` compares the cost with another commit's.
"""

import argparse
import asyncio
import platform
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from app.commands import CommandFailed
from app.settings import Settings
from bench import (
    against,
    backlog,
    conversion,
    dedupe,
    erasures,
    export,
    fairness,
    many_lanes,
    organisations,
    reference,
    rejections,
    sizes,
    traces,
    waiting,
)
from bench.events import bodies
from bench.pipeline import SIZES, Pipeline, Round
from bench.report import MIB, ROUND_HEAD, middle, quantile, row_of, table
from bench.stage import Stage, stage


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--full", action="store_true", help="all parts: about fifteen minutes")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3, in full 5, against a commit 6)")
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="fail if an event costs more than at this commit; `outbox` compares with a program of its own",
    )
    parser.add_argument(
        "--pinned", action="store_true", help="organisations: service and generators on a core each"
    )
    parser.add_argument(
        "--only",
        choices=(
            "pipeline",
            "latency",
            "drain",
            "waiting",
            "backlog",
            "fairness",
            "rejections",
            "lanes",
            "organisations",
            "export",
            "sizes",
            "traces",
            "conversion",
            "erasures",
        ),
        help="only one part; `lanes` needs --against",
    )


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Run the bench and print Markdown."""
    lanes = 1000 if asked.full or asked.only == "sizes" else 10
    rounds = asked.rounds or (5 if asked.full else 3)
    parts = (
        [asked.only]
        if asked.only
        else ["pipeline", "latency", *(["drain", "waiting", "backlog", "fairness"] if asked.full else [])]
    )
    if asked.only == "lanes" and not asked.against:
        raise CommandFailed("`--only lanes` compares with another commit: add `--against COMMIT`.")
    print(f"# Bench\n\n{_where()}\n", flush=True)
    if asked.against and asked.only == "lanes":
        many_lanes.run(settings, asked.against, rounds=asked.rounds or 3)
        return 0
    if asked.against:
        return against.run(settings, asked.against, rounds=asked.rounds or against.ROUNDS)
    with tempfile.TemporaryDirectory(prefix="conversions-bench-") as folder:
        if set(parts) - {"backlog", "fairness", "organisations", "conversion"}:
            with stage(settings, Path(folder), lanes=lanes) as running:
                pipeline = Pipeline(running)
                pipeline.connect(min(10, lanes))
                running.start_worker()
                pipeline.run(2_000, 100, 10, connections=4)  # plans prepared, lanes owned, codes compiled
                actions: dict[str, Callable[[], None]] = {
                    "pipeline": lambda: _pipeline(running, pipeline, rounds, lanes, full=asked.full),
                    "latency": lambda: _latency(pipeline, seconds=20 if asked.full else 6),
                    "drain": lambda: _drain(running, pipeline, 1_000_000 if asked.full else 100_000),
                    "waiting": lambda: waiting.run(running, pipeline, sizes=(10_000, 1_000_000)),
                    "rejections": lambda: rejections.run(running, pipeline, rounds=rounds),
                    "export": lambda: export.run(running, pipeline, events=1_000_000),
                    "erasures": lambda: erasures.run(running, pipeline, events=5_000_000),
                    "sizes": lambda: sizes.run(running, pipeline),
                    "traces": lambda: traces.run(running, pipeline, rounds=rounds),
                }
                for part in parts:
                    if part in actions:
                        actions[part]()
    if "backlog" in parts:
        backlog.run(settings, millions=(1, 5) if asked.full else (1,))
    if "fairness" in parts:
        fairness.run(settings)
    if "conversion" in parts:
        conversion.run(rounds=rounds)
    if "organisations" in parts:
        organisations.run(settings, rounds=rounds, seconds=20, pinned=asked.pinned)
    return 0


def _pipeline(running: Stage, pipeline: Pipeline, rounds: int, lanes: int, *, full: bool) -> None:
    posts = list(bodies("reference", 20_000, 500, ["dst_reference"]))
    rows = reference.finished(20_000)
    measured: dict[int, list[Round]] = defaultdict(list)
    bare: dict[str, list[reference.Bare]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    deduped: list[dedupe.Cost] = []

    def copied() -> reference.Bare:
        bare["COPY"].append(asyncio.run(reference.copy(running, rows)))
        return bare["COPY"][-1]

    def inserted() -> reference.Bare:
        bare["single INSERTs"].append(asyncio.run(reference.single_inserts(running, rows[:5_000])))
        return bare["single INSERTs"][-1]

    for _ in range(rounds):
        pipeline.warm(10)
        bare["loop"].append(reference.loop(posts)[0])
        # The reference of a ratio runs directly before and after, because machines change their speed within
        # seconds.
        before = copied()
        for per_post, quick, long, connections in SIZES:
            one = pipeline.run(long if full else quick, per_post, 10, connections=connections)
            after = copied()
            measured[per_post].append(one)
            if per_post == 500:
                ratios["CPU / COPY"].append(one.cpu * 2 / (before.cpu + after.cpu))
                ratios["rate / COPY"].append(one.rate * 2 / (before.rate + after.rate))
        bare["grouped INSERTs"].append(asyncio.run(reference.inserts(running, rows[:5_000])))
        step_by_step = reference.inserts(running, rows[:5_000], in_one_trip=False)
        bare["grouped, a trip each"].append(asyncio.run(step_by_step))
        ratios["beside / single"].append(measured[1][-1].accept_rate / inserted().rate)
        before = bare["single INSERTs"][-1]
        for over, processes in ((1, 1), (10, 1), (10, 2)):
            accepted = pipeline.accepted_alone(15_000, over, connections=64, api_processes=processes)
            after = inserted()
            ratios[f"{over}, {processes} / single"].append(accepted * 2 / (before.rate + after.rate))
            ratios[f"{over}, {processes} / grouped"].append(accepted / bare["grouped INSERTs"][-1].rate)
            ratios[f"{over}, {processes} / a trip each"].append(
                accepted / bare["grouped, a trip each"][-1].rate
            )
            before = after
        deduped.append(dedupe.measure(running))
    print(f"## The pipeline and reference loops ({rounds} interleaved rounds, medians)\n")
    print(table(ROUND_HEAD, [row_of(found) for found in measured.values()]))
    print(
        table(
            ("bare", "rows/s", "CPU us a row", "WAL B a row"),
            [
                (name, *(middle(getattr(one, part) for one in found) for part in ("rate", "cpu", "wal")))
                for name, found in bare.items()
            ],
        )
    )
    loop_cpu = middle(one.cpu for one in bare["loop"])
    whole = {size: middle(one.cpu for one in found) for size, found in measured.items()}
    share = {name: middle(found) for name, found in ratios.items()}
    told_apart = middle(one.digests + one.row for one in deduped)
    print(
        table(
            ("ratio, median over the rounds", "measured", "must", "aim"),
            [
                ("CPU of the pipeline at 500 / COPY's", share["CPU / COPY"], "≤ 6", "≤ 4"),
                ("CPU of the pipeline at 500 / the bare loop's", whole[500] / loop_cpu, "", ""),
                ("delivered/s at 500 / COPY's rows/s", share["rate / COPY"], "≥ 0.2", "≥ 0.4"),
                ("dedupe at 500, us: digests and ledger row", told_apart, "≤ 12", "≤ 6"),
                ("CPU at 500, us", whole[500], "≤ 30", "≤ 21"),
                ("CPU at 100, us", whole[100], "≤ 32", "≤ 22"),
                ("CPU at 1, us", whole[1], "≤ 180", "≤ 110"),
                ("single accepts/s over 1 lane / grouped INSERTs", share["1, 1 / grouped"], "≥ 0.6", "≥ 1"),
                ("over 1 lane / grouped INSERTs, a trip each", share["1, 1 / a trip each"], "≥ 0.6", "≥ 1"),
                ("over 1 lane / single INSERTs of 64 connections", share["1, 1 / single"], "≥ 0.6", "≥ 1"),
                ("over 10 lanes / single INSERTs", share["10, 1 / single"], "≥ 0.6", "≥ 1"),
                ("over 10, two API processes, / single INSERTs", share["10, 2 / single"], "≥ 0.6", "≥ 1"),
                ("over 10, while the worker sends, / single INSERTs", share["beside / single"], "", ""),
            ],
        ),
        flush=True,
    )
    peaks = measured[500][-1].resident
    print("Resident, MB: " + ", ".join(f"{name} {size / MIB:.0f}" for name, size in peaks.items()) + "\n")
    if full:
        _lanes(pipeline, lanes)


def _lanes(pipeline: Pipeline, lanes: int) -> None:
    print("## Lanes (one round each)\n")
    rows = []
    for number in (1, 10, lanes):
        pipeline.connect(number)
        for per_post, quick, _, connections in SIZES:
            rows.append(
                row_of([pipeline.run(max(quick, 10 * number), per_post, number, connections=connections)])
            )
    print(table(ROUND_HEAD, rows), flush=True)


def _latency(pipeline: Pipeline, seconds: float) -> None:
    """Find the highest rate with 100-event posts and singles, then load with a share of it."""
    rows = []
    for per_post, _, long, connections in SIZES[1:]:
        best = pipeline.run(long // 2, per_post, 10, connections=connections).rate
        for share in (0.2, 0.8):
            rate = best * share
            events = max(per_post, int(rate * seconds))
            one = pipeline.run(events, per_post, 10, connections=128, per_second=rate)
            latencies = [
                quantile(times, part) for times in (one.accept_ms, one.delivered_ms) for part in (0.5, 0.99)
            ]
            rows.append((per_post, f"{share:.0%}", rate, *latencies, one.cpu))
    print("## Latency under open-loop load\n")
    head = (
        "events a post",
        "load",
        "events/s",
        "accept p50 ms",
        "p99",
        "to delivery p50 ms",
        "p99",
        "CPU us",
    )
    print(table(head, rows), flush=True)


def _drain(running: Stage, pipeline: Pipeline, waiting: int) -> None:
    """Accept while no worker runs, then start one."""
    running.end("worker")
    stored = pipeline.run(waiting, 500, 10, connections=4, deliver=False)
    rate, cost = pipeline.drain(stored.events)
    cpu = (cost.seconds["worker"] + cost.seconds["postgres"]) / stored.events * 1e6
    print(f"## {stored.events:,} waiting, then drained\n")
    print(
        table(
            ("accepted/s", "drained/s", "drained / accepted", "CPU us to drain one", "resident MB, highest"),
            [
                (
                    stored.accept_rate,
                    rate,
                    rate / stored.accept_rate,
                    cpu,
                    ", ".join(f"{name} {size / MIB:.0f}" for name, size in running.resident().items()),
                )
            ],
        ),
        flush=True,
    )


def _where() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"Commit {commit or 'unknown'}, Python {platform.python_version()}, {platform.system()}."
