"""`./run campaign chaos --seeds A-B --events N`: seeded schedules against whole processes.

Prints a line a seed and a total. A schedule that breaks a promise is made smaller for as long as it still
does, and kept under `campaigns/chaos/regressions/`, where the suite plays it again.
"""

import argparse
import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from campaigns.chaos.scene import Report, play
from campaigns.chaos.schedule import Schedule, draw
from campaigns.chaos.stage import Installation
from campaigns.running import commit, keep_logs, say, seeds
from tests.crashes.evidence import Objection

REGRESSIONS = Path(__file__).with_name("regressions")


@contextlib.asynccontextmanager
async def staged(folder: Path | None = None) -> AsyncIterator[Installation]:
    """Set a stage, in a folder that goes with it unless one is given."""
    made = Path(tempfile.mkdtemp(prefix="conversions-chaos-")) if folder is None else folder
    stage = Installation(made)
    try:
        await stage.start()
        yield stage
    finally:
        await stage.close()
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


async def shrink(schedule: Schedule, fails: Callable[[Schedule], Awaitable[bool]]) -> Schedule:
    """Return a smaller schedule that still fails: steps dropped one by one, then events halved."""
    smallest = schedule
    dropped = True
    while dropped:
        dropped = False
        for number in range(len(smallest.steps)):
            fewer = (*smallest.steps[:number], *smallest.steps[number + 1 :])
            if await fails(replace(smallest, steps=fewer)):
                smallest, dropped = replace(smallest, steps=fewer), True
                break
    while smallest.events > 20 and await fails(replace(smallest, events=smallest.events // 2)):
        smallest = replace(smallest, events=smallest.events // 2)
    return smallest


def keep(schedule: Schedule, folder: Path = REGRESSIONS) -> Path:
    """Store a failing schedule where the suite finds it."""
    path = folder / f"seed_{schedule.seed}_{len(schedule.steps)}_steps.json"
    path.write_text(schedule.as_json() + "\n")
    return path


async def run(seeds: Sequence[int], events: int, *, shrinks: bool) -> list[Report]:
    """Play every seed; a stage on which a promise was broken is not used again."""
    reports: list[Report] = []
    waiting = list(seeds)
    while waiting:
        async with staged() as stage:
            while waiting:
                schedule = draw(waiting.pop(0), events)
                report = await played(stage, schedule)
                reports.append(report)
                say(report.line())
                if report.objections:
                    tell(report)
                    keep_logs(stage.folder, f"chaos-seed-{schedule.seed}")
                    break
        if shrinks and reports[-1].objections:
            smallest = await shrink(reports[-1].schedule, _fails)
            say(f"  smallest that still fails, of {smallest.events} events: {list(map(str, smallest.steps))}")
            say(f"  kept as {keep(smallest).name}")
    return reports


async def played(stage: Installation, schedule: Schedule) -> Report:
    """Play one schedule; a run that could not be finished is an objection too."""
    try:
        return await asyncio.wait_for(play(stage, schedule), 900)
    except (AssertionError, TimeoutError, OSError) as error:
        return Report(schedule, [Objection("the_run_ends", f"{type(error).__name__}: {error}")])


async def _fails(schedule: Schedule) -> bool:
    async with staged() as stage:
        return bool((await played(stage, schedule)).objections)


def tell(report: Report) -> None:
    for objection in report.objections:
        say(f"  {objection}")
    for step in report.schedule.steps:
        say(f"    {step}")


def total(reports: Sequence[Report], seconds: float) -> str:
    broken = [report.schedule.seed for report in reports if report.objections]
    faults = sum(len(report.schedule.steps) for report in reports)
    return (
        f"{len(reports)} seeds, {sum(r.acknowledged for r in reports)} events acknowledged, "
        f"{sum(r.delivered for r in reports)} delivered, {sum(r.requests for r in reports)} requests, "
        f"{sum(r.resent for r in reports)} events sent again, {faults} faults, "
        f"{sum(r.samples for r in reports)} samples of the counts, {seconds:.0f} s; "
        f"broken: {broken or 'none'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-5", help="A-B, or one seed")
    parser.add_argument("--events", type=int, default=1_500)
    parser.add_argument("--replay", type=Path, help="play a kept schedule instead")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args()

    began = time.monotonic()
    if options.replay is not None:
        reports = [asyncio.run(_replayed(Schedule.read(options.replay)))]
    else:
        reports = asyncio.run(run(seeds(options.seeds), options.events, shrinks=not options.no_shrink))
    say(f"commit {commit()}: {total(reports, time.monotonic() - began)}")
    return 1 if any(report.objections for report in reports) else 0


async def _replayed(schedule: Schedule) -> Report:
    async with staged() as stage:
        report = await played(stage, schedule)
    say(report.line())
    tell(report)
    return report
