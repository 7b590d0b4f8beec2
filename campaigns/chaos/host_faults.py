"""Faults around the processes, for `./run campaign single-faults`: clocks, names, TLS, files, read-only.

A silent name server needs root and Linux: a process sees another `/etc/resolv.conf` in a mount namespace.
"""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from campaigns.chaos.single_faults import Fault, Scene
from campaigns.chaos.stage import Installation
from dev.postgres import cluster
from tests.pipeline import clocks

NAME_SERVER = "127.0.0.53"


def restaffed(*, clocks: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None) -> Fault:
    """The processes of the product run with other clocks or settings."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        async with _restaffed(scene.stage, clocks=clocks, settings=settings):
            yield

    return fault


@asynccontextmanager
async def _restaffed(
    stage: Installation,
    *,
    clocks: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> AsyncIterator[None]:
    workers = stage.workers_wanted
    await stage.restaff(
        workers=workers, constants={}, settings=settings or {}, clocks=clocks, within=within, wait=False
    )
    try:
        yield
    finally:
        await stage.restaff(workers=workers, constants={}, settings={}, wait=False)


def clock_file(stage: Installation, name: str, offset: str = "+0") -> Path:
    """Set the offset of a clock that a process reads from a file; return the file."""
    file = stage.folder / f"{name}.clock"
    file.write_text(offset + "\n")
    file.chmod(0o644)
    return file


def clock_jumps(name: str, offset: str) -> Fault:
    """The clock of a running process jumps, and at the end jumps back. `Row.jumps` names the process."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        clock_file(scene.stage, name, offset)
        try:
            yield
        finally:
            clock_file(scene.stage, name)

    return fault


def clock_of_postgres_jumps(offset: str) -> Fault:
    """The clock of Postgres jumps while it runs, a worker is killed meanwhile, and the clock jumps back."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        plain = cluster.BARE  # type: ignore[attr-defined]
        file = clock_file(scene.stage, "postgres")
        try:
            await _restart(scene.stage, {**plain, **clocks.environment(str(file))})
            await asyncio.sleep(5)
            clock_file(scene.stage, "postgres", offset)
            await asyncio.sleep(10)
            for worker in scene.stage.workers:
                worker.signal(9)
            clock_file(scene.stage, "postgres")
            yield
        finally:
            await _restart(scene.stage, plain)

    return fault


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
        async with _restaffed(
            scene.stage,
            settings={"AMAZON_BASE_URL": "http://amazon.test:8001"},
            within=("unshare", "--mount", "sh", "-c", mount, "sh"),
        ):
            yield


@asynccontextmanager
async def hanging_handshake(scene: Scene) -> AsyncIterator[None]:
    """Amazon accepts connections and never answers the first message of TLS."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        port = silent.getsockname()[1]
        async with _restaffed(scene.stage, settings={"AMAZON_BASE_URL": f"https://127.0.0.1:{port}"}):
            yield


@asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    """Postgres refuses all writes, as after a failover to a server that is not promoted."""
    await scene.stage.ask("ALTER SYSTEM SET default_transaction_read_only = on")
    await scene.stage.ask("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        async with scene.stage.office() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await connection.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def no_files(scene: Scene) -> AsyncIterator[None]:
    """A worker can open no further file or connection."""
    worker = scene.stage.workers[0]
    assert worker.running is not None
    scene.touched |= await scene.stage.lanes_of(worker)
    with _most_files(worker.running.pid, 1):
        yield


@contextlib.contextmanager
def _most_files(pid: int, number: int) -> Iterator[None]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
