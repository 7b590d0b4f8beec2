"""Try connections to Postgres whose other end falls silent: `./run campaign silent-network`.

The client runs in a network namespace of its own (root, Linux), and from one moment on every packet between
it and Postgres goes to an unused address. Prints after how many seconds each end gives its
connections up. Proxies that acknowledge everything and pass nothing on are rows of `single-faults`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from app.processes.resources import session_settings
from app.store.database import servers
from app.store.errors import DRIVER_ERRORS
from campaigns.chaos.stage import POSTGRES
from dev.postgres.cluster import Cluster
from tests.databases import running

SPACE, HERE, THERE = "liveness-probe", "10.99.7.1", "10.99.7.2"
MOST_S = 75.0
STATEMENT = "SELECT 1"


async def client(dsn: str) -> dict[str, float | None]:
    """Connect twice, wait for a line, and say when the idle and the asking connection were given up."""
    options: dict[str, Any] = {"server_settings": session_settings("probe"), "timeout": 10}
    idle, asking = [await servers.connect(dsn, **options) for _ in range(2)]
    await asking.fetchval(STATEMENT)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    return {
        "the idle connection": await _gone(idle, began),
        "the statement": await _refused(asking, began),
        "the asking connection": await _gone(asking, began),
    }


async def _refused(connection: asyncpg.Connection, began: float) -> float | None:
    try:
        await connection.fetchval(STATEMENT)
    except DRIVER_ERRORS:
        return round(time.monotonic() - began, 1)
    return None


async def _gone(connection: asyncpg.Connection, began: float) -> float | None:
    while not connection.is_closed():
        if time.monotonic() - began > 2 * MOST_S:
            return None
        await asyncio.sleep(0.1)
    return round(time.monotonic() - began, 1)


async def dropped(cluster: Cluster, folder: Path) -> dict[str, float | None]:
    """Drop every packet between a client in a namespace of its own and Postgres."""
    dsn = cluster.url.replace("+asyncpg", "")
    with (folder / "cluster" / "postgres" / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {THERE}/32 scram-sha-256\n")
    judge = await asyncpg.connect(dsn)
    await judge.execute("SELECT pg_reload_conf()")
    try:
        far = dsn.replace("127.0.0.1", HERE)
        child = subprocess.Popen(
            ["ip", "netns", "exec", SPACE, sys.executable, "-m", "campaigns", "silent-network", "client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PROBE_DSN": far},
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "ready\n"
        neighbour = "lladdr 02:00:00:00:00:99 nud permanent"
        subprocess.run(f"ip neigh replace {THERE} dev probe0 {neighbour}".split(), check=True)
        subprocess.run(
            f"ip netns exec {SPACE} ip neigh replace {HERE} dev probe1 {neighbour}".split(), check=True
        )
        began = time.monotonic()
        child.stdin.write("\n")
        child.stdin.flush()
        sessions = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'conversions-probe' AND datname = current_database()"
        )
        while await judge.fetchval(sessions) and time.monotonic() - began < 2 * MOST_S:
            await asyncio.sleep(0.1)
        server = round(time.monotonic() - began, 1)
        found: dict[str, float | None] = json.loads(await asyncio.to_thread(child.stdout.readline))
        child.wait(10)
        return {**found, "the server's sessions": server}
    finally:
        await judge.close()


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Make a network namespace that reaches this machine at an address of its own."""
    for command in (
        f"ip netns add {SPACE}",
        f"ip link add probe0 type veth peer name probe1 netns {SPACE}",
        f"ip addr add {HERE}/24 dev probe0",
        "ip link set probe0 up",
        f"ip netns exec {SPACE} ip addr add {THERE}/24 dev probe1",
        f"ip netns exec {SPACE} ip link set probe1 up",
    ):
        subprocess.run(command.split(), check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], check=False)


async def measure() -> int:
    """Print what was seen; return 0 where each end gave up in time."""
    settings = {**POSTGRES, "listen_addresses": f"127.0.0.1,{HERE}"}
    with tempfile.TemporaryDirectory(prefix="conversions-silent-") as name, namespace():
        folder = Path(name)
        folder.chmod(0o755)
        with running(Cluster(folder / "cluster", settings=settings)) as cluster:
            found = await dropped(cluster, folder)
    print(json.dumps(found))
    return 0 if all(one is not None and one <= MOST_S for one in found.values()) else 1


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("drop", "client"), nargs="?", default="drop")
    if parser.parse_args().mode == "client":
        print(json.dumps(asyncio.run(client(os.environ["PROBE_DSN"]))), flush=True)
        return 0
    return asyncio.run(measure())
