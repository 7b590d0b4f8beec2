"""`./run campaign power-cuts --cuts N`: the power goes while events are being acknowledged.

Postgres runs on the forgetful file system. At a random moment all its processes are stopped and killed, the
file system forgets what was not fsynced, and Postgres must recover from the rest: every event that was
answered 202 must be there. The two controls, `--fsync off` and `--synchronous-commit off`, must lose some.
"""

import argparse
import asyncio
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.store.database import migrate
from app.store.errors import DRIVER_ERRORS
from campaigns.chaos.stage import POSTGRES, ROOT, kill_server
from campaigns.running import say
from dev.postgres.cluster import Cluster
from dev.postgres.postmaster import is_of_cluster
from tests.crashes.amazon import StandIn
from tests.crashes.evidence import Evidence, Objection
from tests.crashes.judge import judge
from tests.crashes.rehearsal import Life, Rehearsal, rehearse

CALLERS = 8
LEAST = 20  # events acknowledged before a cut
MOUNT_S = 20.0


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
class Machine:
    """A machine whose power can be cut: a cluster on the forgetful file system."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=lambda: dict(POSTGRES))

    def start(self) -> None:
        """Make a migrated cluster on the plain disk, and move it to where it can be forgotten."""
        self.folder.chmod(0o755)
        self.home = self.folder / "cluster" / "postgres"
        self.live, self.safe = self.folder / "live", self.folder / "safe"
        self.cluster = Cluster(self.folder / "cluster", settings=POSTGRES)
        self.cluster.start()
        migrate.upgrade(self.cluster.url)
        self.cluster.stop()
        self.home.rename(self.live)
        _copy(self.live, self.safe)
        self.home.mkdir()
        self._mount()
        self.cluster = Cluster(self.folder / "cluster", settings=self.settings)
        self.cluster.start()

    def cut(self) -> None:
        """Cut the power and switch it on again: what was not fsynced never was."""
        ours = kill_server(self.home)
        while any(is_of_cluster(pid, self.home) for pid in ours):
            time.sleep(0.005)
        self.cluster.alive()  # reaps the child
        self._unmount()
        shutil.rmtree(self.live)
        _copy(self.safe, self.live)
        self._mount()
        self.cluster.start()

    def stop(self) -> None:
        self.cluster.stop()
        self._unmount()

    def _mount(self) -> None:
        self._system = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "campaigns.chaos.forgetful",
                str(self.live),
                str(self.safe),
                str(self.home),
            ],
            cwd=ROOT,
            start_new_session=True,
        )
        until = time.monotonic() + MOUNT_S
        while not os.path.ismount(self.home):
            if self._system.poll() is not None or time.monotonic() > until:
                raise OSError("the forgetful file system cannot be mounted")
            time.sleep(0.01)

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
    unknown: int = 0
    lost: int = 0
    objections: list[Objection] = field(default_factory=list)

    def line(self, seconds: float) -> str:
        return (
            f"{self.cuts} power cuts, {self.acknowledged} events acknowledged, {self.unknown} posts "
            f"unanswered at a cut and repeated, {self.lost} lost, {len(self.objections)} objections, "
            f"{seconds:.0f} s"
        )


async def cut_power(
    cuts: int,
    *,
    seed: int = 1,
    fsync: str = "on",
    synchronous_commit: str | None = None,
    stop_at_loss: bool = False,
) -> Verdict:
    """Cut the power `cuts` times under load, then deliver everything and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="conversions-power-"))
    machine = Machine(folder, {**POSTGRES, "fsync": fsync})
    luck, verdict = random.Random(seed), Verdict()
    seen, amazon = Evidence(), StandIn()
    unsure: list[Any] = []
    destinations: list[str] = []
    try:
        await asyncio.to_thread(machine.start)
        while verdict.cuts < cuts:
            async with rehearse(machine.cluster.url, amazon) as stage:
                stage.evidence, stage.destinations = seen, destinations
                if not destinations:
                    await stage.destination()
                    await stage.office.execute("CHECKPOINT")
                async with stage.life(session=_session(synchronous_commit)) as life:
                    callers = [
                        asyncio.create_task(_call(life, stage, f"{verdict.cuts}-{n}", unsure))
                        for n in range(CALLERS)
                    ]
                    enough = len(seen.acknowledged) + LEAST
                    # On a busy machine the first answer may take longer than any of the waits below.
                    async with asyncio.timeout(60):
                        while len(seen.acknowledged) < enough and not all(one.done() for one in callers):
                            await asyncio.sleep(0.03)
                    await asyncio.sleep(luck.uniform(0.15, 0.8))
                    await asyncio.to_thread(machine.cut)
                    verdict.unknown += sum(await asyncio.gather(*callers))
            verdict.cuts += 1
            async with rehearse(machine.cluster.url, amazon) as stage:
                stage.evidence, stage.destinations = seen, destinations
                stored = (await stage.evaluated()).stored
            verdict.lost = len(seen.acknowledged - stored.keys())
            if stop_at_loss and verdict.lost:
                verdict.acknowledged = len(seen.acknowledged)
                verdict.objections = judge(seen)
                await asyncio.to_thread(machine.stop)
                return verdict
        async with rehearse(machine.cluster.url, amazon) as stage:
            stage.evidence, stage.destinations = seen, destinations
            await stage.time_passes(leases=True)
            async with stage.life() as life:
                for names in unsure:
                    await life.post(destinations[0], *names)
                await life.deliver(steps=2_000)
            verdict.objections = judge(await stage.evaluated())
        verdict.acknowledged = len(seen.acknowledged)
        await asyncio.to_thread(machine.stop)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(machine.home)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _session(synchronous_commit: str | None) -> Mapping[str, str] | None:
    return None if synchronous_commit is None else {"synchronous_commit": synchronous_commit}


async def _call(life: Life, stage: Rehearsal, name: str, unsure: list[tuple[str, ...]]) -> int:
    """Post one batch after the other until one is not answered for; that one is repeated at the end."""
    luck, turn = random.Random(name), 0
    while True:
        names = tuple(f"{name}-{turn}-{n}" for n in range(luck.choice((1, 2, 5, 20))))
        turn += 1
        try:
            answered = await life.post(stage.destinations[0], *names)
        except DRIVER_ERRORS:
            answered = False
        if not answered:
            unsure.append(names)
            return 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fsync", choices=("on", "off"), default="on")
    parser.add_argument("--synchronous-commit", choices=("on", "off"))
    options = parser.parse_args()
    if (lack := missing()) is not None:
        say(f"Power cuts need {lack}.")
        return 2
    # The driver's own words about a server that is away are no news here.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    began = time.monotonic()
    verdict = asyncio.run(
        cut_power(
            options.cuts,
            seed=options.seed,
            fsync=options.fsync,
            synchronous_commit=options.synchronous_commit,
        )
    )
    say(verdict.line(time.monotonic() - began), *verdict.objections, sep="\n  ")
    return 1 if verdict.objections else 0
