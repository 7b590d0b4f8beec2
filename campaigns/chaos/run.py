"""One run of one schedule: load, faults, repair, a last event for each destination, and the judges."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from campaigns.chaos import liveness_judge, records, standin
from campaigns.chaos.actions import Step
from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.caller import Caller
from campaigns.chaos.damage import Damage
from campaigns.chaos.liveness_judge import LivenessEvidence
from campaigns.chaos.scene import Scene
from campaigns.chaos.schedule import DESTINATIONS, Schedule
from campaigns.chaos.stage import Installation, Staff
from tests.crashes.evidence import Evidence, Objection, Request, Sample
from tests.crashes.judge import judge

DRAIN_S = 300.0  # an attempt of a killed worker is waited for 30 s, a stopped worker's lease 60 s
SAMPLE_EVERY_S = 0.1


@dataclass(slots=True)
class Report:
    """What came of one run: counts, which are added up for a campaign, and measures, which are not."""

    schedule: Schedule
    objections: list[Objection]
    counts: Counter[str] = field(default_factory=Counter)
    measures: dict[str, float] = field(default_factory=dict)
    replays: int = 0
    is_judged: bool = True  # else the machine had no core to spare, twice

    def line(self) -> str:
        verdict = "kept" if not self.objections else "BROKEN" if self.is_judged else "NOT JUDGED"
        counts = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        measures = ", ".join(f"{what} {number:.1f}" for what, number in self.measures.items())
        replayed = f", replayed {self.replays}x" if self.replays else ""
        return f"seed {self.schedule.seed}: {verdict}; {self.schedule}; {counts}; {measures}{replayed}"


class Run:
    """A run of the chaos campaign; `play` leads through its parts in order."""

    def __init__(self, stage: Installation, schedule: Schedule) -> None:
        self.stage = stage
        self.schedule = schedule
        operator = Administrator(stage.api, stage.amazon, stage.key)
        caller = Caller(stage.api, stage.key, random.Random(f"caller {schedule.seed}"))
        self.scene = Scene(stage, operator, caller)
        self.staff = Staff()
        self.seen = LivenessEvidence()
        self.damages: list[Damage] = []
        self.guilty: set[str] = set()
        self.erased: set[str] = set()
        self.samples: list[Sample] = []
        self.report = Report(schedule, [])

    @property
    def destinations(self) -> list[Destination]:
        return self.scene.destinations

    def requests(self) -> list[Request]:
        return standin.read(
            self.stage.folder, advertisers=frozenset(one.advertiser for one in self.destinations)
        )

    async def play(self) -> Report:
        """Play the schedule on a healthy stage and judge it; the stage is healthy again afterwards."""
        began = time.monotonic()
        try:
            await self.prepare()
            await self.load()
            await self.heal()
            seen = await records.safety(self)
            self.seen.unexpected += {*self.scene.operator.unexpected}
            self.report.objections = [*liveness_judge.judge(self.seen), *judge(seen)]
            self._count(seen)
            await self.repair()
        finally:
            await self.scene.close()
        self.report.measures["seconds"] = time.monotonic() - began
        return self.report

    async def prepare(self) -> None:
        """Create the run's own destinations; the first two share an advertiser."""
        await self.stage.restaff(self.staff)
        known = await self.stage.destinations()
        for index in range(DESTINATIONS):
            advertiser = str(9_000_000 + known + max(1, index))
            name = f"Seed {self.schedule.seed} number {index}"
            self.scene.destinations.append(await self.scene.operator.create(name, advertiser))

    async def load(self) -> None:
        """Post everything while everything goes wrong; then let every destination send again."""
        scene, schedule = self.scene, self.schedule
        for index, names in schedule.poison().items():
            self.guilty.update(names)
            target = scene.destinations[index]
            ids = [target.amazon_id(name) for name in names]
            await scene.add_faults(target.advertiser, {"kind": "400_if_contains", "event_ids": ids})
        posts = scene.caller.run(schedule.posts(), scene.numbers, deadline=schedule.lasts + 120)
        async with self.beside(posts, SAMPLE_EVERY_S) as posting:
            began = time.monotonic()
            await asyncio.gather(*map(self.do, schedule.steps))
            await asyncio.sleep(max(0.0, began + schedule.lasts - time.monotonic()))
            await self.stage.heal()
            for destination in scene.destinations:
                await scene.operator.ask("POST", f"{destination.path}/resume")
                if await scene.operator.state(destination) in {"needs_reconnect", "draft"}:
                    await scene.operator.sign_in(destination)
            await posting
        self.seen.unanswered = scene.caller.ledger.unanswered

    async def do(self, step: Step) -> None:
        """Let something go wrong at its time."""
        await asyncio.sleep(step.at)
        async with step.fault(self.scene):
            await asyncio.sleep(step.lasts)

    @contextlib.asynccontextmanager
    async def beside(
        self, posts: Coroutine[Any, Any, None], every_s: float
    ) -> "AsyncIterator[asyncio.Task[None]]":
        """Post, read counts again and again, and measure how late timers are."""
        tasks = [asyncio.create_task(each) for each in (posts, self._sample(every_s), self._tick())]
        try:
            yield tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sample(self, every_s: float) -> None:
        while True:
            for destination in self.destinations:
                with contextlib.suppress(Exception):
                    sample = await self.scene.operator.sample(destination)
                    self.samples += [sample] if sample is not None else []
                await asyncio.sleep(every_s)

    async def _tick(self) -> None:
        """Measure by how much the machine delays a timer: bounds on time grow with it."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.seen.noise_s = max(self.seen.noise_s, time.monotonic() - before - 0.05)

    async def heal(self) -> None:
        """Let everything drain."""
        began = time.monotonic()
        await self.stage.drain([one.number for one in self.destinations], seconds=DRAIN_S)
        self.report.measures["drained after"] = time.monotonic() - began

    async def repair(self) -> None:
        """Repair what would remain for the next run on this stage."""

    def _count(self, seen: Evidence) -> None:
        times = Counter(event for request in seen.requests for event in request.ids)
        self.report.counts.update(
            {
                "acknowledged": len(seen.acknowledged),
                "delivered": sum(states == ["delivered"] for states in seen.stored.values()),
                "requests": len(seen.requests),
                "sent again": sum(number > 1 for number in times.values()),
                "samples": len(seen.samples),
            }
        )
        self.report.measures["MiB"] = self.stage.memory()
