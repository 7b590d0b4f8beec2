"""Measure a quiet organisation while another floods, exports, stalls, fills its queue, or has Amazon down.

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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from app.settings import Settings
from bench.load import Plan
from bench.pipeline import create_destination, delays, post
from bench.report import middle, quantile, table
from bench.stage import Stage, children_of, stage
from bench.waiting import fill

_FLOOD_EVENTS = 20_000  # then the same again, with other ids
# Connections and events a post of a flood: each connection posts again as soon as it is answered.
_FLOODS = ((8, 2_000), (8, 500), (64, 100), (400, 1))
_EXPORTS = 4
# The part of its own throughput that a large sender keeps beside one small post a second.
_LARGE_SENDERS = ((8, 500), (64, 100))
_LARGE_SECONDS = 10.0
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
    """Print the latencies of the quiet organisation in each case, and the throughput of large senders."""
    with (
        tempfile.TemporaryDirectory(prefix="conversions-bench-") as folder,
        stage(settings, Path(folder), lanes=len(_LANES), hostile=_HOSTILE) as running,
    ):
        quiet, flooding, down, filled = _owners(running)
        running.start_worker()
        if pinned:
            _pin(running)
        for owner in (quiet, flooding):
            warm = post(_plan(running, owner, posts=400, connections=16, per_post=1))
        _arrivals(running, warm.accepted)
        cases = _cases(running, flooding, down)
        measured = {name: _Measured() for name in (*cases, "a full queue")}
        throughput: dict[tuple[int, int], list[float]] = {sender: [] for sender in _LARGE_SENDERS}
        for _ in range(rounds):
            for name, case in cases.items():
                asyncio.run(_recycle_wal(running))
                _measure(running, quiet, measured[name], case, seconds)
            for sender, parts in throughput.items():
                parts.append(_kept_throughput(running, flooding, quiet, *sender))
        _measure_filled_queue(running, quiet, filled, measured["a full queue"], seconds)
    alone = measured["alone"]
    head = (
        "", "posts", "refused", "accept p50 ms", "p99", "p99 / alone", "to delivery p50 ms", "p99",
        "not delivered", "other's events/s",
    )  # fmt: skip
    print("## A quiet organisation beside another one\n", flush=True)
    print(table(head, [_row(name, each, alone) for name, each in measured.items()]), flush=True)
    print("\n## A large sender beside one small post a second\n", flush=True)
    rows = [(f"{c} connections, posts of {n}", middle(parts)) for (c, n), parts in throughput.items()]
    print(table(("", "throughput / alone"), rows), flush=True)


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
    running: Stage, flooding: _Owner, down: _Owner
) -> dict[str, Callable[[], AbstractContextManager[None]]]:
    """Return what happens beside the quiet organisation, by name."""
    cases: dict[str, Callable[[], AbstractContextManager[None]]] = {"alone": _nothing}
    for connections, per_post in _FLOODS:
        name = f"flood: {connections} connections, posts of {per_post:,}"
        cases[name] = partial(_flood, running, flooding, connections, per_post)
    return cases | {
        f"{_EXPORTS} exports": partial(_exports, running, flooding),
        "stalled connections": partial(_stalled, running, flooding),
        "Amazon down": partial(_flood, running, down, 2, 100),
    }


def _owners(running: Stage) -> list[_Owner]:
    """Create an organisation for each lane, with a key and a destination."""
    owners = []
    for number in _LANES:
        with running.client() as client:
            made = client.post("/organisations", json={"name": f"Bench {number}"}).raise_for_status().json()
            scopes = ["events:write", "destinations:read", "destinations:write"]
            key = client.post(
                f"/keys?organisation_id={made['id']}", json={"name": "Bench", "scopes": scopes}
            ).raise_for_status().json()["key"]  # fmt: skip
            client.headers["X-Api-Key"] = key
            owners.append(_Owner(key, create_destination(client, number)))
    return owners


def _kept_throughput(running: Stage, large: _Owner, small: _Owner, connections: int, per_post: int) -> float:
    """Return the throughput of a large sender beside one small post a second, divided by that without."""
    rates = []
    for per_second in (0.0, 1.0):
        with _flood(running, large, connections, per_post):
            before, began = _accepted(running), time.monotonic()
            if per_second:
                posts = int(_LARGE_SECONDS * per_second)
                post(_plan(running, small, posts=posts, connections=4, per_post=1, per_second=per_second))
            time.sleep(max(0.0, began + _LARGE_SECONDS - time.monotonic()))
            rates.append((_accepted(running) - before) / (time.monotonic() - began))
        _settle(running)
    return rates[1] / rates[0]


def _settle(running: Stage) -> None:
    """Wait until requests of an ended flood no longer occupy the service."""
    before = -1.0
    while (accepted := _accepted(running)) != before:
        before = accepted
        time.sleep(1.2)


def _measure(
    running: Stage,
    quiet: _Owner,
    measured: _Measured,
    case: Callable[[], AbstractContextManager[None]],
    seconds: float,
) -> None:
    with case():
        running.fetch("/_log")
        before = _accepted(running)
        began = time.monotonic()
        rate = _QUIET_POSTS_A_SECOND
        plan = _plan(running, quiet, posts=int(rate * seconds), connections=16, per_post=1, per_second=rate)
        posted = post(plan)
        took = time.monotonic() - began
        received = _accepted(running) - before
    _settle(running)
    log = _arrivals(running, posted.accepted)
    arrived = delays(posted, log, 1)
    latencies = posted.accept_ms
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
    async with running.connected() as connection:
        await connection.execute("CHECKPOINT")
        for _ in range(_RECYCLED_SEGMENTS):
            await connection.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 16000000))")
        await connection.execute("CHECKPOINT")


def _arrivals(running: Stage, events: int) -> list[tuple[float, list[int]]]:
    """Return what the stand-in received of the quiet organisation, after a minute at most."""
    until = time.monotonic() + _DELIVERY_SECONDS
    while int(running.fetch("/_count")) < events and time.monotonic() < until:
        time.sleep(0.1)
    return [(at, numbers) for at, numbers in json.loads(running.fetch("/_log"))]


def _measure_filled_queue(
    running: Stage, quiet: _Owner, filled: _Owner, measured: _Measured, seconds: float
) -> None:
    """Let a million events of the other organisation wait, then start the worker."""
    running.end("worker")
    asyncio.run(fill(running, filled.destination, _WAITING, key=filled.key))
    running.start_worker()
    _set_cores(running.processes["worker"].pid, os.sched_getaffinity(running.processes["api"].pid))
    running.fetch("/_log")
    warm = post(_plan(running, quiet, posts=20, connections=4, per_post=1))
    _arrivals(running, warm.accepted)  # the worker has started and owns both lanes
    _measure(running, quiet, measured, _nothing, min(seconds, 10.0))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _flood(running: Stage, owner: _Owner, connections: int, per_post: int) -> Iterator[None]:
    """Post without pause during the block, at the lowest priority of the machine."""
    posts = _FLOOD_EVENTS // per_post
    plan = _plan(running, owner, posts=posts, times=1_000, connections=connections, per_post=per_post)
    process = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)).encode())
    process.stdin.close()
    with _killed(process):
        before, until = _accepted(running), time.monotonic() + 60
        while _accepted(running) == before and time.monotonic() < until:
            time.sleep(0.5)
        time.sleep(1)
        yield


@contextmanager
def _exports(running: Stage, owner: _Owner) -> Iterator[None]:
    """Export the events of an organisation as CSV again and again, several at a time."""
    address = f"http://127.0.0.1:{running.settings.port}/destinations/{owner.destination}/events?format=csv"
    command = f"while :; do curl -s -o /dev/null -H 'X-Api-Key: {owner.key}' '{address}'; done"
    with ExitStack() as stack:
        for _ in range(_EXPORTS):
            stack.enter_context(_killed(subprocess.Popen(["nice", "-n", "19", "sh", "-c", command])))
        time.sleep(2)
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
    pattern = r'(?m)^amazon_conversions_events_received_total\{result="accepted"\} (\S+)'
    found = re.search(pattern, running.ask("/metrics").decode())
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


def _row(name: str, measured: _Measured, alone: _Measured) -> tuple[object, ...]:
    return (
        name, measured.posts, measured.posts - measured.answered, middle(measured.p50), middle(measured.p99),
        middle(measured.p99) / middle(alone.p99), middle(measured.delivered_p50),
        middle(measured.delivered_p99), measured.undelivered, middle(measured.beside),
    )  # fmt: skip
