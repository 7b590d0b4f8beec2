"""What the liveness measurements share: several advertisers under a steady load, and how late each event is.

The stand-in's witness says when a request with an event arrived, the caller when its 202 was read; both are
on one machine's clock. The difference is what an advertiser waits for its conversion.
"""

import asyncio
import contextlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from campaigns.chaos import standin
from campaigns.chaos.caller import event
from campaigns.chaos.operator import Destination, Operator
from campaigns.chaos.stage import Stage
from tests.crashes.evidence import Request

ADVERTISERS = 6
EVERY_S = 0.25  # from one post of an advertiser to the next


@dataclass
class Load:
    """One event a post to each destination. `accepted` has the moment of each event's 202."""

    stage: Stage
    operator: Operator
    destinations: Sequence[Destination]
    accepted: dict[str, tuple[int, float]] = field(default_factory=dict)  # event id: destination, moment
    number: int = 0

    async def run(self, seconds: float) -> tuple[float, float]:
        """Post for that long; return the span."""
        began = time.time()
        async with httpx.AsyncClient(
            base_url=self.stage.api,
            headers={"Authorization": f"Bearer {self.stage.key}"},
            timeout=10,
            trust_env=False,
        ) as client:
            posting = [self._post(client, place, began + seconds) for place in range(len(self.destinations))]
            await asyncio.gather(*posting)
        return began, time.time()

    async def _post(self, client: httpx.AsyncClient, place: int, until: float) -> None:
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        await asyncio.sleep(EVERY_S * place / len(self.destinations))
        while time.time() < until:
            began = time.time()
            self.number += 1
            name = f"live-{place}-{self.number}"
            path = f"/events?destination_id={self.destinations[place].number}"
            answer = await client.post(path, json=event(name, day))
            assert answer.status_code == 202, answer.text
            self.accepted[name] = place, time.time()
            await asyncio.sleep(max(0.0, EVERY_S - (time.time() - began)))

    async def settle(self, seconds: float) -> list[Request]:
        """Wait until every event was taken, or time is up; return all that the stand-in saw."""
        until = time.time() + seconds
        while True:
            seen = self.requests()
            taken = {
                one for request in seen for one, ok in zip(request.ids, request.taken, strict=True) if ok
            }
            if self.accepted.keys() <= taken or time.time() > until:
                return seen
            await asyncio.sleep(1)

    def requests(self) -> list[Request]:
        """Return what the stand-in saw for these destinations."""
        return standin.read(
            self.stage.folder, advertisers=frozenset(one.advertiser for one in self.destinations)
        )

    def waits(self, span: tuple[float, float], seen: Sequence[Request]) -> dict[int, list[float]]:
        """Return for each destination how long the events accepted in a span waited; inf for none taken."""
        first: dict[str, float] = {}
        for request in seen:
            for one, taken in zip(request.ids, request.taken, strict=True):
                if taken:
                    first.setdefault(one, request.began)
        found: dict[int, list[float]] = {place: [] for place in range(len(self.destinations))}
        for name, (place, at) in self.accepted.items():
            if span[0] <= at <= span[1]:
                found[place].append(max(0.0, first.get(name, math.inf) - at))
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all lies at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def summary_of(waits: Sequence[float]) -> str:
    """Return p50, p99 and the longest wait in seconds."""
    return " / ".join(f"{percentile(waits, share):.3f}" for share in (0.5, 0.99, 1.0))


def evaluated(seen: Sequence[Request]) -> str:
    """Return how many ids were taken more than once, and how many with different bytes."""
    times: dict[str, int] = {}
    hashes: dict[str, set[str]] = {}
    for request in seen:
        for one, digest, taken in zip(request.ids, request.hashes, request.taken, strict=True):
            hashes.setdefault(one, set()).add(digest)
            times[one] = times.get(one, 0) + taken
    return json.dumps(
        {
            "taken more than once": sum(number > 1 for number in times.values()),
            "sent with different bytes": sum(len(found) > 1 for found in hashes.values()),
        }
    )


@contextlib.asynccontextmanager
async def loaded(workers: int) -> AsyncIterator[Load]:
    """Start Postgres, the stand-in, an API process and workers, with one destination for each advertiser."""
    folder = Path(tempfile.mkdtemp(prefix="conversions-liveness-"))
    stage = Stage(folder, apis_wanted=1, workers_wanted=workers)
    await stage.start()
    operator = Operator(stage.api, stage.amazon, stage.key)
    try:
        made = [await operator.create(f"Lane {n}", str(880_000_000 + n)) for n in range(ADVERTISERS)]
        yield Load(stage, operator, made)
    finally:
        await operator.close()
        await stage.close()
        shutil.rmtree(folder, ignore_errors=True)
