"""One run of one liveness schedule: load, passing faults, one thing that stays broken, and two judgements.

First the judge of liveness looks, while the thing is still broken; then it is healed, everything drains, and
the judge of safety looks at the same run.
"""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field

from campaigns.chaos import liveness_judge, liveness_records, rare_states, standin
from campaigns.chaos.actions import Troubles
from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.caller import Caller
from campaigns.chaos.damage import RETRIED, Damage, damage, with_postgres_stopped
from campaigns.chaos.liveness_judge import LivenessEvidence
from campaigns.chaos.liveness_schedule import (
    BASELINE_S,
    FROZEN_API,
    FROZEN_WORKER,
    HALF_OPEN_API,
    HALF_OPEN_OWN,
    HALF_OPEN_WORKER,
    HANGING,
    LivenessSchedule,
)
from campaigns.chaos.schedule import Step
from campaigns.chaos.stage import Installation
from tests.crashes import stored
from tests.crashes.evidence import Objection, Request, Sample
from tests.crashes.judge import judge

BATCHES_OF = (60, 12, 90)  # events of the batches that wait to be damaged: in line and out of line
HANG = {"kind": "never"}
DRAIN_S = 60.0
QUIET_AFTER_S = 1.0


@dataclass(slots=True)
class LivenessReport:
    """What came of one run."""

    schedule: LivenessSchedule
    objections: list[Objection]
    acknowledged: int = 0
    delivered: int = 0
    damaged: int = 0
    p99: float = 0.0
    paced: int = 0  # advertisers whose p99 had a bound
    standstill: float = 0.0
    allowed: float = 0.0  # standstill, at most
    noise: float = 0.0
    stretch: float = 1.0
    replays: int = 0
    is_judged: bool = True  # else the machine had no core to spare, twice
    seconds: float = 0.0
    states: set[str] = field(default_factory=set)

    def line(self) -> str:
        verdict = "kept" if not self.objections else "BROKEN" if self.is_judged else "NOT JUDGED"
        schedule = self.schedule
        return (
            f"seed {schedule.seed}: {verdict}; {schedule.broken}; {', '.join(schedule.damages)}; "
            f"{schedule.advertisers} advertisers, {schedule.workers} workers; "
            f"{self.acknowledged} acknowledged, "
            f"{self.delivered} delivered, {self.damaged} damaged; "
            f"p99 of {self.paced} {self.p99:.2f} s, longest "
            f"standstill {self.standstill:.1f} s, noise {self.noise:.2f} s, stretch "
            f"{self.stretch:.1f}{f', replayed {self.replays}x' if self.replays else ''}; {self.seconds:.0f} s"
        )


class Run:
    """The parts of one run; `play` leads through them in order."""

    def __init__(self, stage: Installation, schedule: LivenessSchedule) -> None:
        self.stage = stage
        self.schedule = schedule
        self.luck = random.Random(f"liveness run {schedule.seed}")
        self.operator = Administrator(stage.api, stage.amazon, stage.key)
        self.caller = Caller(stage.api, stage.key, random.Random(f"liveness caller {schedule.seed}"))
        self.healthy: list[Destination] = []
        self.victims: list[Destination] = []
        self.damages: list[Damage] = []
        self.erasures: dict[str, float | None] = {}
        self.erased: set[str] = set()
        self.moving: set[str] = set()
        self.seen = LivenessEvidence(
            lease_s=schedule.constants["lease_s"],
            request_deadline_s=schedule.constants["request_deadline_s"],
        )
        self.samples: list[Sample] = []
        self.errors: list[str] = []
        self.transit = 0.0
        self.readiness: set[int] = set()
        self.log_offsets = rare_states.offsets(stage.folder)

    @property
    def sick(self) -> str | None:
        """The advertiser that never answers, if that is what is broken."""
        if self.schedule.broken != HANGING:
            return None
        return self.healthy[self.schedule.which % len(self.healthy)].advertiser

    @property
    def destinations(self) -> list[Destination]:
        return [*self.healthy, *self.victims]

    # -- before ---------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Start processes with the drawn constants; make destinations, and batches to be damaged."""
        schedule = self.schedule
        await self.stage.restaff(
            workers=schedule.workers, constants=schedule.constants, settings=schedule.settings
        )
        base = 5_000_000 + await self.stage.destinations()
        self.healthy = list(
            await asyncio.gather(
                *(
                    self.operator.create(f"Liveness {schedule.seed} number {index}", str(base + index))
                    for index in range(schedule.advertisers)
                )
            )
        )
        # Each damaged destination shares its advertiser, and so its lane, with a healthy one.
        others = [one for one in self.healthy if one.advertiser != self.sick]
        for index, kind in enumerate(schedule.damages):
            sister = others[(schedule.which + index) % len(others)]
            self.victims.append(
                await self.operator.create(f"Liveness {schedule.seed}: {kind}", sister.advertiser)
            )
        await asyncio.gather(*map(self._fill, range(len(self.victims))))

    async def _fill(self, index: int) -> None:
        """Let three batches wait in a destination that is paused; for one kind, events that are retried."""
        victim, kind = self.victims[index], self.schedule.damages[index]
        until = asyncio.get_running_loop().time() + 30
        if kind == RETRIED:
            refusal = {"kind": "partial", "indexes": [1], "code": "INTERNAL_ERROR"}
            await self.operator.faults(victim.advertiser, [refusal])
        else:
            await self.operator.ask("POST", f"{victim.path}/pause")
        for part, size in enumerate(BATCHES_OF):
            names = [f"dam-{self.schedule.seed}-{index}-{part}-{n}" for n in range(size)]
            await self.caller.send(names, victim.number, until)
        if kind == RETRIED:
            query = (
                "SELECT count(*) AS n FROM exceptions e JOIN destinations d ON d.number = e.destination "
                "WHERE d.id = $1 AND e.status = 'retrying'"
            )
            for _ in range(600):  # 30 s: on a busy machine the first attempt is late
                if (await self.stage.ask(query, victim.number))[0]["n"]:
                    break
                await asyncio.sleep(0.05)
            await self.operator.ask("POST", f"{victim.path}/pause")

    # -- the run --------------------------------------------------------------------------------

    async def load(self) -> None:
        """Post; when the baseline is over, damage, break, and let other faults pass."""
        schedule = self.schedule
        numbers = [destination.number for destination in self.healthy]
        began = time.time()
        tasks = [asyncio.create_task(self._sample()), asyncio.create_task(self._tick())]
        before, after = schedule.parts()
        calling = asyncio.create_task(self.caller.run(before, numbers, deadline=schedule.lasts + 20))
        try:
            await asyncio.sleep(BASELINE_S)
            self.seen.baseline = (began, time.time())
            await self._erase(0)
            await self._damage()
            await self._erase(1)
            broke = time.time()
            await self._break()
            troubles = Troubles(
                self.stage, self.operator, self.healthy, [frozenset[str]() for _ in self.healthy], {}
            )
            await asyncio.gather(*(self._later(step, troubles) for step in schedule.steps))
            self.transit = troubles.transit
            self.moving |= troubles.moving
            for proxy in (self.stage.to_amazon, *self.stage.to_database.values()):
                proxy.latency, proxy.drip, proxy.cuts = 0.0, None, []
            await self._faults()
            await self._erase(2)
            await calling
            # What the storm left behind is drained by now, or is what the rules on standing still are for.
            await asyncio.sleep(QUIET_AFTER_S)
            healed = time.time()
            await self.caller.run(after, numbers, deadline=schedule.lasts + 20)
            self.seen.quiet = (broke if schedule.broken == HANGING else healed, time.time())
            self.seen.stretch = self.stage.stretch()
            await self._until_delivered()
            self.seen.ended = time.time()
            await liveness_records.read_views(self)
        finally:
            calling.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(calling, *tasks, return_exceptions=True)

    async def _later(self, step: Step, troubles: Troubles) -> None:
        await asyncio.sleep(step.at)
        await troubles.do(step)

    async def _faults(self) -> None:
        """Let Amazon be well for everyone but the advertiser that is broken."""
        await self.operator.faults("*", [])
        for victim in self.victims:
            if victim.advertiser != self.sick:
                await self.operator.faults(victim.advertiser, [])
        if self.sick is not None:
            await self.operator.faults(self.sick, [HANG])

    async def _damage(self) -> None:
        for kind, victim in sorted(
            zip(self.schedule.damages, self.victims, strict=True), key=lambda one: one[0]
        ):
            new = await damage(self.stage, kind, victim.number, self.luck)
            batches = {batch for one in new for batch in one.batches}
            self.damages = [*(one.without(batches) for one in self.damages), *new]
        for victim in self.victims:
            await self.operator.faults(victim.advertiser, [])
            await self.operator.ask("POST", f"{victim.path}/resume")

    async def _break(self) -> None:
        """Break the one thing that stays broken."""
        which, broken = self.schedule.which, self.schedule.broken
        match broken:
            case _ if broken == HANGING:
                assert self.sick is not None
                await self.operator.faults(self.sick, [HANG])
            case _ if broken == FROZEN_WORKER:
                process = self.stage.workers[which % len(self.stage.workers)]
                self.stage.freeze(process)
                self.moving = await self.stage.lanes_of(process)
            case _ if broken == FROZEN_API:
                self.stage.freeze(self.stage.apis[which % len(self.stage.apis)])
            case _ if broken in {HALF_OPEN_OWN, HALF_OPEN_WORKER, HALF_OPEN_API}:
                await self._leave_half_open(broken)
            case _:
                pass

    async def _leave_half_open(self, broken: str) -> None:
        role = "api" if broken == HALF_OPEN_API else "worker"
        wanted = "conversions-worker" if broken == HALF_OPEN_WORKER else "conversions-%"
        if broken == HALF_OPEN_OWN:
            # The session that holds the advisory locks of a worker's lanes.
            rows = await self.stage.ask(
                "SELECT DISTINCT client_port AS port FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE locktype = 'advisory' AND classid::int8 = 7311 AND datname = current_database() "
                "ORDER BY 1"
            )
        else:
            rows = await self.stage.ask(
                "SELECT client_port AS port FROM pg_stat_activity "
                "WHERE application_name LIKE $1 AND datname = current_database() ORDER BY pid",
                wanted,
            )
        ports = [row["port"] for row in rows]
        start = self.schedule.which % max(1, len(ports))
        for port in ports[start:] + ports[:start]:
            if self.stage.to_database[role].stall_one(port):
                if role == "worker":
                    # Which worker it was is not known from outside: every lane may have to move.
                    self.moving = {one.advertiser for one in self.healthy}
                return

    async def _erase(self, index: int) -> None:
        """Ask for the erasure of a person whose event went to a healthy lane, in the baseline or just now."""
        mine = [one for one in self.caller.ledger.acknowledged if one.startswith("ev-")]
        if not mine:
            return
        name = self.luck.choice(sorted(mine))
        self.erased.add(name)
        answer = await self.operator.ask(
            "POST", "/subjects/erase", json={"email": f"{name}@example.com"}, timeout=5
        )
        assert answer.status_code == 202, answer.text
        self.erasures[answer.json()["id"]] = None

    async def _until_delivered(self) -> None:
        """Wait until nothing healthy is open and all erasures are finished, or the time for that is over."""
        constants = self.schedule.constants
        limit = self.seen.longest_standstill + constants["request_deadline_s"] + 11
        limit *= max(1.0, self.seen.stretch / 2)
        until = time.time() + limit
        numbers = [one.number for one in self.destinations if one.advertiser != self.sick]
        requested_at = time.time()
        async with self.stage.office() as connection:
            while time.time() < until:
                open_now = await stored.waiting(connection, numbers)
                for erasure in [one for one, took in self.erasures.items() if took is None]:
                    state = await connection.fetchval(
                        "SELECT finished_at IS NOT NULL FROM erasures WHERE id = $1", erasure
                    )
                    if state:
                        self.erasures[erasure] = time.time() - requested_at
                if not open_now and None not in self.erasures.values():
                    return
                await asyncio.sleep(0.4)

    async def _sample(self) -> None:
        while True:
            for destination in self.destinations:
                with contextlib.suppress(Exception):
                    sample = await self.operator.sample(destination)
                    self.samples += [sample] if sample is not None else []
                    self.readiness.add(await self.operator.ready())
                await asyncio.sleep(0.7)

    async def _tick(self) -> None:
        """Measure by how much the machine delays a timer: bounds on time grow with it."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.seen.noise_s = max(self.seen.noise_s, time.monotonic() - before - 0.05)

    def requests(self) -> list[Request]:
        return standin.read(
            self.stage.folder, advertisers=frozenset(one.advertiser for one in self.destinations)
        )

    # -- after ----------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Mend what was broken and let everything drain."""
        await self.operator.faults("*", [])
        for destination in self.destinations:
            await self.operator.faults(destination.advertiser, [])
        await self.stage.heal()
        await self.stage.drain([one.number for one in self.destinations], seconds=DRAIN_S)

    async def repair(self) -> None:
        """Repair the pages that were damaged, for the next run on this stage."""
        for one in self.damages:
            if one.page is not None:
                await with_postgres_stopped(self.stage, one.page)

    async def close(self) -> None:
        await self.operator.close()
        await self.caller.close()


async def play(stage: Installation, schedule: LivenessSchedule) -> LivenessReport:
    """Play a schedule on a stage and judge it twice."""
    began = time.monotonic()
    run = Run(stage, schedule)
    report = LivenessReport(schedule, [])
    try:
        await run.prepare()
        await run.load()
        report.objections = liveness_judge.judge(run.seen)
        report.states = await rare_states.gather(stage, run)
        await run.heal()
        seen = await liveness_records.safety(run)
        report.objections += judge(seen)
        report.states |= await rare_states.gather(stage, run)
        await run.repair()
    finally:
        await run.close()
    lanes = [lane for lane in run.seen.lanes if not lane.is_sick]
    report.acknowledged = sum(len(lane.accepted) for lane in run.seen.lanes)
    report.delivered = sum(len(lane.delivered) for lane in run.seen.lanes)
    report.damaged = sum(len(one.events) for one in run.damages)
    report.allowed = run.seen.longest_standstill
    report.standstill = max(
        (liveness_judge.standstill(lane, run.seen.ended, run.seen.declared)[0] for lane in lanes), default=0.0
    )
    calm = [lane for lane in lanes if not lane.is_moving and not lane.has_damage]
    report.p99 = max(
        (liveness_judge.p99(lane, *run.seen.quiet, ended=run.seen.ended) or 0.0 for lane in calm), default=0.0
    )
    report.stretch = run.seen.stretch
    report.paced = sum(
        liveness_judge.p99(lane, *run.seen.quiet, ended=run.seen.ended) is not None for lane in calm
    )
    report.noise = run.seen.noise_s
    report.seconds = time.monotonic() - began
    return report
