"""`./run campaign stalled`: what stalled and idle connections of some cost the others.

60 connections of one key declare 5 MiB each and send one byte; 1,100 connections send nothing. Another key
posts meanwhile, each post on a connection of its own, and asks for both health addresses.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.edge.traffic import Channel
from dev.postgres.cluster import DURABLE
from tests.databases import own_cluster
from tests.edge.cases import head
from tests.edge.service import Caller, EdgeService, event, running_service

STALLED, IDLE = 60, 1_100
DECLARED = 5 * 1024 * 1024
RENEWED_AFTER_S = 10  # the time for a head: more often would be a flood, which is another matter
HEALTH = ("/health/live", "/health/ready")


@dataclass
class Measured:
    """What one caller met in one phase."""

    accept_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, more: "Measured") -> None:
        self.accept_s += more.accept_s
        self.statuses += more.statuses

    def quantile(self, share: float) -> float:
        ordered = sorted(self.accept_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(service: EdgeService, caller: Caller, name: str, posts: int) -> Measured:
    """Post one event after another, each on a new connection, and ask for health now and then."""
    found = Measured()
    for number in range(posts):
        body = json.dumps(event(caller.destination, f"{name}-{number}")).encode()
        fields = ("Host: edge", f"X-Api-Key: {caller.key}", "Content-Type: application/json")
        request = head(*fields, f"Content-Length: {len(body)}") + body
        channel, began = Channel(service.port), time.perf_counter()
        response = await channel.ask(request)
        found.accept_s.append(time.perf_counter() - began)
        channel.close()
        status = "none" if response is None else str(response.status)
        if response is not None and response.status != 202:
            status += f" {response.json().get('detail')}"
        found.statuses[f"/events {status}"] += 1
        if number % 10 == 0:
            for path in HEALTH:
                channel = Channel(service.port)
                response = await channel.ask(head("Host: edge", method="GET", target=path))
                channel.close()
                # On a database that is not durable readiness is 503; that of a full server reads otherwise.
                status = f"{response.status} {response.body[:20].decode()}" if response else "none"
                found.statuses[f"{path} {status}"] += 1
    return found


class Crowd:
    """Connections that are opened again when the service ends them."""

    def __init__(self, service: EdgeService, key: str) -> None:
        self._port = service.port
        fields = ("Host: edge", f"X-Api-Key: {key}", "Content-Type: application/json")
        self._stalled = head(*fields, f"Content-Length: {DECLARED}") + b" "
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = 0
        self.answered: Counter[str] = Counter()

    async def __aenter__(self) -> "Crowd":
        self._tasks = [asyncio.create_task(self._hold(self._stalled)) for _ in range(STALLED)]
        self._tasks += [asyncio.create_task(self._hold(b"")) for _ in range(IDLE)]
        while self._opened < STALLED + IDLE:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, first: bytes) -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._opened += 1
            try:
                writer.write(first)
                with suppress(ConnectionError):
                    answer = await reader.read(200)
                    self.answered[answer[9:12].decode() or "closed"] += 1
                    while answer:
                        answer = await reader.read(65_536)
            finally:
                writer.transport.abort()
            await asyncio.sleep(RENEWED_AFTER_S)  # as often as it pays for somebody who means harm


async def compare(
    service: EdgeService, callers: Sequence[Caller], posts: int, rounds: int = 1
) -> tuple[Measured, Measured, Counter[str]]:
    """Measure one caller alone and beside the crowd of another, in turns: other load falls on both."""
    attacker, caller = callers[0], callers[1]
    await measure(service, caller, "warm", posts // 4)
    alone, beside, answered = Measured(), Measured(), Counter[str]()
    for number in range(rounds):
        alone.add(await measure(service, caller, f"alone-{number}", posts))
        async with Crowd(service, attacker.key) as crowd:
            beside.add(await measure(service, caller, f"beside-{number}", posts))
        answered += crowd.answered
    return alone, beside, answered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=500, help="in each turn")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="conversions-edge-") as folder,
        own_cluster(DURABLE) as cluster,
        running_service(cluster.url, Path(folder), 2) as service,
    ):
        alone, beside, answered = asyncio.run(
            compare(service, service.callers, options.posts, options.rounds)
        )
    for name, found in (("alone", alone), ("beside", beside)):
        times = ", ".join(f"p{share:g} {1000 * found.quantile(share / 100):.1f} ms" for share in (50, 90, 99))
        print(f"{name}: {times}; {dict(found.statuses)}")
    print(f"the others were answered: {dict(answered)}")
    ratio = beside.quantile(0.99) / alone.quantile(0.99)
    good = ratio <= 2 and set(beside.statuses) == set(alone.statuses)
    print(f"p99 beside / alone: {ratio:.2f}; {'as it must be' if good else 'NOT as it must be'}")
    return 0 if good else 1
