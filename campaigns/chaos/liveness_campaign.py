"""`./run campaign liveness --seeds A-B`: one sick, many healthy, with storage faults.

Prints a line a seed and a total. A schedule that breaks a promise is kept as JSON in the folder for temporary
files, beside the logs of all processes; `--replay FILE` plays it again.
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

from campaigns.chaos import liveness_judge, rare_states
from campaigns.chaos.campaign import staged
from campaigns.chaos.damage import KINDS
from campaigns.chaos.liveness_run import LivenessReport, play
from campaigns.chaos.liveness_schedule import LivenessSchedule, draw
from campaigns.chaos.stage import Installation
from campaigns.running import commit, keep_logs, say, seeds
from tests.crashes.evidence import Objection

SEEDS_A_STAGE = 12  # then everything is made anew, so that old tables cost nothing
LONGEST_RUN_S = 240.0
CALM = 3.0  # a stretch up to which the machine had cores to spare


async def run(schedules: Sequence[LivenessSchedule], *, until: float = float("inf")) -> list[LivenessReport]:
    """Play every schedule; a stage on which a promise was broken is not used again."""
    reports: list[LivenessReport] = []
    waiting = list(schedules)
    while waiting and time.monotonic() < until:
        async with staged() as stage:
            for _ in range(SEEDS_A_STAGE):
                if not waiting or time.monotonic() >= until:
                    break
                report = await twice(stage, waiting.pop(0))
                reports.append(report)
                say(report.line())
                if report.objections:
                    for objection in report.objections:
                        say(f"  {objection}")
                    if not report.replays:
                        keep(stage, report.schedule)
                    break
    return reports


async def twice(stage: Installation, schedule: LivenessSchedule) -> LivenessReport:
    """Play a schedule, and once more where only bounds on time were broken on a busy machine."""
    report = await played(stage, schedule)
    if not _is_starved(report):
        return report
    say(f"  not counted: {report.line()}")
    for objection in report.objections:
        say(f"    {objection}")
    await asyncio.sleep(2)
    async with staged() as another:
        report = await played(another, schedule)
        report.replays = 1
        report.is_judged = not _is_starved(report)
        if report.objections:
            keep(another, schedule)
    return report


def _is_starved(report: LivenessReport) -> bool:
    """Tell whether only bounds on time were broken, on a machine that had no core to spare."""
    broken = {objection.rule for objection in report.objections}
    if report.standstill > 2 * report.allowed:
        return False  # no machine is that busy: something waits for what never comes
    return bool(broken) and broken <= liveness_judge.TIMED and report.stretch > CALM


async def played(stage: Installation, schedule: LivenessSchedule) -> LivenessReport:
    """Play one schedule; a run that could not be finished is an objection too."""
    try:
        return await asyncio.wait_for(play(stage, schedule), LONGEST_RUN_S)
    except (AssertionError, TimeoutError, OSError, asyncpg.PostgresError, httpx.HTTPError) as error:
        return LivenessReport(schedule, [Objection("the_run_ends", f"{type(error).__name__}: {error}"[:300])])


def keep(stage: Installation, schedule: LivenessSchedule) -> None:
    """Store the schedule, the logs and the stand-in's records for the analysis."""
    into = keep_logs(stage.folder, f"chaos-liveness-{schedule.seed}")
    (into / "schedule.json").write_text(schedule.as_json() + "\n")


def total(reports: Sequence[LivenessReport], seconds: float) -> str:
    broken = [report.schedule.seed for report in reports if report.objections and report.is_judged]
    unjudged = [report.schedule.seed for report in reports if not report.is_judged and report.objections]
    kinds = Counter(report.schedule.broken for report in reports)
    return (
        f"{len(reports)} schedules, {sum(r.acknowledged for r in reports)} events acknowledged, "
        f"{sum(r.delivered for r in reports)} delivered, {sum(r.damaged for r in reports)} damaged in "
        f"{sum(len(r.schedule.damages) for r in reports)} storage faults, "
        f"p99 of {sum(r.paced for r in reports)} advertisers, {seconds:.0f} s; "
        f"{', '.join(f'{kind}: {number}' for kind, number in sorted(kinds.items()))}; "
        f"replayed for a busy machine: {sum(r.replays for r in reports)}; broken: {broken or 'none'}; "
        f"not judged, on a machine without a free core: {unjudged or 'none'}"
    )


def main() -> int:
    """Run the command; 1 when a promise was broken or, with `--states`, a rare state was not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-5", help="A-B, or one seed")
    parser.add_argument("--replay", type=Path, help="play a kept schedule instead")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no schedule after that time"
    )
    parser.add_argument("--only", default="", help="kinds of damage, separated by commas, in place of all")
    parser.add_argument("--states", action="store_true", help="demand every rare state of the table")
    parser.add_argument("--states-file", type=Path, help="add the states met to this file")
    options = parser.parse_args()

    began = time.monotonic()
    schedules = (
        [LivenessSchedule.read(options.replay)]
        if options.replay is not None
        else [draw(seed) for seed in seeds(options.seeds)]
    )
    if kinds := [kind for kind in options.only.split(",") if kind]:
        schedules = [
            replace(
                one, damages=tuple(sorted({kinds[KINDS.index(kind) % len(kinds)] for kind in one.damages}))
            )
            for one in schedules
        ]
    reports = asyncio.run(run(schedules, until=began + options.minutes * 60))
    say(f"commit {commit()}: {total(reports, time.monotonic() - began)}")
    met = set[str]().union(*(report.states for report in reports))
    missing = rare_states.report(met, options.states_file)
    return (
        1
        if any(report.objections and report.is_judged for report in reports) or (options.states and missing)
        else 0
    )
