"""Faults around the processes: clocks, names, TLS, files.

A silent name server needs root and Linux: a process sees another `/etc/resolv.conf` in a mount namespace.
"""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from campaigns.chaos.faults import lasting
from campaigns.chaos.scene import Scene
from campaigns.chaos.stage import Installation
from dev.postgres import cluster
from tests.pipeline import clocks

NAME_SERVER = "127.0.0.53"
AHEAD = timedelta(days=40)
BEFORE_JUMPS = timedelta(hours=3)
OF_TWO_CLOCKS = ("timestamp_future", "event_too_old")


@lasting
async def restaffed(scene: Scene, /, **changes: Any) -> AsyncIterator[None]:
    """The processes of the product start again with other settings, clocks or surroundings (`Staff`)."""
    staff = scene.stage.staff
    await scene.stage.restaff(replace(staff, **changes), wait=False)
    try:
        yield
    finally:
        await scene.stage.restaff(staff, wait=False)


@lasting
async def wrong_clock(scene: Scene, name: str, offset: str) -> AsyncIterator[None]:
    """A process starts again with a clock that is off; it must take and deliver events of this moment."""
    scene.caller.off = timedelta()
    async with restaffed(clocks={name: offset})(scene):
        yield


def clock_file(stage: Installation, name: str, offset: str = "+0") -> Path:
    """Set the offset of a clock that a process reads from a file; return the file."""
    file = stage.folder / f"{name}.clock"
    file.write_text(offset + "\n")
    file.chmod(0o644)
    return file


@lasting
async def clock_jumps(scene: Scene, name: str, offset: str) -> AsyncIterator[None]:
    """The clock of a running process jumps, and at the end jumps back. `Row.jumps` names the process."""
    scene.caller.off = timedelta()
    clock_file(scene.stage, name, offset)
    try:
        yield
    finally:
        clock_file(scene.stage, name)


@lasting
async def clock_of_postgres_jumps(scene: Scene, offset: str) -> AsyncIterator[None]:
    """The clock of Postgres jumps while it runs, a worker is killed meanwhile, and the clock jumps back."""
    scene.caller.off = -BEFORE_JUMPS  # or an event would be of the future while Postgres is behind
    async with _postgres_at(scene.stage, str(clock_file(scene.stage, "postgres"))):
        await asyncio.sleep(5)
        clock_file(scene.stage, "postgres", offset)
        await asyncio.sleep(10)
        for worker in scene.stage.workers:
            worker.signal(9)
        clock_file(scene.stage, "postgres")
        yield


@asynccontextmanager
async def host_ahead(scene: Scene) -> AsyncIterator[None]:
    """The host is 40 days ahead, with its callers.

    What waited before is then too old, and its day is dropped. Amazon, whose clock is right, may refuse
    what comes meanwhile.
    """
    ledger, offset = scene.caller.ledger, f"+{AHEAD.days}d"
    scene.excused = dict.fromkeys(ledger.offered, (None, ["expired"]))
    scene.caller.off = AHEAD
    names = [each.name for each in (*scene.stage.apis, *scene.stage.workers)]
    async with _postgres_at(scene.stage, offset), restaffed(clocks=dict.fromkeys(names, offset))(scene):
        yield
        scene.excused = {**dict.fromkeys(ledger.offered, (["dead"],)), **scene.excused}
        scene.caller.off = timedelta()
    # The clocks of the callers and of the host do not jump at the same moment.
    ledger.unexpected[:] = [one for one in ledger.unexpected if not one.endswith(OF_TWO_CLOCKS)]


@asynccontextmanager
async def _postgres_at(stage: Installation, offset: str) -> AsyncIterator[None]:
    """Postgres starts again with a wrong clock, and in the end with the right one."""
    plain = cluster.BARE  # type: ignore[attr-defined]
    try:
        await _restart(stage, {**plain, **clocks.environment(offset)})
        yield
    finally:
        await _restart(stage, plain)


async def _restart(stage: Installation, environment: dict[str, str]) -> None:
    async with stage.postgres_turn:
        await asyncio.to_thread(stage.cluster.stop)
        cluster.BARE = environment  # type: ignore[attr-defined]
        await asyncio.to_thread(stage.cluster.start)


@asynccontextmanager
async def silent_name_server(scene: Scene) -> AsyncIterator[None]:
    """The name of Amazon is asked of a name server that never answers."""
    folder = scene.stage.folder
    (folder / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((NAME_SERVER, 53))
        mount = f'mount --bind {folder}/resolv.conf /etc/resolv.conf && exec "$@"'
        settings = {"AMAZON_BASE_URL": "http://amazon.test:8001"}
        within = ("unshare", "--mount", "sh", "-c", mount, "sh")
        async with restaffed(settings=settings, within=within)(scene):
            yield


@asynccontextmanager
async def hanging_handshake(scene: Scene) -> AsyncIterator[None]:
    """Amazon accepts connections and never answers the first message of TLS."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        port = silent.getsockname()[1]
        async with restaffed(settings={"AMAZON_BASE_URL": f"https://127.0.0.1:{port}"})(scene):
            yield


@asynccontextmanager
async def no_files(scene: Scene) -> AsyncIterator[None]:
    """A worker can open no further file or connection."""
    worker = scene.stage.workers[0]
    assert worker.running is not None
    scene.touched |= await scene.stage.lanes_of(worker)
    pid, before = worker.running.pid, resource.prlimit(worker.running.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
