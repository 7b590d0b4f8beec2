"""`./run campaign single-faults [ROW …]`: break one thing at a time, and measure what everything else does.

Six advertisers get two single events a second each. A row of the table breaks one thing for some seconds and
then heals it. Prints for each row the longest time between two 202s, the longest delay from the 202 to Amazon
of the advertisers that the fault does not touch, and what the service reported. Exits with 1 if a bound of a
row was broken, an event was lost or delivered to another advertiser, or an erasure was not finished.
`./run campaign clock-faults` plays the rows of clocks.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from app.store.errors import DRIVER_ERRORS
from campaigns.chaos import liveness_judge, records, standin
from campaigns.chaos.administrator import Administrator
from campaigns.chaos.caller import Caller
from campaigns.chaos.host_faults import clock_file
from campaigns.chaos.liveness_judge import Bounds, LivenessEvidence
from campaigns.chaos.scene import Scene
from campaigns.chaos.single_fault_rows import ROWS, Row
from campaigns.chaos.stage import CLOSES, Installation, Staff
from campaigns.running import commit, say
from tests.crashes import stored
from tests.crashes.evidence import Objection

EVERY_S = 0.5
BEFORE_S = 3.0
DRAIN_S = 300.0
_OPEN_NOW = (
    "SELECT kind FROM incidents WHERE last_seen_at > now() - interval '10 seconds' AND state <> 'resolved'"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a row measured. `signs` are reports of the service, with the seconds since the fault began."""

    row: Row
    seen: LivenessEvidence
    signs: dict[str, float]
    objections: Sequence[Objection]

    def line(self) -> str:
        signs = ", ".join(
            f"{sign} {at:.0f} s" for sign, at in sorted(self.signs.items(), key=lambda one: one[1])
        )
        figures = f"{self.seen.gap:.1f} | {self.seen.delay:.1f} | {self.seen.stretch:.1f}"
        verdict = "; ".join(map(str, self.objections[:6]))
        cells = self.row.name, len(self.seen.intake), figures, signs or "–", verdict or "green"
        return f"| {' | '.join(map(str, cells))} |"


async def play(stage: Installation, row: Row, number: int) -> Result:
    """Play one row on a healthy stage, and leave it healthy."""
    jumping = {row.jumps: str(clock_file(stage, row.jumps))} if row.jumps else {}
    await stage.restaff(Staff(apis=row.apis, workers=row.workers, clocks=jumping))
    scene = Scene(
        stage,
        Administrator(stage.api, stage.amazon, stage.key),
        Caller(stage.api, stage.key, random.Random(number), keeps=row.apis == 1),
    )
    seen = LivenessEvidence(bounds=Bounds(row.gap, row.delay, row.signs))
    signs: dict[str, float] = {}
    tasks: list[asyncio.Task[None]] = []
    try:
        for place in range(row.advertisers):
            name = f"Row {number} number {place}"
            scene.destinations.append(
                await scene.operator.create(name, str(7_000_000 + 100 * number + place))
            )
        tasks += [asyncio.create_task(_post(scene, place)) for place in range(row.advertisers)]
        await asyncio.sleep(BEFORE_S)
        began = time.time()
        tasks.append(asyncio.create_task(_observe(stage, signs, began)))
        async with row.fault(scene):
            await asyncio.sleep(max(0.0, row.lasts - (time.time() - began)))
        seen.stretch = stage.stretch()
        await stage.heal()
        await asyncio.sleep(BEFORE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scene.drain(scene.numbers, seconds=DRAIN_S)
        await _gather(scene, seen)
    finally:
        for task in tasks:
            task.cancel()
        await scene.close()
    seen.signs = {*signs}
    return Result(row, seen, signs, liveness_judge.judge(seen))


async def _post(scene: Scene, place: int) -> None:
    """Post single events to a destination, the next one when one is answered."""
    number, loop = 0, asyncio.get_running_loop()
    await asyncio.sleep(EVERY_S * place / len(scene.destinations))
    while True:
        destination = scene.destinations[place].number
        await scene.caller.send([f"{destination}-{number}"], destination, loop.time() + DRAIN_S)
        number += 1
        await asyncio.sleep(EVERY_S)


async def _observe(stage: Installation, signs: dict[str, float], began: float) -> None:
    """Note, each second, what readiness and the open incidents report."""
    async with httpx.AsyncClient(base_url=stage.api, timeout=3, trust_env=False, headers=CLOSES) as client:
        while True:
            found = list[str]()
            try:
                answer = await client.get("/health/ready")
                found += answer.json().get("reasons", ()) if answer.status_code == 503 else ()
            except httpx.HTTPError:
                found.append("no answer")
            with contextlib.suppress(AssertionError, *DRIVER_ERRORS):
                async with asyncio.timeout(3):
                    found += [row["kind"] for row in await stage.ask(_OPEN_NOW)]
            for sign in found:
                signs.setdefault(sign, time.time() - began)
            await asyncio.sleep(1)


async def _gather(scene: Scene, seen: LivenessEvidence) -> None:
    """Gather what the judge compares with the bounds of the row."""
    ledger = scene.caller.ledger
    advertisers = frozenset(one.advertiser for one in scene.destinations)
    requests = standin.read(scene.stage.folder, advertisers=advertisers)
    async with scene.stage.office() as connection:
        places = await stored.places(connection, scene.numbers)
    excused = {name for name, ends in scene.excused.items() if places.get(name) in ends}
    seen.lanes = records.lanes(scene.destinations, ledger, requests, sick=scene.touched, left_out=excused)
    seen.unexpected = [*records.counted([*ledger.unexpected, *scene.operator.unexpected])]
    seen.misplaced = records.misplaced(scene.destinations, ledger, requests)
    seen.unfinished_erasures = await scene.unfinished_erasures()
    seen.intake = [*ledger.acknowledged.values()]
    seen.ended = time.time()


async def run(rows: Sequence[Row]) -> list[Result]:
    """Play rows on one stage; a stage on which a row was red is not used again."""
    results: list[Result] = []
    waiting = list(rows)
    while waiting:
        async with Installation(staff=Staff(apis=1)) as stage:
            while waiting:
                row = waiting.pop(0)
                results.append(await play(stage, row, ROWS.index(row)))
                say(results[-1].line())
                if results[-1].objections:
                    break
    return results


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="words of the rows to play; default: all")
    words = parser.parse_args().rows
    chosen = [row for row in ROWS if not words or any(word in row.name for word in words)]
    say(f"commit {commit()}, {len(chosen)} rows")
    say("| fault | events | gap of 202s, s | delay of others, s | stretch | reported after | verdict |")
    say("|---|---|---|---|---|---|---|")
    return int(any(result.objections for result in asyncio.run(run(chosen))))
