"""`./run campaign clock-faults`: an API, a worker or the host is off by up to 40 days.

Ages must be judged by the database's clock: an event of this moment is accepted and delivered whatever the
clock of one process says, or that process is not ready. When the whole host jumps, its database with it, new
events must be taken again within half a minute, and flow again after it jumped back.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.campaign import staged
from campaigns.chaos.stage import Installation
from campaigns.running import say
from dev.postgres import cluster
from tests.crashes import stored
from tests.pipeline import clocks

EVENTS = 20
TAKEN_AGAIN_S = 30.0
OFFSETS: dict[str, timedelta] = {
    "-40d": timedelta(days=-40),
    "-1h": timedelta(hours=-1),
    "+1h": timedelta(hours=1),
    "+40d": timedelta(days=40),
}


@dataclass(slots=True)
class Outcome:
    """What came of one wrong clock."""

    what: str
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        return f"{self.what}: {'kept' if not self.problems else 'BROKEN'}, {self.seconds:.0f} s"


async def one_process(stage: Installation, name: str, offset: str) -> Outcome:
    """One process is off; events of now go through the two APIs and the two workers."""
    began = time.monotonic()
    outcome = Outcome(f"{name} at {offset}")
    await stage.restaff(workers=2, constants={}, settings={}, clocks={name: offset})
    operator = Administrator(stage.api, stage.amazon, stage.key)
    try:
        destination = await _destination(stage, operator)
        taken = await _post(stage, destination, f"{name}{offset}", timedelta(), outcome)
        await _delivered(stage, destination, taken, outcome)
        if name.startswith("api"):
            await _reported(stage, outcome)
    finally:
        await operator.close()
    outcome.seconds = time.monotonic() - began
    return outcome


async def move_host_clock(stage: Installation, offset: str) -> list[Outcome]:
    """The host jumps, Postgres and the stand-in with it, and back again."""
    operator = Administrator(stage.api, stage.amazon, stage.key)
    outcomes = []
    plain = cluster.BARE  # type: ignore[attr-defined]
    try:
        destination = await _destination(stage, operator)
        for to, off in ((offset, OFFSETS[offset]), ("+0", timedelta())):
            began = time.monotonic()
            outcome = Outcome(f"the whole host at {to}")
            async with stage.postgres_turn:
                await asyncio.to_thread(stage.cluster.stop)
                environment = plain if to == "+0" else {**plain, **clocks.environment(to)}
                cluster.BARE = environment  # type: ignore[attr-defined]
                await asyncio.to_thread(stage.cluster.start)
            names = ["api-0", "api-1", "worker-0", "worker-1"]
            wrong = {} if to == "+0" else dict.fromkeys(names, to)
            await stage.restaff(workers=2, constants={}, settings={}, clocks=wrong, wait=False)
            taken = await _post(stage, destination, f"host{to}", off, outcome)
            # Amazon's clock is right: it may refuse what the host dates 40 days ahead, and nothing else.
            final = {"delivered"} if to == "+0" else {"delivered", "dead"}
            await _delivered(stage, destination, taken, outcome, final=final)
            outcome.seconds = time.monotonic() - began
            outcomes.append(outcome)
    finally:
        cluster.BARE = plain  # type: ignore[attr-defined]
        await operator.close()
    return outcomes


async def _reported(stage: Installation, outcome: Outcome) -> None:
    """Ask the APIs, one of which has the wrong clock, until one reports it."""
    until = time.monotonic() + TAKEN_AGAIN_S
    while time.monotonic() < until:
        async with httpx.AsyncClient(base_url=stage.api, timeout=5, trust_env=False) as api:
            if "clock_off" in (await api.get("/health/ready")).json().get("reasons", ()):
                return
        await asyncio.sleep(0.2)
    outcome.problems.append("no API reports that its clock is wrong")


async def _destination(stage: Installation, operator: Administrator) -> Destination:
    known = await stage.destinations()
    return await operator.create(f"Clock {known}", str(3_000_000 + known))


async def _post(
    stage: Installation, destination: Destination, name: str, off: timedelta, outcome: Outcome
) -> set[str]:
    """Post events of this moment until each is answered for; notes what was rejected."""
    taken: set[str] = set()
    headers = {"Authorization": f"Bearer {stage.key}"}
    until = time.monotonic() + TAKEN_AGAIN_S
    answers: Counter[str] = Counter()
    for index in range(EVENTS):
        event_id = f"clock-{name}-{index}".replace("+", "plus")
        stamp = (datetime.now(UTC) + off - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        while event_id not in taken:
            event = {
                "event_id": event_id,
                "event": {"timestamp": stamp, "properties": {"brand": "acme"}},
                "user": {"email": f"{event_id}@example.com"},
            }
            # A connection of its own each time, so that both APIs are asked.
            async with httpx.AsyncClient(
                base_url=stage.api, headers=headers, timeout=5, trust_env=False
            ) as api:
                try:
                    answer = await api.post(
                        "/events", params={"destination_id": destination.number}, json=event
                    )
                except httpx.HTTPError as lost:
                    answers[type(lost).__name__] += 1
                else:
                    answers[str(answer.status_code)] += 1
                    if answer.status_code == 202:
                        taken.add(event_id)
                        break
                    if answer.status_code == 422:
                        reason = answer.json()["results"][0].get("reason")
                        outcome.problems.append(f"{event_id} of this moment was rejected: {reason}")
                        break
            if time.monotonic() > until:
                outcome.problems.append(f"not accepted within {TAKEN_AGAIN_S:.0f} s: {dict(answers)}")
                return taken
            await asyncio.sleep(0.2)
    return taken


async def _delivered(
    stage: Installation,
    destination: Destination,
    taken: set[str],
    outcome: Outcome,
    *,
    final: Collection[str] = ("delivered",),
) -> None:
    """Wait until all that was accepted is final; note whatever else became of it."""
    until = time.monotonic() + 45
    states: dict[str, str] = {}
    while time.monotonic() < until:
        async with stage.office() as connection:
            places = await stored.places(connection, [destination.number])
        states = {event: "/".join(found) for event, found in places.items() if event in taken}
        if len(states) == len(taken) and set(states.values()) <= set(final):
            return
        await asyncio.sleep(0.3)
    outcome.problems.append(f"accepted, then {dict(Counter(states.values()))}")


async def run(offsets: Sequence[str]) -> int:
    """Try every offset on an API and a worker, and the largest on the whole host; 1 when a promise broke."""
    outcomes = []
    async with staged() as stage:
        for offset in offsets:  # none with --only-host
            for name in ("api-0", "worker-0"):
                outcomes.append(await one_process(stage, name, offset))
                _tell(outcomes[-1])
    async with staged() as stage:
        for outcome in await move_host_clock(stage, "+40d"):
            outcomes.append(outcome)
            _tell(outcome)
    broken = [outcome.what for outcome in outcomes if outcome.problems]
    say(f"{len(outcomes)} wrong clocks; broken: {broken or 'none'}")
    return 1 if broken else 0


def _tell(outcome: Outcome) -> None:
    say(outcome.line())
    for problem in sorted(set(outcome.problems))[:4]:
        say(f"  {problem}")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-host", action="store_true", help="only the jump of the whole host")
    parser.add_argument("--offsets", default=",".join(OFFSETS), help="separated by commas")
    options = parser.parse_args()

    offsets = [] if options.only_host else options.offsets.removeprefix("=").split(",")
    return asyncio.run(run(offsets))
