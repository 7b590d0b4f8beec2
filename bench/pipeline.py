"""Rounds through the pipeline (posted, stored, sent, settled) and their latencies."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from bench.events import MAPPING
from bench.load import Plan, Posted
from bench.stage import Spent, Stage
from bench.stand_in import ADVERTISER

# (events a post, events a round quick, full, connections): enough for a second or two each.
SIZES = ((500, 60_000, 80_000, 4), (100, 30_000, 40_000, 4), (1, 6_000, 10_000, 64))

# A new process (first samples, unused memory, code that is not specialised yet) needs a third more CPU per
# event for this many events.
_WARMING = 6_000


@dataclass(slots=True)
class Round:
    """The result of a run: events per second, latencies in ms, cost per event in µs and bytes."""

    events: int
    per_post: int
    lanes: int
    rate: float  # first post to last arrival at the stand-in
    accept_rate: float
    accept_ms: list[float]
    delivered_ms: list[float]  # from the response to the caller to the arrival at the stand-in, one per event
    cpu_us: dict[str, float]
    wal: float
    images: float  # full-page images after a checkpoint, of the WAL
    database: float
    resident: dict[str, int]
    requests: int = 0  # to the stand-in
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """CPU time per event of Python and Postgres, without load and stand-in."""
        return sum(self.cpu_us[name] for name in ("api", "worker", "postgres") if name in self.cpu_us)


class Pipeline:
    """Posts events and waits until the stand-in has received all of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._runs = 0
        self.destinations: list[str] = []

    def connect(self, lanes: int) -> None:
        """Create destinations up to this number, one per lane, each with a published mapping."""
        with self.stage.client() as client:
            while len(self.destinations) < lanes:
                self.destinations.append(create_destination(client, len(self.destinations)))

    def run(
        self,
        events: int,
        per_post: int,
        lanes: int,
        *,
        connections: int,
        per_second: float | None = None,
        deliver: bool = True,
    ) -> Round:
        """Post events and wait until all have arrived, or with `deliver=False` until all are stored."""
        self._runs += 1
        self.stage.fetch("/_log")
        plan = Plan(
            port=self.stage.settings.port,
            key=self.stage.key,
            run=f"r{self._runs}-{time.time_ns() // 1_000_000}",
            events=events,
            per_post=per_post,
            destinations=self.destinations[:lanes],
            connections=connections,
            per_second=None if per_second is None else per_second / per_post,
        )
        before = self.stage.spent()
        posted = post(plan)
        log = self._arrived(posted.accepted) if deliver else []
        cost = self.stage.spent().since(before)
        last_answer = max((at for at in posted.answered if at is not None), default=posted.began)
        last_arrival = max((at for at, _ in log), default=last_answer)
        return Round(
            events=posted.accepted,
            per_post=per_post,
            lanes=lanes,
            rate=posted.accepted / (last_arrival - posted.began),
            accept_rate=posted.accepted / (last_answer - posted.began),
            accept_ms=posted.accept_ms,
            delivered_ms=delays(posted, log, per_post),
            cpu_us={name: seconds / posted.accepted * 1e6 for name, seconds in cost.seconds.items()},
            wal=cost.wal / posted.accepted,
            images=cost.images / posted.accepted,
            database=cost.database / posted.accepted,
            resident=self.stage.resident(),
            requests=len(log),
            failures=posted.failures,
        )

    def warm(self, lanes: int, *, events: int = _WARMING, deliver: bool = True) -> Round:
        """Post unmeasured events to new processes."""
        return self.run(events, 1, lanes, connections=64, deliver=deliver)

    def accepted_alone(self, events: int, lanes: int, *, connections: int, api_processes: int = 1) -> float:
        """Post single events without a running worker; return the accepted events per second.

        The reference also has both cores to itself.
        """
        self.stage.end("worker")
        self.stage.end_api()
        self.stage.start_api(api_processes)
        first = self.warm(lanes, events=_WARMING * api_processes, deliver=False)
        taken = self.run(events, 1, lanes, connections=connections, deliver=False)
        self.stage.end_api()
        self.stage.start_api()
        self.stage.start_worker()
        self._arrived(first.events + taken.events)
        return taken.accept_rate

    def drain(self, waiting: int) -> tuple[float, Spent]:
        """Start the worker on waiting events; return events per second, first to last arrival, and cost."""
        self.stage.fetch("/_log")
        before = self.stage.spent()
        self.stage.start_worker()
        log = self._arrived(waiting)
        cost = self.stage.spent().since(before)
        first, last = min(at for at, _ in log), max(at for at, _ in log)
        return waiting / (last - first), cost

    def _arrived(self, events: int, patience: float = 300.0) -> list[tuple[float, list[int]]]:
        deadline = time.monotonic() + patience
        while int(self.stage.fetch("/_count")) < events:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.stage.fetch('/_count').decode()} of {events} events arrived")
            time.sleep(0.05)
        return [(at, numbers) for at, numbers in json.loads(self.stage.fetch("/_log"))]


def post(plan: Plan) -> Posted:
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(plan)).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return Posted(**json.loads(done.stdout))


def delays(posted: Posted, log: Sequence[tuple[float, list[int]]], per_post: int) -> list[float]:
    """Return for each delivered event the time from the answer to its arrival at the stand-in, in ms."""
    found = []
    for at, numbers in log:
        for number in numbers:
            answered = posted.answered[number // per_post]
            if answered is not None:
                found.append((at - answered) * 1e3)
    return found


def create_destination(client: httpx.Client, number: int) -> str:
    """Create a destination, sign in at the stand-in, create a mapping and publish it."""
    made = _ask(
        client.post(
            "/destinations",
            json={
                "name": f"Bench {number}",
                "advertiser_id": str(ADVERTISER + number),
                "region": "NA",
                "currency": "USD",
                # The rate limit must not limit the measurement.
                "rate_limit": {"requests_per_second": 1000, "burst": 1000},
            },
        )
    )
    path = f"/destinations/{made['id']}"
    address = _ask(client.post(f"{path}/connect"))["authorize_url"]
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    _ask(client.get("/oauth/amazon/callback", params={"code": "bench", "state": state}))
    mapping = _ask(client.post(f"{path}/mappings", json=MAPPING))
    _ask(client.post(f"{path}/mappings/{mapping['id']}/publish"))
    return str(made["id"])


def _ask(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise RuntimeError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
        )
    return dict(answer.json())
