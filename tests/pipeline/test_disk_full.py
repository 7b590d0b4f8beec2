"""A full disk: posts get 503, no acknowledged event is lost, and with free space all events are delivered.

Postgres has a small file system of its own. First its tables cannot grow; then its log cannot, and it ends
itself. Some fifteen seconds. Where nothing may be mounted this is skipped by name, but in CI it fails.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.store.database import migrate
from dev.postgres.cluster import Cluster, EmbeddedError
from tests.pipeline.service import serving
from tests.pipeline.world import event, eventually

SIZE = "192m"


def missing() -> str | None:
    """Name what this machine lacks for a small file system, or None."""
    if os.geteuid() != 0:
        return "root, to mount a small file system"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
        )
        if tried.returncode:
            return "the right to mount a small file system"
        subprocess.run(["umount", folder], check=True)
    return None


LACKING = missing()
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        LACKING is not None and not os.environ.get("CI"), reason=f"a full disk needs {LACKING}"
    ),
]


@dataclass
class SmallDisk:
    """A cluster on a small file system, and a ballast that takes all the room that is left."""

    folder: Path
    cluster: Cluster

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.folder).free

    def fill(self) -> None:
        """Take the last byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(64 * 1024))
        with (self.folder / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A migrated, durable cluster with a little room left."""
    folder = Path(tempfile.mkdtemp(prefix="conversions-small-disk-"))
    folder.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(folder)], check=True)
    cluster = Cluster(folder)
    try:
        cluster.start()
        migrate.upgrade(cluster.url)
        yield SmallDisk(folder, cluster)
    finally:
        with suppress(EmbeddedError):
            cluster.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@dataclass
class Caller:
    """Posts events one by one, and records which were acknowledged and which got no response."""

    client: httpx.AsyncClient
    destination: str
    number: int = 0
    acknowledged: set[str] = field(default_factory=set)
    refused: list[httpx.Response] = field(default_factory=list)

    async def post(self, events: int = 20) -> int:
        numbers = range(self.number, self.number + events)
        self.number += events
        answer = await self.client.post(
            f"/events?destination_id={self.destination}",
            json=[event(number, user={"email": f"p{number}@example.com"}) for number in numbers],
        )
        if answer.status_code == 202:
            self.acknowledged |= {f"ord-{number}" for number in numbers}
        else:
            self.refused.append(answer)
        return answer.status_code


async def test_with_a_full_disk_posts_get_503_and_nothing_acknowledged_is_lost(disk: SmallDisk) -> None:
    """Tables that cannot grow, then a log that cannot; a fresh event flows at the end."""
    async with serving(disk.cluster.url) as service:
        world, client = service.world, service.client
        destination = await world.destination()
        caller = Caller(client, destination)
        world.work()
        assert [await caller.post() for _ in range(5)] == [202] * 5

        disk.fill()
        statuses = [await caller.post(200) for _ in range(40)]
        assert set(statuses) <= {202, 503}, statuses
        assert 503 in statuses
        assert disk.free < 1024 * 1024

        await log_ends(disk)
        assert await caller.post() == 503
        assert (await client.get("/health/ready")).status_code == 503

        for answer in caller.refused:
            error = answer.json()
            assert (error["error"], error["code"]) == ("unavailable", "SERVICE_UNAVAILABLE")
            assert 1 <= int(answer.headers["retry-after"]) <= 10

        disk.make_room()

        async def flows() -> bool:
            # Looked after again and again, as a supervisor does: a Postgres that is there may be one that is
            # about to give up, since its recovery met the full disk.
            await asyncio.to_thread(restart, disk.cluster)
            return await caller.post() == 202

        await eventually(flows, seconds=60, every=0.2)

        def are_all_there() -> bool:
            return caller.acknowledged <= {one.partition(":")[2] for one in world.amazon.times}

        await eventually(are_all_there, seconds=60, every=0.1)

        async def ready_again() -> bool:
            return (await client.get("/health/ready")).status_code == 200

        await eventually(ready_again, seconds=60, every=0.2)
        counts = await world.counts(destination)
    assert counts["accepted"] >= len(caller.acknowledged)
    assert all(len(payloads) == 1 for payloads in world.amazon.accepted.values())
    assert len(caller.acknowledged) > 100


async def log_ends(disk: SmallDisk) -> None:
    """Let Postgres need a new piece of log that the disk has no room for; it ends itself."""
    connection = await asyncpg.connect(disk.cluster.url.replace("+asyncpg", ""))
    with suppress(asyncpg.PostgresError, OSError):
        for _ in range(10):
            await connection.execute("SELECT pg_switch_wal()")
            await connection.execute("CREATE TABLE IF NOT EXISTS grows (x int)")
            await connection.execute("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 1000))")
    connection.terminate()


def restart(cluster: Cluster) -> None:
    """Start Postgres as its supervisor would, if it has ended."""
    if not cluster.alive():
        cluster.start()
