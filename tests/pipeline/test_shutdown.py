"""A process that stops loses nothing: requests are answered, attempts settled, lanes released."""

import asyncio
import itertools
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from dev.postgres.postmaster import free_port
from tests.databases import WAITING_LOCKS
from tests.event_loop import turns
from tests.pipeline.amazon import Request
from tests.pipeline.processes import ADMIN, Operator, Product, running_product
from tests.pipeline.service import serving
from tests.pipeline.world import World, event, eventually


async def test_a_stopping_worker_hands_idle_lanes_over_at_once_and_settles_what_it_sent(world: World) -> None:
    """While one request hangs at Amazon its lane stays, and every other lane has a new owner at once."""
    busy, idle = await world.destination(advertiser="1"), await world.destination(advertiser="2")
    answered, came = asyncio.Event(), asyncio.Event()

    async def hang(request: Request) -> httpx.Response:
        if request.advertiser_id == "1":
            came.set()
            await answered.wait()
        return world.amazon.take(request)

    world.amazon.script = hang
    leaving = world.work()
    await world.post(idle, event(1))
    await world.until(idle, delivered=1)
    await world.post(busy, event(2))
    await asyncio.wait_for(came.wait(), 20)
    assert len(leaving.leases.owned) == 2

    leaving.stop()
    # Before there is anything to send: a look that was under way at the stop may still find what comes now.
    handed_over = "SELECT FROM lanes WHERE advertiser_id = '2' AND owner IS NULL"
    await eventually(lambda: world.fetch(handed_over))
    following = world.work()
    await world.post(idle, event(3))
    await world.until(idle, delivered=2)
    assert not answered.is_set()
    assert len(following.leases.owned) == 1
    # Not taken from it: what hangs may still arrive, and is settled by the one who sent it.
    (held,) = await world.fetch("SELECT owner FROM lanes WHERE advertiser_id = '1'")
    assert held["owner"] is not None

    answered.set()
    await world.until(busy, delivered=1)
    await asyncio.wait_for(world.workers[0][1], 20)
    await world.post(busy, event(4))
    await world.until(busy, delivered=2)
    assert set(world.amazon.times.values()) == {1}
    (row,) = await world.fetch("SELECT count(*) FILTER (WHERE outcome IS NULL) AS left FROM attempts")
    assert row["left"] == 0


@dataclass
class Balancer:
    """Spreads posts over API processes by turns, and leaves out one that says it is stopping or is silent."""

    apis: dict[str, str]
    client: httpx.AsyncClient
    good: set[str] = field(default_factory=set)
    turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def watch(self) -> None:
        """Ask each for its readiness, as a load balancer does: every fifth of a second."""
        async with httpx.AsyncClient(timeout=2) as asking:
            while True:
                for name, address in self.apis.items():
                    try:
                        reasons = (await asking.get(address + "/health/ready")).json()["reasons"]
                        # The tests' cluster is not durable, and says so: the only red that is let pass.
                        up = not {"stopping", "database_unavailable", "database_refused"} & set(reasons)
                    except httpx.HTTPError:
                        up = False
                    (self.good.add if up else self.good.discard)(name)
                await asyncio.sleep(0.2)

    async def post(self, event_: dict[str, object], destination: str) -> str:
        """Post once, without any retry; return the status, or the error, as a word."""
        names = sorted(self.good)
        address = self.apis[names[next(self.turn) % len(names)]]
        try:
            answer = await self.client.post(
                f"{address}/events?destination_id={destination}", json=event_, headers={"X-Api-Key": ADMIN}
            )
        except httpx.HTTPError as error:
            return type(error).__name__
        return str(answer.status_code)


@pytest.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """Two API processes, each on a port of its own, two workers and the sandbox."""
    product = Product(database_url, tmp_path / "everything.log")
    # While the listener is open, the second port differs from the first.
    product.ports = {"api-1": product.api_port, "api-2": free_port()}
    product.listener.close()  # here each listens for itself
    for name, port in product.ports.items():
        product.start(name, "serve", PORT=str(port), SHUTDOWN_DELAY_SECONDS="60")
    async with running_product(product, apis=(), workers=("worker-1", "worker-2")) as made:
        yield made


async def test_a_rolling_restart_of_everything_fails_no_request(operator: Operator) -> None:
    """An API and a worker, then the others, under load, with a client that never sends anything again.

    Every post is answered 202, every event arrives once, and nothing has to be recovered.
    """
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client:
        product = operator.product
        ids = [str(7_000_000_000 + number) for number in range(4)]
        destinations = [await operator.destination(one) for one in ids]
        apis = {name: f"http://127.0.0.1:{port}" for name, port in product.ports.items()}
        balancer = Balancer(apis, client)
        watching = asyncio.create_task(balancer.watch())
        await eventually(lambda: len(balancer.good) == 2)

        answers: list[asyncio.Task[str]] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                number = len(answers)
                post = balancer.post(event(number), destinations[number % len(destinations)])
                answers.append(asyncio.create_task(post))
                await asyncio.sleep(0.02)

        loading = asyncio.create_task(load())
        for pair in (("api-1", "worker-1"), ("api-2", "worker-2")):
            for name in pair:
                product.children[name].send_signal(signal.SIGTERM)
            await eventually(lambda left=pair[0]: left not in balancer.good)
            await asyncio.gather(*answers)
            product.children[pair[0]].send_signal(signal.SIGTERM)  # skips the rest of the delay
            for name in pair:
                assert await asyncio.to_thread(product.children[name].wait, 40) == 0, name
            product.start(pair[0], "serve", PORT=str(product.ports[pair[0]]), SHUTDOWN_DELAY_SECONDS="0")
            product.work(pair[1])
            await eventually(lambda: len(balancer.good) == 2, seconds=30)
        done.set()
        await loading
        statuses = Counter(await asyncio.gather(*answers))
        watching.cancel()
        assert statuses == {"202": len(answers)}
        assert len(answers) > 50

        async def all_there() -> bool:
            counts = [await operator.counts(one) for one in destinations]
            return sum(c["delivered"] for c in counts) == len(answers)

        await eventually(all_there, seconds=60, every=0.2)
        arrived = await operator.accepted()
    assert {item["times"] for item in arrived} == {1}
    names = {item["event_id"].partition(":")[2] for item in arrived}
    assert names == {f"ord-{number}" for number in range(len(answers))}
    log = product.log.read_text(errors="replace")
    assert "attempt.recovered" not in log
    assert "lane.lost" not in log


@pytest.mark.process
def test_a_signal_ends_a_process_that_still_starts(database_url: str, tmp_path: Path) -> None:
    """It has nothing to finish, so it does not take the signal over before its monitoring port is open."""
    with closing(Product(database_url, tmp_path / "log")) as product:
        product.listener.close()  # `serve` opens the port
        for command in ("work", "serve"):
            port = free_port()
            product.start(command, command, METRICS_PORT=str(port))
            status = Path(f"/proc/{product.children[command].pid}/status")
            while not _catches_sigterm(status.read_text()):
                time.sleep(0.002)
            with socket.create_connection(("127.0.0.1", port)):
                pass
            product.kill(command)


def _catches_sigterm(status: str) -> bool:
    [mask] = re.findall(r"(?m)^SigCgt:\s+([0-9a-f]+)$", status)
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


async def test_an_api_process_that_stops_writes_the_rejections_it_recorded(
    database_url: str, owner: asyncpg.Connection
) -> None:
    """Also those whose write waits for a lock at that moment."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(database_url))
        dst, intake = await service.world.destination(event(1)), service.world.intake
        async with owner.transaction():
            await owner.execute("LOCK TABLE rejection_records IN ACCESS EXCLUSIVE MODE")
            await service.world.post(dst, {"event_id": "bad"})
            await eventually(lambda: owner.fetchval(WAITING_LOCKS))
            stopping = asyncio.create_task(stack.pop_all().aclose())
            session = intake.group_commit.session._connection
            assert session is not None
            await eventually(session.is_closed)
            await turns()
        await stopping
    assert await owner.fetchval("SELECT count(*) FROM rejection_records") == 1
