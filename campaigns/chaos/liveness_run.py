"""One run of one liveness schedule: load, passing faults, one thing that stays broken, and two judgements.

What the judge of liveness sees is gathered while the thing is still broken; then it is healed, everything
drains, and the judge of safety looks at the same run.
"""

import asyncio
import contextlib
import random
import time

from campaigns.chaos import liveness_judge, records
from campaigns.chaos.actions import HANGING, Step
from campaigns.chaos.administrator import Destination
from campaigns.chaos.damage import RETRIED, damage, with_postgres_stopped
from campaigns.chaos.liveness_judge import LivenessEvidence
from campaigns.chaos.run import Run
from campaigns.chaos.schedule import BASELINE_S, NOTHING, Schedule
from campaigns.chaos.stage import Installation, Staff
from tests.crashes.evidence import Evidence
from tests.pipeline.world import eventually

BATCHES_OF = (60, 12, 90)  # events of the batches that wait to be damaged: in line and out of line
DRAIN_S = 60.0
SAMPLE_EVERY_S = 0.7
QUIET_AFTER_S = 1.0
REFUSAL = {"kind": "partial", "indexes": [1], "code": "INTERNAL_ERROR"}


class LivenessRun(Run):
    """`victims` are the destinations whose batches are damaged; `scene.destinations` are the others."""

    def __init__(self, stage: Installation, schedule: Schedule) -> None:
        super().__init__(stage, schedule)
        self.luck = random.Random(f"liveness run {schedule.seed}")
        self.victims: list[Destination] = []
        self.staff = Staff(workers=schedule.workers, constants=schedule.constants, settings=schedule.settings)
        self.seen = LivenessEvidence(
            lease_s=schedule.constants["lease_s"], request_deadline_s=schedule.constants["request_deadline_s"]
        )
        self._broken = contextlib.AsyncExitStack()

    @property
    def sick(self) -> str:
        """The advertiser that never answers, if that is what is broken."""
        return self.scene.chosen(self.schedule.which).advertiser if self.schedule.broken == HANGING else ""

    @property
    def destinations(self) -> list[Destination]:
        return [*self.scene.destinations, *self.victims]

    async def prepare(self) -> None:
        """Start processes with the drawn constants; create destinations, and batches to be damaged."""
        schedule, operator = self.schedule, self.scene.operator
        await self.stage.restaff(self.staff)
        base = 5_000_000 + await self.stage.destinations()
        names = [f"Liveness {schedule.seed} number {index}" for index in range(schedule.advertisers)]
        creations = (operator.create(name, str(base + index)) for index, name in enumerate(names))
        self.scene.destinations = list(await asyncio.gather(*creations))
        # Each damaged destination shares its advertiser, and so its lane, with a healthy one.
        others = [one for one in self.scene.destinations if one.advertiser != self.sick]
        for index, kind in enumerate(schedule.damages):
            sister = others[(schedule.which + index) % len(others)]
            name = f"Liveness {schedule.seed}: {kind}"
            self.victims.append(await operator.create(name, sister.advertiser))
        await asyncio.gather(*map(self._fill, range(len(self.victims))))

    async def _fill(self, index: int) -> None:
        """Let three batches wait in a destination that is paused; for one kind, events that are retried."""
        victim, is_retried = self.victims[index], self.schedule.damages[index] == RETRIED
        until = asyncio.get_running_loop().time() + 30
        if is_retried:
            await self.scene.add_faults(victim.advertiser, REFUSAL)
        else:
            await self.scene.operator.ask("POST", f"{victim.path}/pause")
        for part, size in enumerate(BATCHES_OF):
            names = [f"dam-{self.schedule.seed}-{index}-{part}-{n}" for n in range(size)]
            await self.scene.caller.send(names, victim.number, until)
        if is_retried:
            retried = (
                "SELECT FROM exceptions e JOIN destinations d ON d.number = e.destination "
                "WHERE d.id = $1 AND e.status = 'retrying'"
            )
            # On a busy machine the first attempt is late.
            await eventually(lambda: self.stage.ask(retried, victim.number), seconds=30)
            await self.scene.operator.ask("POST", f"{victim.path}/pause")

    async def load(self) -> None:
        """Post; when the baseline is over, damage, break, and let other faults pass."""
        schedule, scene = self.schedule, self.scene
        began = time.time()
        before, after = schedule.parts()
        deadline = schedule.lasts + 20
        posts = scene.caller.run(before, scene.numbers, deadline=deadline)
        async with self.beside(posts, SAMPLE_EVERY_S) as posting:
            await asyncio.sleep(BASELINE_S)
            self.seen.baseline = (began, time.time())
            await self._erase()
            await self._damage()
            await self._erase()
            await self._until_owned()
            broke = time.time()
            if schedule.broken != NOTHING:
                broken = Step(0.0, schedule.broken, schedule.which)
                await self._broken.enter_async_context(broken.fault(scene))
            await asyncio.gather(*map(self.do, schedule.steps))
            for proxy in self.stage.proxies.values():
                proxy.cuts = []
            await self._erase()
            await posting
            # What the storm left behind is drained by now, or is what the rules on standing still are for.
            await asyncio.sleep(QUIET_AFTER_S)
            healed = time.time()
            await scene.caller.run(after, scene.numbers, deadline=deadline)
            self.seen.quiet = (broke if schedule.broken == HANGING else healed, time.time())
            self.seen.stretch = self.stage.stretch()
            numbers = [one.number for one in self.destinations if one.advertiser != self.sick]
            limit = self.seen.longest_standstill + schedule.constants["request_deadline_s"] + 11
            await scene.drain(numbers, seconds=limit * max(1.0, self.seen.stretch / 2))
            self.seen.ended = time.time()
            await records.read_views(self)

    async def _damage(self) -> None:
        pairs = zip(self.schedule.damages, self.victims, strict=True)
        for kind, victim in sorted(pairs, key=lambda one: one[0]):
            new = await damage(self.stage, kind, victim.number, self.luck)
            batches = {batch for one in new for batch in one.batches}
            self.damages = [*(one.without(batches) for one in self.damages), *new]
        for kind, victim in zip(self.schedule.damages, self.victims, strict=True):
            if kind == RETRIED:
                await self.scene.remove_faults(victim.advertiser, REFUSAL)
            await self.scene.operator.ask("POST", f"{victim.path}/resume")

    async def _until_owned(self) -> None:
        """Wait until workers own the lanes again after a restart of Postgres: that is not what breaks."""
        owned = (
            "SELECT WHERE NOT EXISTS (SELECT FROM lanes WHERE advertiser_id = ANY($1) AND id NOT IN (SELECT "
            "objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND classid::int8 = 7311 AND granted))"
        )
        advertisers = [one.advertiser for one in self.scene.destinations]
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self.stage.ask(owned, advertisers), seconds=10, every=0.1)

    async def _erase(self) -> None:
        """Erase a person whose event went to a healthy lane, in the baseline or just now."""
        mine = sorted(one for one in self.scene.caller.ledger.acknowledged if one.startswith("ev-"))
        if mine:
            name = self.luck.choice(mine)
            self.erased.add(name)
            await self.scene.erase(f"{name}@example.com")

    async def heal(self) -> None:
        """Repair what was broken and let everything drain."""
        await self._broken.aclose()
        await self.stage.heal()
        await self.stage.drain([one.number for one in self.destinations], seconds=DRAIN_S)

    async def repair(self) -> None:
        """Repair the pages that were damaged, for the next run on this stage."""
        for one in self.damages:
            if one.page is not None:
                await with_postgres_stopped(self.stage, one.page)

    def _count(self, seen: Evidence) -> None:
        super()._count(seen)
        lanes = [lane for lane in self.seen.lanes if not lane.is_sick]
        stills = [liveness_judge.standstill(lane, self.seen.ended, self.seen.declared)[0] for lane in lanes]
        calm = [lane for lane in lanes if not lane.is_moving and not lane.has_damage]
        paces = [liveness_judge.p99(lane, *self.seen.quiet, ended=self.seen.ended) for lane in calm]
        known = [pace for pace in paces if pace is not None]
        self.report.counts.update(
            {
                "damaged": sum(len(one.events) for one in self.damages),
                "storage faults": len(self.damages),
                "advertisers with a p99": len(known),
            }
        )
        self.report.measures |= {
            "p99": max(known, default=0.0),
            "longest standstill": max(stills, default=0.0),
            "allowed": self.seen.longest_standstill,
            "noise": self.seen.noise_s,
            "stretch": self.seen.stretch,
        }


def run_of(stage: Installation, schedule: Schedule) -> Run:
    """Return the run of a schedule of either campaign."""
    return LivenessRun(stage, schedule) if schedule.broken else Run(stage, schedule)
