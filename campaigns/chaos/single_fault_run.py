"""`./run campaign single-faults [ROW …]`: break one thing at a time, and measure what everything else does.

Six advertisers get two single events a second each. A row of the table breaks one thing for some seconds and
then heals it. Prints for each row the longest time between two 202s, the longest delay from the 202 to Amazon
of the advertisers that the fault does not touch, and what the service reported. Exits with 1 if a bound of a
row was broken, an event was lost or delivered to another advertiser, or an erasure was not finished.
"""

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import httpx

from app.store.errors import DRIVER_ERRORS
from campaigns.chaos import standin
from campaigns.chaos.administrator import Administrator
from campaigns.chaos.caller import Caller, event
from campaigns.chaos.host_faults import clock_file
from campaigns.chaos.single_fault_rows import ROWS, Row
from campaigns.chaos.single_faults import Scene
from campaigns.chaos.stage import Installation
from campaigns.running import commit
from tests.crashes import stored

EVERY_S = 0.5
PATIENCE_S = 12.0  # of a caller
BEFORE_S = 3.0
DRAIN_S = 300.0
DAY = datetime.now(UTC).strftime("%Y-%m-%d")
_OPEN_NOW = (
    "SELECT kind FROM incidents WHERE last_seen_at > now() - interval '10 seconds' AND state <> 'resolved'"
)


@dataclass(slots=True)
class Result:
    """What a row measured. `signs` are reports of the service, with the seconds since the fault began."""

    row: Row
    accepted: int = 0
    gap: float = 0.0
    delay: float = 0.0
    stretch: float = 1.0  # how much longer the processes took than they computed, for want of a core
    signs: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        signs = ", ".join(
            f"{sign} {at:.0f} s" for sign, at in sorted(self.signs.items(), key=lambda one: one[1])
        )
        verdict = "green" if not self.problems else "RED: " + "; ".join(self.problems)
        cells = (
            self.row.name,
            self.accepted,
            f"{self.gap:.1f}",
            f"{self.delay:.1f}",
            f"{self.stretch:.1f}",
            signs or "–",
            verdict,
        )
        return f"| {' | '.join(map(str, cells))} |"


class Watch:
    """Posts events and notes answers, and what the service reports of itself."""

    def __init__(self, scene: Scene, tag: str) -> None:
        self.scene = scene
        self.tag = tag
        self.accepted: dict[str, tuple[float, str]] = {}  # by event: when, and the advertiser
        self.signs: dict[str, float] = {}
        self.began = float("inf")
        self.over = False

    async def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.scene.stage.key}"}
        async with httpx.AsyncClient(
            base_url=self.scene.stage.api, headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as client:
            posting = [self._post(client, place) for place in range(len(self.scene.destinations))]
            await asyncio.gather(self._observe(), *posting)

    async def _post(self, client: httpx.AsyncClient, place: int) -> None:
        destination, number = self.scene.destinations[place], 0
        await asyncio.sleep(EVERY_S * place / len(self.scene.destinations))
        while not self.over:
            name = f"{self.tag}-{place}-{number}"
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post(
                    "/events", params={"destination_id": destination.number}, json=[event(name, DAY)]
                )
                if answer.status_code == 202:
                    self.accepted[name] = time.time(), destination.advertiser
                    number += 1
            await asyncio.sleep(EVERY_S)

    async def _observe(self) -> None:
        """Read the readiness of the API and the open incidents, each second."""
        async with httpx.AsyncClient(base_url=self.scene.stage.api, timeout=3, trust_env=False) as client:
            while not self.over:
                try:
                    answer = await client.get("/health/ready")
                    for reason in answer.json().get("reasons", ()) if answer.status_code == 503 else ():
                        self._note(reason)
                except httpx.HTTPError:
                    self._note("no answer")
                with contextlib.suppress(AssertionError, *DRIVER_ERRORS):
                    async with asyncio.timeout(3):
                        for row in await self.scene.stage.ask(_OPEN_NOW):
                            self._note(row["kind"])
                await asyncio.sleep(1)

    def _note(self, sign: str) -> None:
        if time.time() > self.began:
            self.signs.setdefault(sign, time.time() - self.began)


async def play(stage: Installation, row: Row, number: int) -> Result:
    """Play one row on a healthy stage, and leave it healthy."""
    jumping = {row.jumps: str(clock_file(stage, row.jumps))} if row.jumps else {}
    await stage.restaff(workers=row.workers, constants={}, settings={}, clocks=jumping)
    operator = Administrator(stage.api, stage.amazon, stage.key)
    caller = Caller(stage.api, stage.key, random.Random(number))
    try:
        base = 7_000_000 + 100 * number
        made = [
            await operator.create(f"Row {number} number {place}", str(base + place))
            for place in range(row.advertisers)
        ]
        scene = Scene(stage, operator, caller, made)
        watch = Watch(scene, f"row{number}")
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(BEFORE_S)
        result, began = Result(row), time.time()
        watch.began = began
        async with row.fault(scene):
            await asyncio.sleep(max(0.0, row.lasts - (time.time() - began)))
        result.stretch = stage.stretch()
        await stage.heal()
        await asyncio.sleep(BEFORE_S)
        watch.over = True
        await running
        await _drain(scene)
        _judge(result, scene, watch, began)
    finally:
        await operator.faults("*", [])
        await operator.close()
        await caller.close()
    return result


async def _drain(scene: Scene) -> None:
    """Wait until nothing is open and all erasures are finished, or two minutes have passed."""
    until = time.monotonic() + DRAIN_S
    numbers = [each.number for each in scene.destinations]
    await asyncio.wait(scene.tasks or [asyncio.create_task(asyncio.sleep(0))], timeout=DRAIN_S)
    while time.monotonic() < until:
        async with scene.stage.office() as connection:
            unfinished = await connection.fetchval("SELECT count(*) FROM erasures WHERE finished_at IS NULL")
            if not unfinished and not await stored.waiting(connection, numbers):
                return
        await asyncio.sleep(0.5)


def _judge(result: Result, scene: Scene, watch: Watch, began: float) -> None:
    """Compare what callers and Amazon saw with the bounds of the row."""
    row, ended = result.row, time.time()
    owners = {each.advertiser for each in scene.destinations}
    taken: dict[str, float] = {}
    for request in standin.read(scene.stage.folder, advertisers=frozenset(owners)):
        for name in request.accepted:
            taken.setdefault(name, request.ended)
            owner = watch.accepted.get(name, (0.0, request.advertiser))[1]
            if owner != request.advertiser or (
                name.startswith("misplaced") and request.advertiser not in scene.touched
            ):
                result.problems.append(f"{name} was sent to another advertiser")
    times = sorted(at for at, _ in watch.accepted.values())
    result.accepted = len(times)
    result.gap = max((after - before for before, after in pairwise(times)), default=ended - began)
    waits = {
        name: taken.get(name, ended) - at
        for name, (at, advertiser) in watch.accepted.items()
        if advertiser not in scene.touched
    }
    result.delay = max(waits.values(), default=0.0)
    missing = [
        name
        for name, (_, owner) in watch.accepted.items()
        if name not in taken and owner not in scene.touched
    ]
    result.signs = watch.signs
    if missing:
        result.problems.append(f"{len(missing)} events not delivered")
    if len(scene.erasures) < len(scene.tasks):
        result.problems.append(f"{len(scene.tasks) - len(scene.erasures)} erasures without an answer")
    # On a machine without a free core, everything takes as much longer as processes wait for one.
    stretch = max(1.0, result.stretch / 2)
    if result.gap > row.gap * stretch:
        result.problems.append(f"gap above {row.gap * stretch:.0f} s")
    if result.delay > row.delay * stretch:
        result.problems.append(f"delay above {row.delay * stretch:.0f} s")
    if row.signs and not row.signs & watch.signs.keys():
        result.problems.append("nothing reported it")


async def run(rows: Sequence[Row]) -> list[Result]:
    """Play rows on one stage; a stage on which a row was red is not used again."""
    results: list[Result] = []
    waiting = list(rows)
    while waiting:
        with tempfile.TemporaryDirectory(prefix="conversions-faults-") as folder:
            stage = Installation(Path(folder), apis_wanted=1)
            try:
                await stage.start()
                while waiting:
                    row = waiting.pop(0)
                    result = await play(stage, row, ROWS.index(row))
                    results.append(result)
                    print(result.line(), flush=True)
                    if result.problems:
                        break
            finally:
                await stage.close()
    return results


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="words of the rows to play; default: all")
    words = parser.parse_args().rows
    chosen = [row for row in ROWS if not words or any(word in row.name for word in words)]
    print(f"commit {commit()}, {len(chosen)} rows")
    print("| fault | events | gap of 202s, s | delay of others, s | stretch | reported after | verdict |")
    print("|---|---|---|---|---|---|---|", flush=True)
    results = asyncio.run(run(chosen))
    return 1 if any(result.problems for result in results) else 0
