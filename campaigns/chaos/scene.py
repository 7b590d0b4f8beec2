"""One run of one schedule: load, faults, repair, a last event, and the judge."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from campaigns.chaos import standin
from campaigns.chaos.actions import Troubles
from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.caller import Caller
from campaigns.chaos.schedule import DESTINATIONS, Schedule, Step
from campaigns.chaos.stage import Installation
from tests.crashes import stored
from tests.crashes.evidence import Evidence, Objection, Sample
from tests.crashes.judge import judge

DRAIN_S = 300.0  # an attempt of a killed worker is waited for 30 s, a stopped worker's lease 60 s
SAMPLE_EVERY_S = 0.3


@dataclass(slots=True)
class Report:
    """What came of one run."""

    schedule: Schedule
    objections: list[Objection]
    acknowledged: int = 0
    delivered: int = 0
    requests: int = 0
    resent: int = 0
    samples: int = 0
    seconds: float = 0.0
    drained: float = 0.0
    memory: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        verdict = "kept" if not self.objections else "BROKEN"
        return (
            f"seed {self.schedule.seed}: {verdict}; {self.acknowledged} acknowledged, "
            f"{self.delivered} delivered, {self.requests} requests, {self.resent} events sent again, "
            f"{self.samples} samples, "
            f"{self.seconds:.0f} s (drained {self.drained:.0f} s), {self.memory} MiB, "
            f"{len(self.schedule.steps)} faults"
        )


async def play(stage: Installation, schedule: Schedule) -> Report:
    """Play a schedule on a healthy stage and judge it; the stage is healthy again afterwards."""
    began = time.monotonic()
    operator = Administrator(stage.api, stage.amazon, stage.key)
    caller = Caller(stage.api, stage.key, random.Random(f"caller {schedule.seed}"))
    try:
        destinations = await _destinations(stage, operator, schedule)
        seen, report = Evidence(), Report(schedule, [])
        await _load(stage, schedule, operator, caller, destinations, seen)
        healed = time.monotonic()
        await stage.drain([one.number for one in destinations], seconds=DRAIN_S)
        report.drained = time.monotonic() - healed
        await _fresh(stage, schedule, caller, destinations, seen)
        await _gather(stage, operator, destinations, seen)
        seen.offered |= caller.ledger.offered
        seen.acknowledged |= caller.ledger.acknowledged
        seen.refused |= caller.ledger.refused
        unanswered = seen.offered - seen.acknowledged - seen.refused
        seen.leftovers = [
            *await stage.leftovers(),
            *(
                f"{number}x {answer}"
                for answer, number in Counter(caller.ledger.unexpected + operator.unexpected).items()
            ),
            *([f"{len(unanswered)} events were never answered for"] if unanswered else []),
        ]
        report.objections = judge(seen)
        _figures(report, seen, caller)
        report.memory = stage.memory()
    finally:
        await operator.close()
        await caller.close()
    report.seconds = time.monotonic() - began
    return report


async def _destinations(
    stage: Installation, operator: Administrator, schedule: Schedule
) -> list[Destination]:
    """Make the run's own destinations; the first two share an advertiser."""
    made: list[Destination] = []
    known = await stage.destinations()
    for index in range(DESTINATIONS):
        advertiser = str(9_000_000 + known + max(1, index))
        made.append(await operator.create(f"Seed {schedule.seed} number {index}", advertiser))
    return made


async def _load(
    stage: Installation,
    schedule: Schedule,
    operator: Administrator,
    caller: Caller,
    destinations: list[Destination],
    seen: Evidence,
) -> None:
    """Post everything while everything goes wrong; then heal."""
    posts = schedule.posts()
    poison: dict[str, list[str]] = {}
    for index, names in schedule.poison().items():
        seen.guilty.update(names)
        target = destinations[index]
        poison.setdefault(target.advertiser, []).extend(target.amazon_id(name) for name in names)
    by_advertiser = {
        advertiser: [{"kind": "400_if_contains", "event_ids": ids}] for advertiser, ids in poison.items()
    }
    for advertiser, faults in by_advertiser.items():
        await operator.faults(advertiser, faults)
    ids = [
        frozenset(name for post in posts if post.destination == index for name in post.names)
        for index in range(len(destinations))
    ]
    troubles = Troubles(stage, operator, destinations, ids, by_advertiser)
    samples: list[Sample] = []
    sampling = asyncio.create_task(_sample(operator, destinations, samples))
    numbers = [destination.number for destination in destinations]
    calling = asyncio.create_task(caller.run(posts, numbers, deadline=schedule.lasts + 120))
    began = time.monotonic()
    await asyncio.gather(*(_apply_step(began, step, troubles) for step in schedule.steps))
    await asyncio.sleep(max(0.0, began + schedule.lasts - time.monotonic()))
    await troubles.end()
    await calling
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    seen.samples, seen.stops, seen.transit = samples, troubles.stops, troubles.transit


async def _apply_step(began: float, step: Step, troubles: Troubles) -> None:
    await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
    await troubles.do(step)


async def _sample(operator: Administrator, destinations: list[Destination], samples: list[Sample]) -> None:
    while True:
        for destination in destinations:
            samples += [sample] if (sample := await operator.sample(destination)) is not None else []
        await asyncio.sleep(SAMPLE_EVERY_S)


async def _fresh(
    stage: Installation, schedule: Schedule, caller: Caller, destinations: list[Destination], seen: Evidence
) -> None:
    until = asyncio.get_running_loop().time() + 60
    names = [f"fresh-{schedule.seed}-{index}" for index in range(len(destinations))]
    for name, destination in zip(names, destinations, strict=True):
        with contextlib.suppress(AssertionError):
            await caller.send([name], destination.number, until)
    numbers = [destination.number for destination in destinations]
    await stage.drain(numbers, seconds=60)
    async with stage.office() as connection:
        places = await stored.places(connection, numbers)
    seen.fresh = {name: places.get(name) == ["delivered"] for name in names}


async def _gather(
    stage: Installation, operator: Administrator, destinations: list[Destination], seen: Evidence
) -> None:
    numbers = [destination.number for destination in destinations]
    async with stage.office() as connection:
        seen.stored = await stored.places(connection, numbers)
        seen.attempts = await stored.attempts(connection, numbers)
    seen.requests = standin.read(
        stage.folder, advertisers=frozenset(destination.advertiser for destination in destinations)
    )
    seen.listed, total = {}, Counter[str]()
    for destination in destinations:
        seen.listed |= await operator.listed(destination)
        sample = await operator.sample(destination, patience=30)
        assert sample is not None
        total.update(sample.counts)
    seen.final_counts = total


def _figures(report: Report, seen: Evidence, caller: Caller) -> None:
    times = Counter(event for request in seen.requests for event in request.ids)
    report.acknowledged = len(seen.acknowledged)
    report.delivered = sum(states == ["delivered"] for states in seen.stored.values())
    report.requests = len(seen.requests)
    report.resent = sum(number > 1 for number in times.values())
    report.samples = len(seen.samples)
    report.answers = dict(sorted(caller.ledger.answers.items()))
