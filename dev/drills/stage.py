"""Run the service of a drill: a separate database, and API, workers and sandbox as child processes."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from pydantic import SecretStr

from app.settings import ROOT, Settings
from dev.environment import DATABASE_URLS, as_environment, with_keys, with_sandbox, with_url
from dev.example import Example, ensure_example
from dev.postgres.cluster import Cluster, EmbeddedError
from dev.postgres.postmaster import free_port, kill_server

READY_S = 90.0


def chosen_postgres() -> Path | None:
    """Return the folder of the Postgres that `TEST_POSTGRES_BIN` names, as for the tests."""
    return Path(chosen) if (chosen := os.environ.get("TEST_POSTGRES_BIN")) else None


def with_roles(settings: Settings, url: str) -> Settings:
    """Give API, workers and backups a database role each, as the documents recommend. The owner only migrates."""
    scheme, _, rest = url.partition("://")
    password, place = secrets.token_hex(16), rest.rpartition("@")[2]
    roles = {
        f"{name}_database_url".removeprefix("api_"): SecretStr(f"{scheme}://drill_{name}:{password}@{place}")
        for name in ("api", "worker", "backup")
    }
    return with_url(settings, url).model_copy(update=roles)


def with_servers(settings: Settings, servers: str) -> Settings:
    """Name the servers `servers` (host:port, …) in the URL of every role; connect to the primary."""
    urls = {}
    for name in DATABASE_URLS:
        parts = urlsplit(getattr(settings, name).get_secret_value())
        account = parts.netloc.rpartition("@")[0]
        parts = parts._replace(netloc=f"{account}@{servers}", query="target_session_attrs=read-write")
        urls[name] = SecretStr(urlunsplit(parts))
    return settings.model_copy(update=urls)


class DrillFailed(Exception):
    """A drill cannot continue. The text is a sentence for the terminal."""


@dataclass
class Stage:
    """The service of a drill. `open` starts it and `close` stops it; `children` are its processes by name."""

    folder: Path
    cluster: Cluster = field(init=False)
    url: str = field(init=False)  # of the database's owner
    settings: Settings = field(init=False)
    example: Example = field(init=False)
    children: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    metrics_ports: dict[str, int] = field(default_factory=dict)
    api_ports: dict[str, int] = field(default_factory=dict)  # of API processes that do not share the listener

    def open(
        self,
        code: Path = ROOT,
        *,
        workers: int = 1,
        apis: int = 1,
        events_per_second: float = 200,
        url: str | None = None,
        proxy: Callable[[Path, socket.socket, tuple[int, int]], "subprocess.Popen[bytes]"] | None = None,
        **more: Any,
    ) -> None:
        """Start everything, and create the example destination of `./run`.

        `code` is the checkout from which the processes run; `more` are settings of the drill. `url` names an
        empty database that the drill runs itself. `proxy` starts a proxy on the listener, in front of two API
        processes with ports of their own.
        """
        if url is None:
            self.cluster = Cluster(self.folder, chosen_postgres())
            self.cluster.start()
        self.url = url or self.cluster.url
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        os.set_inheritable(self.listener.fileno(), True)
        port, sandbox_port = self.listener.getsockname()[1], free_port()
        bare = Settings(
            data_dir=self.folder, port=port, sandbox_port=sandbox_port, host="127.0.0.1", log_level="info",
            app_env="development", amazon_base_url=f"http://127.0.0.1:{sandbox_port}", metrics_port=None,
            amazon_client_id="sandbox-client", amazon_client_secret=SecretStr("sandbox-client"),
        )  # fmt: skip
        complete = with_roles(with_sandbox(with_keys(bare)), self.url)
        self.settings = complete.model_copy(update=more)
        if proxy is not None:
            ports = free_port(), free_port()
            self.api_ports = dict(zip(("api-1", "api-2"), ports, strict=True))
            self.children["proxy"] = proxy(self.folder, self.listener, ports)
        self.run("database-roles", code=code)
        self.run("migrate", code=code)
        self.start("sandbox", "sandbox", code=code)
        for number in range(apis):
            self.start(f"api-{number + 1}", code=code)
        for number in range(workers):
            self.start(f"worker-{number + 1}", "work", code=code)
        self.wait_ready()
        self.example = self.connect()
        self.set_rate(self.example, events_per_second)

    @property
    def api(self) -> str:
        """Return the address of the API. All its processes accept connections from one socket."""
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def sandbox(self) -> str:
        return f"http://127.0.0.1:{self.settings.sandbox_port}"

    @property
    def headers(self) -> dict[str, str]:
        """Return the request headers with the admin key."""
        assert self.settings.bootstrap_admin_key is not None
        return {"Authorization": f"Bearer {self.settings.bootstrap_admin_key.get_secret_value()}"}

    def environment(self, code: Path) -> dict[str, str]:
        """Return the environment of a child process that runs the code of a checkout."""
        return {**as_environment(self.settings), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(code)}

    def start(self, name: str, role: str = "serve", *, code: Path = ROOT) -> None:
        """Start a process with a role (`serve`, `work` or `sandbox`) under a name that no other process has."""
        words, environment = [role], self.environment(code)
        if role != "sandbox":
            self.metrics_ports[name] = self.metrics_ports.get(name) or free_port()
            words += ["--metrics-port", str(self.metrics_ports[name])]
        if name in self.api_ports:
            environment["PORT"] = str(self.api_ports[name])
        elif role == "serve":
            words += ["--socket", str(self.listener.fileno())]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [python_of(code), "-m", "app", *words], cwd=code, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=(self.listener.fileno(),), start_new_session=True,
            )  # fmt: skip

    def run(self, *words: str, code: Path = ROOT) -> str:
        """Run a command of the service and return its output. Raises DrillFailed if it fails."""
        done = subprocess.run(
            [python_of(code), "-m", "app", *words], cwd=code, env=self.environment(code), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise DrillFailed(f"{words[0]} failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}")
        return done.stdout

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a process and wait for it."""
        child = self.children.pop(name)
        child.send_signal(how)
        child.wait(60)

    def destroy_database(self) -> None:
        """Kill every process of Postgres, as if the database machine was lost."""
        home = self.folder / "postgres"
        kill_server(home)
        until = time.monotonic() + 10
        while self.cluster.alive() and time.monotonic() < until:
            time.sleep(0.05)

    def wait_ready(self, name: str | None = None, *, sandbox: bool = True) -> float:
        """Wait until the API and the sandbox, or a process, are ready. Return the seconds that this took.

        Raises DrillFailed if a process ends meanwhile, or after READY_S.
        """
        began = time.monotonic()
        addresses = [f"{self.api}/health/ready", *([f"{self.sandbox}/_sandbox/health"] if sandbox else [])]
        if name is not None:
            port = self.api_ports.get(name) or self.metrics_ports[name]
            addresses = [f"http://127.0.0.1:{port}/health/ready"]
        for address in addresses:
            while True:
                with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=2):  # noqa: S310
                    break
                for child, process in self.children.items():
                    if code := process.poll():
                        last = last_line(self.folder / f"{child}.log")
                        raise DrillFailed(f"{child} ended with code {code}: {last}")
                if time.monotonic() - began > READY_S:
                    raise DrillFailed(f"{address} was not ready within {READY_S:.0f} s.")
                time.sleep(0.1)
        return time.monotonic() - began

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API with the admin key and return the response."""
        response = httpx.request(method, self.api + path, json=body, headers=self.headers, timeout=30)
        return response.raise_for_status().json()

    def connect(self, **words: str) -> Example:
        """Find or create a destination and sign in if necessary. The default is the example of `./run`."""
        return ensure_example(self.settings, self.api, **words)

    def set_rate(self, destination: Example, per_second: float) -> None:
        """Set the rate limit of a destination in requests per second."""
        limit = {"rate_limit": {"requests_per_second": per_second, "burst": 10}}
        self.call("PATCH", f"/destinations/{destination.destination_id}", limit)

    def set_fault(self, fault: dict[str, Any] | None, advertiser: str = "*") -> None:
        """Set a fault of the sandbox for an advertiser, or for all advertisers. None removes the fault."""
        if fault is None:
            query = {"advertiser_id": advertiser}
            httpx.delete(f"{self.sandbox}/_sandbox/faults", params=query, timeout=10).raise_for_status()
        else:
            body = {"advertiser_id": advertiser, "fault": fault}
            httpx.post(f"{self.sandbox}/_sandbox/faults", json=body, timeout=10).raise_for_status()

    def execute(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement in the database with the role of its owner, and return its rows."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url.replace("+asyncpg", "", 1))
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(run())

    def counts(self, destination: Example | None = None) -> dict[str, int]:
        """Return the number of events of a destination by status. The default is the example."""
        stats = self.call("GET", f"/destinations/{(destination or self.example).destination_id}/stats")
        return dict(stats["counts"])

    def drain(self, seconds: float = 180, *, destination: Example | None = None) -> dict[str, int]:
        """Wait until a destination has no waiting event. Return its number of events by status."""
        until = time.monotonic() + seconds
        while True:
            with suppress(httpx.HTTPError):
                counts = self.counts(destination)
                if not any(counts[status] for status in ("queued", "retrying", "held", "parked")):
                    return counts
            if time.monotonic() > until:
                raise DrillFailed(f"Events still wait after {seconds:.0f} s.")
            time.sleep(0.5)

    def delivered(self, destination: Example | None = None) -> tuple[set[str], dict[str, int]]:
        """Return the ids of the events that the sandbox accepted, and its totals.

        The ids do not have the prefix that the service adds for the destination.
        """
        advertiser = (destination or self.example).advertiser_id
        ids: set[str] = set()
        cursor: str | None = "0"
        page: dict[str, Any] = {}
        while cursor is not None:
            query = {"advertiser_id": advertiser, "limit": "10000", "cursor": cursor}
            response = httpx.get(f"{self.sandbox}/_sandbox/events", params=query, timeout=60)
            page = response.raise_for_status().json()
            ids |= {item["event_id"].partition(":")[2] for item in page["items"]}
            cursor = page["next_cursor"]
        return ids, page["totals"]

    def close(self) -> None:
        """Stop all processes and the database, even if `open` failed."""
        for name in [*self.children]:
            with suppress(subprocess.TimeoutExpired):
                self.stop(name)
        for child in self.children.values():
            child.kill()
        with suppress(AttributeError):
            self.listener.close()
        with suppress(AttributeError, EmbeddedError):
            self.cluster.stop()


def last_line(log: Path) -> str:
    """Return the last line of a log, where a process that ended says why."""
    lines = log.read_text(errors="replace").splitlines() or ["its log is empty"]
    return lines[-1]


def check_out(source: str, folder: Path) -> None:
    """Write a commit to a new folder, with a `.venv` of its own if its packages differ from ours."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", source], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        raise DrillFailed(f"git has no release {source} here.")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    ours, theirs = ((each / "requirements" / "runtime.txt").read_bytes() for each in (ROOT, folder))
    if ours != theirs:
        subprocess.run([folder / "run", "--help"], stdout=subprocess.DEVNULL, check=True)  # makes .venv


def python_of(checkout: Path) -> str:
    """Return the Python of a checkout, which is another one than this if its packages are others."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable
