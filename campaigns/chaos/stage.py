"""The stage of a campaign: Postgres, the stand-in, several API and worker processes, proxies between them.

Everything here can be killed, stopped and cut but the stand-in. A watcher starts again what died, as an
operator's supervisor would. Nothing of the stage outlives the campaign: children hold its lifeline.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import httpx

from app.processes import parent_watch
from app.store.database import migrate
from app.store.errors import DRIVER_ERRORS
from campaigns.chaos import constants
from dev.postgres.cluster import DURABLE, Cluster, EmbeddedError
from dev.postgres.postmaster import free_port
from tests.crashes import stored
from tests.pipeline import clocks
from tests.pipeline.tcp_proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
POSTGRES: Mapping[str, str] = {**DURABLE, "shared_buffers": "96MB", "max_wal_size": "1GB"}
READY_S = 180.0
CLOSES = {"Connection": "close"}
MEMORY_MIB = 256
UNFINISHED = "SELECT count(*) FROM erasures WHERE finished_at IS NULL"


@dataclass
class Process:
    """One child: how it is started, and the run of it that is alive now."""

    name: str
    arguments: Sequence[str]
    keep_open: Sequence[int] = ()
    running: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def signal(self, number: int) -> None:
        if self.running is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.running.send_signal(number)


@dataclass(frozen=True)
class Staff:
    """The processes of the product: how many, and how they run."""

    apis: int = 2
    workers: int = 2
    # Drawn constants and settings, and clocks that are off, by name of process.
    constants: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, str] = field(default_factory=dict)
    within: Sequence[str] = ()  # the program that runs the processes, with its arguments


@dataclass
class Installation:
    """A context; `folder` holds the cluster, the logs and the stand-in's records, and goes with it."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="conversions-chaos-")))
    staff: Staff = Staff()
    ready_path: str = "/health/ready"
    apis: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)  # batches that earlier runs on this stage damaged
    frozen: list[Process] = field(default_factory=list)  # stopped for ever: neither killed nor started anew

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start everything and wait until the API is ready."""
        self.folder.chmod(0o755)
        self.postgres_turn = asyncio.Lock()
        self._lifeline, self._held = os.pipe()
        await asyncio.to_thread(self.start_postgres)
        self.standin_port = free_port()
        postgres = urlsplit(self.cluster.url).port
        assert postgres is not None
        # The ways to Amazon, and from each role to the database.
        self.proxies = {"amazon": Proxy(self.standin_port), "api": Proxy(postgres), "worker": Proxy(postgres)}
        for proxy in self.proxies.values():
            await proxy.start()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.api = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.amazon = f"http://127.0.0.1:{self.standin_port}"
        self.key = f"chaos_{secrets.token_urlsafe(32)}"
        self._encryption = base64.b64encode(secrets.token_bytes(32)).decode()
        self.standin = Process(
            "standin",
            ("campaigns.chaos.standin", "--port", str(self.standin_port), "--folder", str(self.folder)),
        )
        self._run(self.standin, "api")
        self._watching = asyncio.create_task(self._watch())
        self._name_processes()
        await self.ready()

    def start_postgres(self) -> None:
        """Start a migrated cluster."""
        self.cluster = Cluster(self.folder / "cluster", settings=POSTGRES)
        self.cluster.start()
        migrate.upgrade(self.cluster.url)

    def _name_processes(self) -> None:
        """Name the processes of the product; the watcher starts them."""
        descriptor = self._listener.fileno()
        program = "campaigns.chaos.constants" if self.staff.constants else "app"
        self.apis = [
            Process(f"api-{n}", (program, "serve", "--socket", str(descriptor)), (descriptor,))
            for n in range(self.staff.apis)
        ]
        self.workers = [Process(f"worker-{n}", (program, "work")) for n in range(self.staff.workers)]

    async def restaff(self, staff: Staff, *, wait: bool = True) -> None:
        """Have these processes of the product; others are killed first."""
        old = [*self.apis, *self.workers, *self.frozen]
        if staff == self.staff and not self.frozen:
            await self.ready()
            return
        self.apis, self.workers, self.frozen = [], [], []
        for process in old:
            process.signal(signal.SIGKILL)
            if process.running is not None:
                await asyncio.to_thread(process.running.wait)
        self.staff = staff
        for proxy in self.proxies.values():
            proxy.heal()
            proxy.reset()
        self._name_processes()
        if wait:
            await self.ready()

    async def ready(self) -> None:
        """Wait until the stand-in and the API answer well."""
        for address in (f"{self.amazon}/_sandbox/health", f"{self.api}{self.ready_path}"):
            until = asyncio.get_running_loop().time() + READY_S
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                while True:
                    with contextlib.suppress(httpx.HTTPError):
                        # A connection of its own each time: one API may have a wrong clock, and is not ready.
                        if (await client.get(address, headers=CLOSES)).status_code == 200:
                            break
                    if asyncio.get_running_loop().time() > until:
                        raise AssertionError(f"{address} did not answer well within {READY_S:.0f} s")
                    await asyncio.sleep(0.1)

    async def close(self) -> None:
        """End everything, the children first."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        for process in (*self.workers, *self.apis, *self.frozen, self.standin):
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGKILL)
            if process.running is not None:
                await asyncio.to_thread(process.running.wait)
        for proxy in self.proxies.values():
            await proxy.close()
        await asyncio.to_thread(self.cluster.stop)
        self._listener.close()
        os.close(self._held)
        os.close(self._lifeline)

    # -- faults ---------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Take every fault of the stage's own away."""
        for proxy in self.proxies.values():
            proxy.heal()
        for process in (*self.apis, *self.workers, *self.frozen):
            process.signal(signal.SIGCONT)
        self.apis += [process for process in self.frozen if process.name.startswith("api")]
        self.workers += [process for process in self.frozen if process.name.startswith("worker")]
        self.frozen = []
        await self.ready()

    def freeze(self, process: Process) -> None:
        """Stop a process until `heal`; the other acts and the watcher leave it alone."""
        process.signal(signal.SIGSTOP)
        for group in (self.apis, self.workers):
            if process in group:
                group.remove(process)
        self.frozen.append(process)

    # -- looking --------------------------------------------------------------------------------

    async def ask(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask the database directly, past every proxy, until it answers."""
        async with self.office() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows

    @contextlib.asynccontextmanager
    async def office(self) -> Any:
        """A connection of the judge's own; waits for a server that is coming back."""
        until = asyncio.get_running_loop().time() + READY_S
        while True:
            try:
                dsn = self.cluster.url.replace("+asyncpg", "")
                connection = await asyncpg.connect(
                    dsn, timeout=5, server_settings={"application_name": "judge"}
                )
                break
            except DRIVER_ERRORS:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(0.1)
        try:
            yield connection
        finally:
            connection.terminate()

    async def drain(self, destinations: Sequence[str], *, seconds: float) -> None:
        """Wait until nothing of these destinations and no erasure is open, or the time is over."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            async with self.office() as connection:
                unfinished = await connection.fetchval(UNFINISHED)
                if not unfinished and not await stored.waiting(connection, destinations):
                    return
            await asyncio.sleep(0.3)

    async def destinations(self) -> int:
        """Return how many destinations earlier runs created: the next advertiser is a new one."""
        return int((await self.ask("SELECT count(*) AS n FROM destinations"))[0]["n"])

    async def lanes_of(self, process: Process) -> set[str]:
        """Return the advertisers whose lanes a worker owns."""
        assert process.running is not None
        rows = await self.ask(
            "SELECT advertiser_id FROM lanes WHERE owner LIKE $1", f"worker-%-{process.running.pid}-%"
        )
        return {row["advertiser_id"] for row in rows}

    async def leftovers(self) -> list[str]:
        """Return what is not as it was at the beginning: memory, connections, transactions, leases."""
        bounds = {
            "conversions-api": 16 * self.staff.apis,
            "conversions-worker": 20 * self.staff.workers,
            # Flushes and the incident monitor of an API; leases, notifications and the monitor of a worker.
            "conversions-own": 2 * self.staff.apis + 3 * self.staff.workers,
        }
        found: list[str] = []
        for _ in range(100):  # a server notices a killed client within seconds
            found = []
            async with self.office() as connection:
                rows = await connection.fetch(
                    "SELECT application_name AS name, count(*) AS n, "
                    "count(*) FILTER (WHERE state LIKE 'idle in%' "
                    "AND state_change < now() - interval '5 s') AS idle FROM pg_stat_activity "
                    "WHERE application_name LIKE 'conversions%' AND datname = current_database() GROUP BY 1"
                )
                for row in rows:
                    if row["n"] > bounds[row["name"]]:
                        found.append(f"{row['n']} connections of {row['name']}")
                    if row["idle"]:
                        found.append(f"{row['idle']} transactions of {row['name']} left open")
                leases = await connection.fetchval(
                    "SELECT count(*) FROM sign_ins WHERE refresh_owner IS NOT NULL AND refresh_until > now()"
                )
                if leases:
                    found.append(f"{leases} token leases")
            if not found:
                break
            await asyncio.sleep(0.2)
        for process in (*self.apis, *self.workers):
            if process.alive and (memory := _memory(process)) > MEMORY_MIB:
                found.append(f"{process.name} holds {memory} MiB")
        return found

    def memory(self) -> int:
        """Return the resident memory of the largest process of the product, in MiB."""
        return max((_memory(one) for one in (*self.apis, *self.workers) if one.alive), default=0)

    def stretch(self) -> float:
        """Return how much longer the workers and the API took than they computed, for want of a core."""
        ran = waited = 0
        for process in (*self.apis, *self.workers):
            with contextlib.suppress(OSError, AttributeError):
                text = Path(f"/proc/{process.running.pid}/schedstat").read_text()  # type: ignore[union-attr]
                ran, waited = ran + int(text.split()[0]), waited + int(text.split()[1])
        return 1 + waited / ran if ran else 1.0

    # -- running --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            if not self.cluster.alive():
                # Killed again while it starts, it is started again, as a supervisor would.
                async with self.postgres_turn:
                    with contextlib.suppress(EmbeddedError):
                        if not self.cluster.alive():
                            await asyncio.to_thread(self.cluster.start)
            for role, group in (("api", self.apis), ("worker", self.workers)):
                for process in group:
                    if not process.alive:
                        self._run(process, role)
            await asyncio.sleep(0.2)

    def _run(self, process: Process, role: str) -> None:
        within = () if process is self.standin else self.staff.within
        with (self.folder / f"{process.name}.log").open("ab") as log:
            process.running = subprocess.Popen(
                [*within, sys.executable, "-m", *process.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment(role) | self._clock(process.name),
                pass_fds=(self._lifeline, *process.keep_open),
                start_new_session=True,
            )

    def _environment(self, role: str) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.proxies[role].address(self.cluster.url),
            "DATA_DIR": str(self.folder),
            "ENCRYPTION_KEYS": f"k1:{self._encryption}",
            "BOOTSTRAP_ADMIN_KEY": self.key,
            "AMAZON_CLIENT_ID": "chaos",
            "AMAZON_CLIENT_SECRET": "chaos",
            "AMAZON_BASE_URL": self.proxies["amazon"].address(f"{self.amazon}/").rstrip("/"),
            "PUBLIC_URL": self.api,
            "PORT": "8000",
            "SANDBOX_PORT": "8001",
            "LOG_LEVEL": "info" if role == "worker" or self.staff.constants else "warning",
            parent_watch.PARENT_VARIABLE: str(self._lifeline),
            constants.VARIABLE: json.dumps(dict(self.staff.constants)),
            **self.staff.settings,
        }

    def _clock(self, name: str) -> dict[str, str]:
        return clocks.environment(self.staff.clocks[name]) if name in self.staff.clocks else {}


def _memory(process: Process) -> int:
    assert process.running is not None
    try:
        status = Path(f"/proc/{process.running.pid}/status").read_text()
    except OSError:
        return 0
    lines = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return next((int(line.split()[1]) // 1024 for line in lines), 0)
