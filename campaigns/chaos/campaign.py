"""`./run campaign chaos|liveness --seeds A-B`: seeded schedules against whole processes.

`chaos` is a storm that passes; in `liveness` one thing stays broken, stored batches are damaged, and all
else must go on. Prints a line a seed and a total. A schedule that breaks a promise is kept as JSON in the
folder for temporary files, beside the logs of all processes; `--replay FILE` plays it again, and so does the
suite with those of `campaigns/chaos/regressions/`.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx

from campaigns.chaos import liveness_judge
from campaigns.chaos.damage import KINDS
from campaigns.chaos.liveness_run import run_of
from campaigns.chaos.run import Report
from campaigns.chaos.schedule import Schedule, draw, draw_liveness
from campaigns.chaos.stage import Installation
from campaigns.running import commit, keep_logs, say, seeds
from tests.crashes.evidence import Objection

REGRESSIONS = Path(__file__).with_name("regressions")
SEEDS_A_STAGE = 12  # then everything is made anew, so that old tables cost nothing
LONGEST_RUN_S = 900.0
CALM = 3.0  # a stretch up to which the machine had cores to spare


async def run(schedules: Sequence[Schedule], *, until: float = float("inf")) -> list[Report]:
    """Play every schedule, and once more where only bounds on time were broken on a busy machine.

    A stage on which a promise was broken is not used again.
    """
    reports: list[Report] = []
    waiting, again = list(schedules), list[Schedule]()
    while waiting and time.monotonic() < until:
        async with Installation() as stage:
            for _ in range(SEEDS_A_STAGE):
                if not waiting or time.monotonic() >= until:
                    break
                report = await played(stage, schedule := waiting.pop(0))
                if _is_starved(report) and schedule not in again:
                    say(f"  once more, for a busy machine: {report.line()}")
                    again.append(schedule)
                    waiting.insert(0, schedule)
                    break
                report.replays, report.is_judged = int(schedule in again), not _is_starved(report)
                reports.append(report)
                say(report.line())
                if report.objections:
                    keep(stage, report)
                    break
    return reports


def _is_starved(report: Report) -> bool:
    """Tell whether only bounds on time were broken, on a machine that had no core to spare."""
    broken, measures = {objection.rule for objection in report.objections}, report.measures
    if measures.get("longest standstill", 0.0) > 2 * measures.get("allowed", 0.0):
        return False  # no machine is that busy: something waits for what never comes
    return bool(broken) and broken <= liveness_judge.TIMED and measures.get("stretch", 1.0) > CALM


async def played(stage: Installation, schedule: Schedule) -> Report:
    """Play one schedule; a run that could not be finished is an objection too."""
    run = run_of(stage, schedule)
    try:
        return await asyncio.wait_for(run.play(), LONGEST_RUN_S)
    except (AssertionError, TimeoutError, OSError, asyncpg.PostgresError, httpx.HTTPError) as error:
        run.report.objections = [Objection("the_run_ends", f"{type(error).__name__}: {error}"[:300])]
        return run.report


def keep(stage: Installation, report: Report) -> None:
    """Say what was broken; store the schedule, the logs and the stand-in's records for the analysis."""
    say(*report.objections, *report.schedule.steps, sep="\n    ")
    into = keep_logs(stage.folder, f"chaos-seed-{report.schedule.seed}")
    (into / "schedule.json").write_text(report.schedule.as_json() + "\n")


def total(reports: Sequence[Report], seconds: float) -> str:
    broken = [report.schedule.seed for report in reports if report.objections and report.is_judged]
    unjudged = [report.schedule.seed for report in reports if report.objections and not report.is_judged]
    counts = sum((report.counts for report in reports), Counter[str]())
    kinds = Counter(report.schedule.broken for report in reports if report.schedule.broken)
    return (
        f"{len(reports)} seeds, {', '.join(f'{number} {what}' for what, number in counts.items())}, "
        f"{sum(len(report.schedule.steps) for report in reports)} passing faults, {seconds:.0f} s; "
        f"{''.join(f'{kind}: {number}; ' for kind, number in sorted(kinds.items()))}"
        f"replayed for a busy machine: {sum(report.replays for report in reports)}; "
        f"broken: {broken or 'none'}; not judged, on a machine without a free core: {unjudged or 'none'}"
    )


def main() -> int:
    """Run the command; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", choices=("chaos", "liveness"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", default="1-5", help="A-B, or one seed")
    parser.add_argument("--events", type=int, default=1_500, help="chaos: events of a seed")
    parser.add_argument("--replay", type=Path, help="play a kept schedule instead")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no schedule after that time"
    )
    parser.add_argument("--only", default="", help="liveness: kinds of damage, separated by commas")
    options = parser.parse_args()

    began = time.monotonic()
    schedules = [
        draw_liveness(seed) if options.campaign == "liveness" else draw(seed, options.events)
        for seed in seeds(options.seeds)
    ]
    if options.replay is not None:
        schedules = [Schedule.read(options.replay)]
    if kinds := [kind for kind in options.only.split(",") if kind]:
        schedules = [replace(one, damages=_only(kinds, one.damages)) for one in schedules]
    reports = asyncio.run(run(schedules, until=began + options.minutes * 60))
    say(f"commit {commit()}: {total(reports, time.monotonic() - began)}")
    return int(any(report.objections and report.is_judged for report in reports))


def _only(kinds: Sequence[str], damages: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({kinds[KINDS.index(kind) % len(kinds)] for kind in damages}))
