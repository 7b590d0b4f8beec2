"""`./run campaign power-cuts --cuts N`: the power goes while events are being acknowledged.

Postgres runs on the forgetful file system. At a random moment all its processes are stopped and killed, the
file system forgets what was not fsynced, and Postgres must recover from the rest: every event that was
answered 202 must be there. The two controls, `--fsync off` and `--synchronous-commit off`, must lose some.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.chaos import records
from campaigns.chaos.run import Run
from campaigns.chaos.schedule import Schedule
from campaigns.chaos.stage import POSTGRES, ROOT, Installation, Staff
from campaigns.running import say
from dev.postgres.cluster import Cluster
from dev.postgres.postmaster import kill_server, server_processes
from tests.crashes import stored
from tests.crashes.evidence import Objection
from tests.crashes.judge import judge
from tests.waiting import wait_until

CALLERS = 8
LEAST = 20  # events acknowledged before a cut
MOUNT_S = 20.0
ANSWERED_WITHIN_S = 90.0
# What a cut interrupts is sent again after the deadline of a request, which else is half a minute.
QUICK = {"lease_s": 6.0, "request_deadline_s": 2.0, "recover_every_s": 0.5}


def missing() -> str | None:
    """Name what this machine lacks for power cuts, or None."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse"
    if shutil.which("fusermount3") is None:
        return "fusermount3 (package fuse3)"
    if os.geteuid() != 0:
        return "root, for a file system that the database's account may use"
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError):
        return "mfusepy (package) with libfuse3"
    return None


@dataclass
class Machine(Installation):
    """A stage whose power can be cut: its cluster is on the forgetful file system."""

    fsync: str = "on"
    ready_path: str = "/health/live"  # without a guard, no API is ready

    def start_postgres(self) -> None:
        """Make a migrated cluster on the plain disk, and move it to where it can be forgotten."""
        super().start_postgres()
        self.cluster.stop()
        self.home = self.folder / "cluster" / "postgres"
        self.live, self.safe = self.folder / "live", self.folder / "safe"
        self.home.rename(self.live)
        _copy(self.live, self.safe)
        self.home.mkdir()
        self._mount()
        self.cluster = Cluster(self.folder / "cluster", settings={**POSTGRES, "fsync": self.fsync})
        self.cluster.start()

    async def cut(self) -> None:
        """Cut the power of Postgres and switch it on again: what was not fsynced never was."""
        async with self.postgres_turn:
            await asyncio.to_thread(self._cut)

    def _cut(self) -> None:
        kill_server(self.home)
        wait_until(lambda: not server_processes(self.home), every=0.005)
        self.cluster.alive()  # reaps the child
        self._unmount()
        shutil.rmtree(self.live)
        _copy(self.safe, self.live)
        self._mount()
        self.cluster.start()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self._unmount()

    def _mount(self) -> None:
        self._system = subprocess.Popen(
            [sys.executable, "-m", "campaigns.chaos.forgetful", *map(str, (self.live, self.safe, self.home))],
            cwd=ROOT,
            start_new_session=True,
        )
        system = self._system
        wait_until(lambda: os.path.ismount(self.home) or system.poll() is not None, seconds=MOUNT_S)
        assert system.poll() is None, "the forgetful file system cannot be mounted"

    def _unmount(self) -> None:
        # Lazily: a dying process may hold a file for a moment longer than its entry in /proc lives.
        subprocess.run(["fusermount3", "-u", "-z", str(self.home)], check=True)
        self._system.wait(MOUNT_S)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@dataclass
class Verdict:
    """What came of a series of cuts."""

    cuts: int = 0
    acknowledged: int = 0
    lost: int = 0
    objections: list[Objection] = field(default_factory=list)


async def cut_power(
    cuts: int, *, seed: int = 1, fsync: str = "on", synchronous_commit: str = "on"
) -> Verdict:
    """Cut the power under load until it loses an event, at most `cuts` times; then deliver and judge."""
    luck, verdict = random.Random(seed), Verdict()
    constants = QUICK if synchronous_commit == "on" else {**QUICK, "synchronous_commit": 0}
    machine = Machine(staff=Staff(constants=constants), fsync=fsync)
    async with machine as stage, contextlib.AsyncExitStack() as stack:
        run = Run(stage, Schedule(seed, 0.0, ()))
        stack.push_async_callback(run.scene.close)
        run.staff = stage.staff
        await run.prepare()
        await stage.ask("CHECKPOINT")
        ledger, is_over = run.scene.caller.ledger, asyncio.Event()
        posting = [asyncio.create_task(_post(run, f"cut-{seed}-{n}", is_over)) for n in range(CALLERS)]
        for task in posting:
            stack.callback(task.cancel)
        while verdict.cuts < cuts and not verdict.lost:
            enough = len(ledger.acknowledged) + LEAST
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while len(ledger.acknowledged) < enough:
                    await asyncio.sleep(0.03)
            await asyncio.sleep(luck.uniform(0.15, 0.8))
            await stage.cut()
            verdict.cuts += 1
            acknowledged = {*ledger.acknowledged}
            async with stage.office() as connection:
                verdict.lost = len(acknowledged - (await stored.places(connection, run.scene.numbers)).keys())
        verdict.acknowledged = len(ledger.acknowledged)
        if not verdict.lost:
            is_over.set()
            await asyncio.gather(*posting)
            await run.heal()
            verdict.objections = judge(await records.safety(run))
    return verdict


async def _post(run: Run, name: str, is_over: asyncio.Event) -> None:
    """Post one batch after the other; what a cut leaves without an answer is repeated."""
    luck, turn, loop = random.Random(name), 0, asyncio.get_running_loop()
    while not is_over.is_set():
        names = [f"{name}-{turn}-{n}" for n in range(luck.choice((1, 2, 5, 20)))]
        destination = luck.choice(run.scene.numbers)
        await run.scene.caller.send(names, destination, loop.time() + ANSWERED_WITHIN_S)
        turn += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fsync", choices=("on", "off"), default="on")
    parser.add_argument("--synchronous-commit", choices=("on", "off"), default="on")
    options = vars(parser.parse_args())
    if (lack := missing()) is not None:
        say(f"Power cuts need {lack}.")
        return 2
    began = time.monotonic()
    verdict = asyncio.run(cut_power(options.pop("cuts"), **options))
    say(
        f"{verdict.cuts} power cuts, {verdict.acknowledged} events acknowledged, {verdict.lost} lost, "
        f"{len(verdict.objections)} objections, {time.monotonic() - began:.0f} s",
        *verdict.objections,
        sep="\n  ",
    )
    return int(bool(verdict.lost or verdict.objections))
