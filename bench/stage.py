"""The processes of a bench and their cost."""

import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import httpx
from pydantic import SecretStr

from app.settings import Settings
from dev.compiled import compiled_copy
from dev.environment import as_environment, with_keys, with_url
from dev.postgres.cluster import DURABLE, Cluster
from dev.postgres.postmaster import free_port

_TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Checkout:
    """The code of API, worker and migrations, and the Python that runs it."""

    root: Path = ROOT
    python: str = sys.executable
    module: str = "app"


def as_in_the_image(checkout: Checkout, folder: Path) -> Checkout:
    """Return a copy of a checkout in a new folder, with compiled modules if its image has them."""
    if not (checkout.root / "dev" / "compiled.py").exists():
        return checkout
    compiled_copy(checkout.root, folder, checkout.python)
    return replace(checkout, root=folder)


@dataclass(slots=True)
class Stage:
    """The processes of a bench. `settings` are those of API and worker."""

    settings: Settings
    stand_in_port: int
    postmaster: int
    door: socket.socket  # that all API processes accept from, as under `./run`
    checkout: Checkout
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url.get_secret_value().replace("+asyncpg", "", 1)

    @property
    def key(self) -> str:
        assert self.settings.bootstrap_admin_key is not None
        return self.settings.bootstrap_admin_key.get_secret_value()

    def start(self, name: str, *arguments: str, keep_open: Sequence[int] = ()) -> None:
        """Start a process of the checkout that inherits the descriptors `keep_open`."""
        self.processes[name] = subprocess.Popen(
            [self.checkout.python, "-m", self.checkout.module, *arguments],
            env=self._environment(),
            pass_fds=keep_open,
        )

    def start_stand_in(self, *arguments: str) -> None:
        """Start the stand-in, always of this checkout."""
        self.processes["stand_in"] = subprocess.Popen(
            [sys.executable, "-m", "bench.stand_in", str(self.stand_in_port), *arguments],
            env=as_environment(self.settings),
        )

    def migrate(self) -> None:
        """Migrate the database to the checkout's schema."""
        command = [self.checkout.python, "-m", self.checkout.module, "migrate"]
        subprocess.run(command, env=self._environment(), stdout=subprocess.DEVNULL, check=True)

    def _environment(self) -> dict[str, str]:
        environment = as_environment(self.settings)
        for name, setting in Settings.model_fields.items():
            if getattr(self.settings, name) == setting.default:
                environment.pop(name.upper(), None)  # another checkout has its own default
        # The checkout's image limits what the C library keeps of freed memory.
        image = re.findall(r"(MALLOC_\w+)=(\d+)", (self.checkout.root / "Dockerfile").read_text())
        # PYTHONSAFEPATH: the working directory's modules must not hide those of another checkout.
        return environment | dict(image) | {"PYTHONPATH": str(self.checkout.root), "PYTHONSAFEPATH": "1"}

    def end(self, name: str) -> None:
        """Stop a process with SIGTERM."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(60)

    def start_api(self, number: int = 1) -> None:
        """Start this number of API processes and wait until they are ready."""
        door = self.door.fileno()
        serve = ("serve", "--socket", str(door))
        self.start("api", *serve, keep_open=[door])
        wait_for(f"http://127.0.0.1:{self.settings.port}/health/ready")
        for nth in range(2, number + 1):
            # The processes share one socket; readiness is checked on each one's own port.
            port = free_port()
            self.start(f"api {nth}", *serve, "--metrics-port", str(port), keep_open=[door])
            wait_for(f"http://127.0.0.1:{port}/health/ready")

    def end_api(self) -> None:
        """Stop all API processes."""
        for name in [name for name in self.processes if name.startswith("api")]:
            self.end(name)

    def start_worker(self, number: int = 1) -> None:
        """Start this number of workers."""
        for nth in range(1, number + 1):
            self.start("worker" if nth == 1 else f"worker {nth}", "work")

    def end_workers(self) -> None:
        """Stop all workers."""
        for name in [name for name in self.processes if name.startswith("worker")]:
            self.end(name)

    def ask(self, path: str, body: bytes | None = None, *, key: str | None = None) -> bytes:
        """Send a request to the API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.settings.port}{path}",
            data=body,
            headers={"X-Api-Key": key or self.key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def client(self) -> httpx.Client:
        """Return a client of the API with the admin key."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.port}",
            headers={"X-Api-Key": self.key, "Accept": "application/json"},
            timeout=60,
            trust_env=False,
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the database during the block."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    def fetch(self, path: str) -> bytes:
        """Send a request to the stand-in."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stand_in_port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def spent(self) -> "Spent":
        """Return the cost so far."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for name, process in self.processes.items():
            seconds[name.split()[0]] += cpu_of(process.pid)
        seconds["postgres"] = self.postgres_seconds()
        wal, fpi, database = asyncio.run(self._written())
        return Spent(time.monotonic(), dict(seconds), wal, fpi, database)

    def postgres_seconds(self) -> float:
        """Return the CPU seconds of all Postgres processes, including ended ones."""
        backends = sum(map(cpu_of, children_of(self.postmaster)))
        return cpu_of(self.postmaster, with_dead=True) + backends

    def resident(self) -> dict[str, int]:
        """Return the current and the peak resident bytes of API and worker."""
        found: dict[str, int] = {}
        for name in ("api", "worker"):
            if name in self.processes:
                status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
                rows = dict(line.split(":", 1) for line in status.splitlines())
                found[name] = int(rows["VmRSS"].split()[0]) * 1024
                found[f"{name} peak"] = int(rows["VmHWM"].split()[0]) * 1024
        return found

    async def _written(self) -> tuple[int, int, int]:
        async with self.connected() as connection:
            row = await connection.fetchrow(
                "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal, "
                "(SELECT wal_fpi FROM pg_stat_wal) AS fpi, pg_database_size(current_database()) AS size"
            )
        assert row is not None
        return int(row["wal"]), int(row["fpi"]), int(row["size"])


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds by process; bytes of WAL, of its full-page images, and of the database."""

    at: float
    seconds: dict[str, float]
    wal: int
    images: int
    database: int

    def since(self, before: "Spent") -> "Spent":
        """Return the difference to an earlier reading."""
        seconds = {name: value - before.seconds.get(name, 0.0) for name, value in self.seconds.items()}
        return Spent(
            self.at - before.at,
            seconds,
            self.wal - before.wal,
            self.images - before.images,
            self.database - before.database,
        )


@contextmanager
def stage(
    settings: Settings,
    folder: Path,
    *,
    lanes: int,
    hostile: Sequence[str] = (),
    checkout: Checkout = Checkout(),
) -> Iterator[Stage]:
    """Run Postgres with fsync on, the stand-in and the API during the block.

    `hostile` lists lanes by number and behaviour, such as `3=slow`.
    """
    folder.chmod(0o755)
    cluster = Cluster(folder, settings=DURABLE)
    cluster.start()
    stand_in = free_port()
    door = socket.create_server(("127.0.0.1", 0), backlog=2048)
    settings = with_keys(settings.model_copy(update={"data_dir": folder}))
    settings = with_url(settings, cluster.url).model_copy(
        update={
            "port": (port := door.getsockname()[1]),
            "sandbox_port": free_port(),
            "public_url": f"http://127.0.0.1:{port}",
            "amazon_base_url": f"http://127.0.0.1:{stand_in}",
            "amazon_client_id": "bench",
            "amazon_client_secret": SecretStr(secrets.token_hex(8)),
            "log_level": "warning",
        }
    )
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    running = Stage(settings, stand_in, postmaster, door, checkout)
    try:
        running.migrate()
        running.start_stand_in(str(lanes), *hostile)
        wait_for(f"http://127.0.0.1:{stand_in}/_count")
        running.start_api()
        yield running
    finally:
        for name in list(running.processes)[::-1]:
            running.end(name)
        door.close()
        cluster.stop()


def wait_for(address: str, seconds: float = 60.0) -> None:
    """Wait until an address responds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def cpu_of(pid: int, *, with_dead: bool = False) -> float:
    """Return the CPU seconds of a process, with `with_dead` also of its ended children."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, rest[11 : 15 if with_dead else 13])) / _TICK


def children_of(parent: int) -> list[int]:
    """Return the child processes of a process, such as the backends of a postmaster."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                rest = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(rest[1]) == parent:
                found.append(int(entry.name))
    return found
