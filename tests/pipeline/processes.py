"""The product as processes: API and workers started as an operator starts them, on a real database."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from dev.postgres.postmaster import free_port
from tests.personal_markers import markers_in
from tests.pipeline import fork_server
from tests.pipeline.rows import KEY, MAPPING
from tests.pipeline.world import eventually

ROOT = Path(__file__).resolve().parents[2]
ADMIN = "an-admin-key-for-tests-0123456789abcdef"


@dataclass
class Product:
    """Processes on one database; `log` collects everything that any of them writes."""

    database_url: str
    log: Path
    amazon: str = ""
    api_port: int = field(default_factory=free_port)
    amazon_port: int = field(default_factory=free_port)
    more: dict[str, str] = field(default_factory=dict)
    children: dict[str, subprocess.Popen[bytes] | fork_server.Fork] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    ports: dict[str, int] = field(default_factory=dict)  # of API processes that do not share the listener
    forks: bool = True  # False for tests of memory and of preloaded libraries, which need a new program

    def __post_init__(self) -> None:
        self.amazon = self.amazon or f"http://127.0.0.1:{self.amazon_port}"
        self.listener = socket.create_server(("127.0.0.1", self.api_port), backlog=256)
        os.set_inheritable(self.listener.fileno(), True)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "ENCRYPTION_KEYS": f"k1:{KEY}",
            "BOOTSTRAP_ADMIN_KEY": ADMIN,
            "AMAZON_CLIENT_ID": "amzn1.application-oa2-client.test",
            "AMAZON_CLIENT_SECRET": "secret",
            "AMAZON_BASE_URL": self.amazon,
            "PUBLIC_URL": self.api,
            "SANDBOX_PORT": str(self.amazon_port),
            "PORT": str(self.api_port),
            "DATA_DIR": str(self.log.parent),
            "LOG_LEVEL": "debug",
            **self.more,
        }

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the product to its end."""
        return fork_server.run(arguments, self.environment, given=given or "")

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        output = self.stack.enter_context(self.log.open("ab"))
        inherited = () if self.listener.fileno() < 0 else (self.listener.fileno(),)
        complete = {**self.environment, **environment}
        if not self.forks:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", "app", *arguments],
                cwd=ROOT,
                env=complete,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
            )
        else:
            self.children[name] = fork_server.start(arguments, complete, output.fileno(), inherited)

    def serve(self, name: str, *more: str, **environment: str) -> None:
        self.start(name, "serve", "--socket", str(self.listener.fileno()), *more, **environment)

    def work(self, name: str, *more: str, **environment: str) -> None:
        self.start(name, "work", *more, **environment)

    def watched(self, command: str) -> str:
        """Start `serve` or `work` with a monitoring port; return the address of the port."""
        port = free_port()
        (self.serve if command == "serve" else self.work)(command, "--metrics-port", str(port))
        return f"http://127.0.0.1:{port}"

    @contextmanager
    def complete(self) -> Iterator["Product"]:
        """Run the sandbox, an API process and a worker during the block."""
        try:
            self.launch(["api"], ["worker"])
            yield self
        finally:
            self.close()

    def launch(self, apis: Sequence[str], workers: Sequence[str], **environment: str) -> None:
        """Start these processes, and the sandbox if it is their Amazon; wait until they answer."""
        addresses = [self.api + "/health/live"]
        if self.amazon.endswith(f":{self.amazon_port}"):
            self.start("sandbox", "sandbox", **environment)
            addresses.append(self.amazon + "/_sandbox/health")
        for name in apis:
            self.serve(name, **environment)
        for name in workers:
            self.work(name, **environment)
        self.ready(*addresses)

    def kill(self, name: str) -> None:
        self.children[name].send_signal(signal.SIGKILL)
        self.children.pop(name).wait()

    def ready(self, *addresses: str) -> None:
        """Wait until these answer. Not /health/ready: the tests' cluster is not durable, and it says so."""
        until = time.monotonic() + 180
        # Without TLS and proxies: `httpx.get` would read certificates each time.
        with httpx.Client(timeout=5, verify=False, trust_env=False) as client:
            for address in addresses:
                while True:
                    with suppress(httpx.HTTPError):
                        if client.get(address).status_code == 200:
                            break
                    assert time.monotonic() < until, f"{address}: see {self.log.read_text()[-3000:]}"
                    time.sleep(0.1)

    def close(self) -> None:
        for child in self.children.values():
            child.send_signal(signal.SIGTERM)
        for child in self.children.values():
            try:
                child.wait(45)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.listener.close()
        self.stack.close()
        found = markers_in(self.log.read_bytes()) if self.log.exists() else set()
        assert not found, f"the log has {sorted(found)}"
        # A requested stop is no failure.
        assert "sandbox" not in self.children or self.children["sandbox"].returncode == 0


@dataclass
class Operator:
    """Somebody who uses the product through its API alone."""

    product: Product
    client: httpx.AsyncClient
    key: str = ADMIN

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await self.client.request(
            method, self.product.api + path, json=body, headers={"Authorization": f"Bearer {self.key}"}
        )
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def advertisers(self, *ids: str, region: str = "NA", **more: Any) -> None:
        """Let the sandbox know these advertisers, so that a sign-in finds them."""
        named = [{"advertiser_id": one, "region": region, "name": f"Acme {one}", **more} for one in ids]
        place = f"{self.product.amazon}/_sandbox/advertisers"
        answer = await self.client.post(place, json={"advertisers": named})
        assert answer.is_success, answer.text

    async def accepted(self) -> list[dict[str, Any]]:
        """Return everything that the sandbox accepted."""
        items: list[dict[str, Any]] = []
        query = {"limit": "1000"}
        while True:
            page = (await self.client.get(f"{self.product.amazon}/_sandbox/events", params=query)).json()
            items += page["items"]
            if not page["next_cursor"]:
                return items
            query["cursor"] = page["next_cursor"]

    async def destination(self, advertiser: str, *, region: str = "NA", rate: float = 100) -> str:
        """Create, connect by clicking Allow, map and publish."""
        account = {"advertiser_id": advertiser, "region": region, "currency": "USD"}
        pace = {"requests_per_second": rate, "burst": 10}
        form = {"name": f"Acme {advertiser}", **account, "rate_limit": pace}
        id_ = str((await self.call("POST", "/destinations", form, status=201))["id"])
        url = (await self.call("POST", f"/destinations/{id_}/connect"))["authorize_url"]
        await self.allow(url)
        traits = {name: f"user.{name}" for name in ("phone", "first_name", "last_name")}
        mapping = {**MAPPING, "fields": {**MAPPING["fields"], **traits}}
        saved = await self.call("POST", f"/destinations/{id_}/mappings", mapping, status=201)
        await self.call("POST", f"/destinations/{id_}/mappings/{saved['id']}/publish")
        return id_

    async def allow(self, authorize_url: str) -> None:
        parts = urlsplit(authorize_url)
        form = {**dict(parse_qsl(parts.query)), "decision": "allow"}
        answer = await self.client.post(f"{parts.scheme}://{parts.netloc}{parts.path}", data=form)
        assert answer.status_code in (302, 303), answer.text
        back = await self.client.get(answer.headers["location"], headers={"Accept": "application/json"})
        assert back.json()["status"] == "connected", back.text

    async def post(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Post a batch, again and again until it is stored."""
        body = json.dumps({"events": events})
        while True:
            try:
                answer = await self.client.post(
                    self.product.api + "/events",
                    content=body,
                    headers={"X-Api-Key": self.key, "Content-Type": "application/json"},
                )
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code in (202, 207, 422):
                results: list[dict[str, Any]] = answer.json()["results"]
                return results
            assert answer.status_code in (429, 503), (answer.status_code, answer.text)
            await asyncio.sleep(0.2)

    async def until_delivered(self, destination: str, number: int) -> None:
        """Wait until so many events of a destination are delivered."""

        async def are_delivered() -> bool:
            return (await self.counts(destination))["delivered"] == number

        await eventually(are_delivered, seconds=60)

    async def counts(self, destination: str) -> dict[str, int]:
        counts: dict[str, int] = (await self.call("GET", f"/destinations/{destination}/stats"))["counts"]
        statuses = [n for name, n in counts.items() if name not in ("accepted", "duplicates", "rejected")]
        assert counts["accepted"] == sum(statuses)
        assert min(counts.values()) >= 0
        return counts


@asynccontextmanager
async def running_product(
    product: Product, *, apis: Sequence[str] = ("api",), workers: Sequence[str] = (), **environment: str
) -> AsyncIterator[Operator]:
    """Run these processes, and the sandbox if it is their Amazon, during the block; yield an operator."""
    try:
        await asyncio.to_thread(product.launch, apis, workers, **environment)
        async with httpx.AsyncClient(timeout=60) as client:
            yield Operator(product, client)
    finally:
        await asyncio.to_thread(product.close)
