"""Measure the latency of one organisation while another floods, stalls, fills its queue, or has Amazon down.

The situations are described in docs/performance.md, "Organisations side by side". Rounds are interleaved.
With `pinned`, the API, the worker and Postgres use one core, and the generators and the stand-in use another,
in every situation: the flood then takes no core from the service.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg
import httpx

from app.crypto import Vault
from app.settings import Settings
from bench.events import bodies
from bench.load import Plan, Posted
from bench.pipeline import create_destination, delays, post
from bench.report import middle, quantile, table
from bench.stage import Stage, children_of, stage
from bench.waiting import FULL, multiply

_FLOOD_CONNECTIONS = 64
_FLOOD_EVENTS_A_POST = 100
_FLOOD_EVENTS = 20_000  # then the same again, with other ids
_STALLED_CONNECTIONS = 800
_QUIET_POSTS_A_SECOND = 20.0
_WAITING = 1_000_000
_DELIVERY_SECONDS = 60.0
_RECYCLED_SEGMENTS = 64
_QUIET, _FLOODING, _DOWN, _FILLED = _LANES = range(4)
_HOSTILE = (f"{_FLOODING}=crowded", f"{_DOWN}=failing", f"{_FILLED}=crowded")


@dataclass(frozen=True, slots=True)
class _Owner:
    key: str
    destination: str


@dataclass(slots=True)
class _Measured:
    """What the quiet organisation saw, by round; `beside` is what the other one had accepted a second."""

    posts: int = 0
    answered: int = 0
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    delivered_p50: list[float] = field(default_factory=list)
    delivered_p99: list[float] = field(default_factory=list)
    undelivered: int = 0
    beside: list[float] = field(default_factory=list)


def run(settings: Settings, *, rounds: int, seconds: float, pinned: bool = False) -> None:
    """Print the latencies of the quiet organisation in each case."""
    with (
        tempfile.TemporaryDirectory(prefix="conversions-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="conversions-bench-") as other_folder,
        stage(settings, Path(folder), lanes=len(_LANES), hostile=_HOSTILE) as running,
        stage(settings, Path(other_folder), lanes=len(_LANES), hostile=_HOSTILE) as other,
    ):
        quiet, flooding, down, filled = _owners(running)
        elsewhere = _owners(other)[_FLOODING]
        for each in (running, other):
            each.start_worker()
            if pinned:
                _pin(each)
        capacity = _capacity(running, flooding)
        warm = post(_plan(running, quiet, posts=400, connections=16, per_post=1))
        _arrivals(running, warm.accepted)
        print(f"## An organisation beside another one (capacity {capacity:,.0f} events/s)\n", flush=True)
        cases = _cases(running, other, flooding, elsewhere, down, capacity, seconds)
        measured = {name: _Measured() for name in (*cases, "a full queue")}
        for _ in range(rounds):
            for name, case in cases.items():
                for each in (running, other):
                    asyncio.run(_recycle_wal(each))
                _measure(running, other, quiet, measured[name], case, seconds)
        _measure_filled_queue(running, other, quiet, filled, measured["a full queue"], seconds)
    alone = measured["alone"]
    head = (
        "", "posts", "answered 202", "accept p50 ms", "p99", "p99 / alone", "to delivery p50 ms", "p99",
        "p50 / alone", "not delivered", "other's events/s",
    )  # fmt: skip
    print(table(head, [_row(name, each, alone) for name, each in measured.items()]), flush=True)


def _pin(running: Stage) -> None:
    """Run the service on one core; this process, those it starts later, and the stand-in on another."""
    service, *_, others = sorted(os.sched_getaffinity(running.postmaster))
    os.sched_setaffinity(0, {others})
    for name, process in running.processes.items():
        _set_cores(process.pid, {others if name == "stand_in" else service})
    for pid in (running.postmaster, *children_of(running.postmaster)):
        _set_cores(pid, {service})


def _set_cores(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _cases(
    running: Stage, other: Stage, flooding: _Owner, elsewhere: _Owner, down: _Owner, capacity: float,
    seconds: float,
) -> dict[str, Callable[[], AbstractContextManager[None]]]:  # fmt: skip
    """Return what happens beside the quiet organisation, by name."""
    return {
        "alone": _nothing,
        "equal load": lambda: _flood(other, elsewhere, 10 * capacity, seconds),
        "flood": lambda: _flood(running, flooding, 10 * capacity, seconds),
        f"flood in posts of {FULL}": lambda: _flood(running, flooding, 10 * capacity, seconds, FULL),
        "stalled connections": lambda: _stalled(running, flooding),
        "Amazon down": lambda: _flood(running, down, capacity / 10, seconds),
    }


def _owners(running: Stage) -> list[_Owner]:
    """Create an organisation for each lane, with a key and a destination."""
    owners = []
    for number in _LANES:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{running.settings.port}",
            headers={"X-Api-Key": running.key, "Accept": "application/json"},
            timeout=60,
        ) as client:
            made = client.post("/organisations", json={"name": f"Bench {number}"}).raise_for_status().json()
            scopes = ["events:write", "destinations:read", "destinations:write"]
            key = client.post(
                f"/keys?organisation_id={made['id']}", json={"name": "Bench", "scopes": scopes}
            ).raise_for_status().json()["key"]  # fmt: skip
            client.headers["X-Api-Key"] = key
            owners.append(_Owner(key, create_destination(client, number)))
    return owners


def _capacity(running: Stage, owner: _Owner) -> float:
    """Return the events a second that one organisation can have accepted, after the processes are warm."""
    for posts in (100, 300):
        best = post(_plan(running, owner, posts=posts, connections=8, per_post=_FLOOD_EVENTS_A_POST))
    return best.accepted / (max(at for at in best.answered if at is not None) - best.began)


def _measure(
    running: Stage,
    other: Stage,
    quiet: _Owner,
    measured: _Measured,
    case: Callable[[], AbstractContextManager[None]],
    seconds: float,
) -> None:
    with case():
        running.fetch("/_log")
        before = sum(_accepted(each) for each in (running, other))
        began = time.monotonic()
        posted = post(
            _plan(
                running,
                quiet,
                posts=int(_QUIET_POSTS_A_SECOND * seconds),
                connections=16,
                per_post=1,
                per_second=_QUIET_POSTS_A_SECOND,
            )
        )
        took = time.monotonic() - began
        received = sum(_accepted(each) for each in (running, other)) - before
        log = _arrivals(running, posted.accepted)
    arrived = delays(posted, log, 1)
    latencies = _latencies(posted)
    measured.posts += len(posted.due)
    measured.answered += len(latencies)
    measured.p50.append(quantile(latencies, 0.5))
    measured.p99.append(quantile(latencies, 0.99))
    measured.delivered_p50.append(quantile(arrived, 0.5))
    measured.delivered_p99.append(quantile(arrived, 0.99))
    measured.undelivered += len(latencies) - len(arrived)
    measured.beside.append((received - posted.accepted) / took)


async def _recycle_wal(running: Stage) -> None:
    """Let the server have old WAL segments to write into, as one has after its first checkpoints.

    A new server creates each segment and fills its 16 MB with zeros, while commits wait.
    """
    connection = await asyncpg.connect(running.dsn)
    try:
        await connection.execute("CHECKPOINT")
        for _ in range(_RECYCLED_SEGMENTS):
            await connection.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 16000000))")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _arrivals(running: Stage, events: int) -> list[tuple[float, list[int]]]:
    """Return what the stand-in received of the quiet organisation, after a minute at most."""
    until = time.monotonic() + _DELIVERY_SECONDS
    while int(running.fetch("/_count")) < events and time.monotonic() < until:
        time.sleep(0.1)
    return [(at, numbers) for at, numbers in json.loads(running.fetch("/_log"))]


def _measure_filled_queue(
    running: Stage, other: Stage, quiet: _Owner, filled: _Owner, measured: _Measured, seconds: float
) -> None:
    """Let a million events of the other organisation wait, then start the worker."""
    running.end("worker")
    (body,) = bodies("filled", FULL, FULL, [filled.destination])
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.settings.port}/events",
        data=body,
        headers={"X-Api-Key": filled.key, "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=60).close()
    asyncio.run(_fill(running, filled))
    running.start_worker()
    _set_cores(running.processes["worker"].pid, os.sched_getaffinity(running.processes["api"].pid))
    running.fetch("/_log")
    warm = post(_plan(running, quiet, posts=20, connections=4, per_post=1))
    _arrivals(running, warm.accepted)  # the worker has started and owns both lanes
    _measure(running, other, quiet, measured, _nothing, min(seconds, 10.0))


async def _fill(running: Stage, owner: _Owner) -> None:
    connection = await asyncpg.connect(running.dsn)
    try:
        number = await connection.fetchval("SELECT number FROM destinations WHERE id = $1", owner.destination)
        await multiply(connection, Vault(running.settings.named_keys), number, times=_WAITING // FULL)
    finally:
        await connection.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _flood(
    running: Stage, owner: _Owner, per_second: float, seconds: float, per_post: int = _FLOOD_EVENTS_A_POST
) -> Iterator[None]:
    """Post this many events a second during the block, at the lowest priority of the machine."""
    posts, posts_a_second = _FLOOD_EVENTS // per_post, per_second / per_post
    plan = _plan(
        running,
        owner,
        posts=posts,
        times=int(posts_a_second * (seconds + 30) / posts) + 1,
        connections=_FLOOD_CONNECTIONS,
        per_post=per_post,
        per_second=posts_a_second,
    )
    process = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)).encode())
    process.stdin.close()
    with _killed(process):
        before = _accepted(running)
        while _accepted(running) == before:
            time.sleep(0.1)
        time.sleep(1)
        yield


@contextmanager
def _stalled(running: Stage, owner: _Owner) -> Iterator[None]:
    arguments = (str(running.settings.port), owner.key, str(_STALLED_CONNECTIONS))
    with _killed(subprocess.Popen([sys.executable, "-m", "bench.stalled", *arguments])):
        time.sleep(3)
        yield


@contextmanager
def _killed(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _accepted(running: Stage) -> float:
    """Return how many events the API process has accepted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.settings.port}/metrics", timeout=60) as answer:
        found = re.search(
            r'(?m)^amazon_conversions_events_received_total\{result="accepted"\} (\S+)',
            answer.read().decode(),
        )
    return float(found[1]) if found else 0.0


def _plan(
    running: Stage, owner: _Owner, *, posts: int, connections: int, per_post: int,
    per_second: float | None = None, times: int = 1,
) -> Plan:  # fmt: skip
    """Return a plan; `per_second` counts posts."""
    return Plan(
        port=running.settings.port,
        key=owner.key,
        run=f"r{time.time_ns()}",
        events=posts * per_post,
        per_post=per_post,
        destinations=[owner.destination],
        connections=connections,
        per_second=per_second,
        times=times,
    )


def _latencies(posted: Posted) -> list[float]:
    return [(at - due) * 1e3 for due, at in zip(posted.due, posted.answered, strict=True) if at is not None]


def _row(name: str, measured: _Measured, alone: _Measured) -> tuple[object, ...]:
    return (
        name, measured.posts, measured.answered, middle(measured.p50), middle(measured.p99),
        middle(measured.p99) / middle(alone.p99), middle(measured.delivered_p50),
        middle(measured.delivered_p99), middle(measured.delivered_p50) / middle(alone.delivered_p50),
        measured.undelivered, middle(measured.beside),
    )  # fmt: skip
