"""Rare states that a set of liveness schedules must have met, each with the line that shows it.

A campaign that never met a state proves nothing about it. The lines are those that the processes log, and
those that `requests_lines` and `gather` make of everything else: the stand-in's record, the callers' answers,
metrics, rows and the log of Postgres. A comment below lists states that no schedule reaches yet.
"""

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx

from app.delivery.balance_check import BalanceCheck
from campaigns.chaos.actions import FROZEN_API, FROZEN_WORKER, HALF_OPEN_OWN, HALF_OPEN_WORKER
from campaigns.running import say
from tests.crashes.evidence import Request

if TYPE_CHECKING:
    from campaigns.chaos.liveness_run import LivenessRun
    from campaigns.chaos.stage import Installation

DUPLICATE = 'amazon_conversions_events_received_total{result="duplicate"}'


@dataclass(frozen=True, slots=True)
class Line:
    """A line with these fields, and one field above a number, in a run in which one of these was broken."""

    event: str
    fields: Mapping[str, object] = field(default_factory=dict)
    above: tuple[str, float] = ("", 0)
    broken: Sequence[str] = ()

    def is_met(self, lines: Iterable[Mapping[str, Any]], broken: str) -> bool:
        name, least = self.above
        return (not self.broken or broken in self.broken) and any(
            line.get("event") == self.event
            and line.items() >= self.fields.items()
            and (not name or line.get(name, 0) > least)
            for line in lines
        )


# State → the line that shows it. Events without a dot are no log lines of the product.
STATES: Mapping[str, Line] = {
    # Ownership
    "a lane was taken under a second fence": Line("lane.acquired", above=("fence", 1)),
    "a lease lapsed with a frozen owner": Line("lane.acquired", above=("fence", 1), broken=[FROZEN_WORKER]),
    "a worker lost a lane that it held": Line("lane.lost"),
    "a worker gave back lanes beyond its share": Line("lane.released"),
    "a silent session was ended by another worker": Line("a session was terminated"),
    # The first answer was clear and complete, and its settlement was not written: it was refused or lost.
    "the settlement of a frozen worker was refused by the fence": Line(
        "accepted twice, clearly", broken=[FROZEN_WORKER]
    ),
    "an attempt without a result was recovered": Line("attempt.recovered"),
    # Requests to Amazon
    "429 with Retry-After": Line("request", {"status": 429}, ("retry_after", 0)),
    "429 during a merge window": Line("request", {"status": 429, "in_merge_window": True}),
    "5xx from Amazon": Line("request", above=("status", 499)),
    "a request reached its deadline": Line("attempt.finished", {"outcome": "lost"}, ("duration_ms", 1_500)),
    "an answer was lost after acceptance": Line("request", {"clear": False, "status": 0, "any_taken": True}),
    "the same events were sent again": Line("sent again"),
    "a part of a request was refused for now": Line(
        "request", {"clear": True, "any_taken": True, "all_taken": False}
    ),
    "an access token was refused": Line("request", {"status": 401}),
    "a token was refreshed": Line("token.refreshed"),
    "a token was being refreshed by another worker": Line("token.unavailable", {"reason": "refreshing"}),
    "a breaker opened": Line("breaker open"),
    "a breaker let a probe through": Line("breaker.probe_sent"),
    "events were retried one by one": Line("retried exceptions"),
    # Damage
    "a batch that cannot be opened was named": Line("batch.unreadable", {"reason": "not_opened"}),
    "a batch on a bad page was named": Line("batch.unreadable", {"reason": "XX001"}),
    "a batch whose row is missing was named": Line("batch.unreadable", {"reason": "missing"}),
    "a torn schema sample was read": Line("damaged", {"state": "delivered"}),
    "a missing state was declared by the balance check": Line(
        "damaged", {"state": "declared by the imbalance check"}
    ),
    "a checksum failure was raised by Postgres": Line("a page was invalid"),
    # Erasures
    "an erasure passed over a damaged batch": Line("erasure.batch_unreadable"),
    "an erasure took an event that waited": Line("erased waiting"),
    "an erasure took an event that was delivered": Line("erased delivered"),
    "one scan finished several erasures": Line("erasure.finished", above=("erasures", 1)),
    # On receipt
    "a flush was refused": Line("flush.refused"),
    "a single-round-trip flush fell back": Line("flush.single_round_trip_unavailable"),
    "a post was answered 503": Line("503"),
    "a caller got no answer and repeated": Line("lost"),
    "a repeated event was a duplicate": Line(DUPLICATE),
    "a post ran into a frozen API": Line("lost", {"why": "ReadTimeout"}, broken=[FROZEN_API]),
    "a process was not ready": Line("not ready"),
    # The database
    "a settlement failed and was written again": Line("settlement.write_failed", {"will_retry": True}),
    "a statement reached its deadline on a half-open connection": Line(
        "TimeoutError", broken=[HALF_OPEN_OWN, HALF_OPEN_WORKER]
    ),
    "sessions ended with a restart of Postgres": Line("57P0"),
    "a COMMIT or its answer was lost": Line("cut"),
    "a worker could not reach the database": Line("worker.database_error"),
    # Processes
    "a process was killed and started again": Line("started again"),
}

# No liveness schedule reaches or shows:
# - a twin claim of one batch was avoided: the product neither logs nor counts it
# - all requests in flight of a worker were in use: no metric says so
# - a replay during an erasure: these schedules replay nothing; tests/pipeline has one
# - a partition was made late: only with a clock that jumps (`./run campaign clock-faults`)
# - an erasure scan was taken over from a frozen worker: a scan of these small tables lasts milliseconds
# - ids reserved before a crash were given again: needs a crash before a COMMIT; its own test
# - a serialization failure or deadlock in a flush: raised by tests/crashes/test_crash_points.py only
# - an event expired: events of a liveness schedule are hours old at most


async def imbalance(stage: "Installation", destination: str) -> bool:
    """Tell whether the product's own balance check names this destination."""
    dsn = stage.cluster.url.replace("+asyncpg", "")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        check = BalanceCheck(pool)
        async for _ in check.pages():
            pass
        return any(one["destination_id"] == destination for one in check.report())


def requests_lines(
    requests: Sequence[Request], accepted: Mapping[str, Sequence[float]], merge_window_s: float
) -> Iterator[dict[str, Any]]:
    """Yield what the stand-in's record shows; `accepted` has the moments of 202s by advertiser."""
    for request in requests:
        waits = [at - request.ended for at in accepted.get(request.advertiser, ())]
        yield {
            "event": "request",
            "status": request.status or 0,
            "retry_after": request.retry_after or 0.0,
            "clear": request.clear,
            "any_taken": any(request.taken),
            "all_taken": all(request.taken),
            "in_merge_window": any(0 < wait < merge_window_s for wait in waits),
        }
    sent = Counter(event for request in requests for event in request.ids)
    clearly = Counter(event for request in requests if request.clear for event in request.accepted)
    for name, times in (("sent again", sent), ("accepted twice, clearly", clearly)):
        if any(number > 1 for number in times.values()):
            yield {"event": name}


async def gather(stage: "Installation", run: "LivenessRun") -> set[str]:
    """Return the states of the table that this run has met so far."""
    ledger = run.scene.caller.ledger
    advertisers = {one.number: one.advertiser for one in run.scene.destinations}
    accepted: dict[str, list[float]] = defaultdict(list)
    for name, at in ledger.acknowledged.items():
        if (place := ledger.offered[name]) in advertisers:
            accepted[advertisers[place]].append(at)
    merge_window_s = int(run.schedule.settings["MERGE_WINDOW_MS"]) / 1000
    lines = _lines(stage.folder, run.log_offsets)
    lines += requests_lines(run.requests(), accepted, merge_window_s)
    postgres = _tail(stage.folder / "cluster" / "postgres.log", run.log_offsets)
    errors = " ".join(str(line.get("error", "")) for line in lines)
    starts = sum(process.starts - 1 for process in (*stage.apis, *stage.workers))
    met = {
        "a session was terminated": "terminating connection due to administrator" in postgres,
        "a page was invalid": "invalid page in block" in postgres or "XX001" in errors,
        "57P0": "57P0" in errors,
        "TimeoutError": "TimeoutError" in errors,
        "retried exceptions": any(line.get("kind") == "retry" for line in lines),
        "not ready": 503 in run.readiness,
        "cut": any(proxy.cuts_made for proxy in stage.proxies.values()),
        "started again": starts > 0,
        DUPLICATE: await _counts_duplicates(stage),
    }
    lines += [{"event": name} for name, is_met in met.items() if is_met]
    lines += [{"event": name} for name in await _rows(stage, [one.number for one in run.destinations])]
    for answer in ledger.answers:
        what, _, why = answer.partition(": ")
        lines.append({"event": what, "why": why})
    lines += [
        {"event": "damaged", "state": state} for one in run.seen.damages for state in one.states.values()
    ]
    return {state for state, line in STATES.items() if line.is_met(lines, run.schedule.broken)}


def offsets(folder: Path) -> dict[Path, int]:
    """Return how long each log is now, so that a run reads only its own lines."""
    logs = [*folder.glob("*.log"), folder / "cluster" / "postgres.log"]
    return {path: path.stat().st_size for path in logs if path.exists()}


def _tail(path: Path, since: Mapping[Path, int]) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(since.get(path, 0))
        return log.read().decode(errors="replace")


def _lines(folder: Path, since: Mapping[Path, int]) -> list[dict[str, Any]]:
    found = []
    for path in folder.glob("*.log"):
        for line in _tail(path, since).splitlines():
            with contextlib.suppress(ValueError):
                if isinstance(read := json.loads(line), dict):
                    found.append(read)
    return found


async def _counts_duplicates(stage: "Installation") -> bool:
    """Tell whether a process that answers has counted a duplicate."""
    async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
        for port in stage.metrics.values():
            with contextlib.suppress(httpx.HTTPError):
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                counts = [line for line in text.splitlines() if line.startswith(DUPLICATE)]
                if any(not line.endswith(" 0.0") for line in counts):
                    return True
    return False


async def _rows(stage: "Installation", destinations: Sequence[str]) -> list[str]:
    rows = await stage.ask(
        "WITH mine AS (SELECT number, lane FROM destinations WHERE id = ANY($1)) "
        "SELECT 'breaker ' || breaker AS what, count(*) AS n FROM lanes WHERE id IN (SELECT lane FROM mine) "
        "GROUP BY 1 UNION ALL SELECT 'retried exceptions', count(*) FROM exceptions e JOIN mine m "
        "ON m.number = e.destination WHERE e.status = 'retrying' "
        "UNION ALL SELECT 'erased ' || CASE e.status WHEN 'erased' THEN 'waiting' ELSE 'delivered' END, "
        "count(*) "
        "FROM exceptions e JOIN mine m ON m.number = e.destination WHERE e.erased_at IS NOT NULL GROUP BY 1",
        list(destinations),
    )
    return [row["what"] for row in rows if row["n"]]


def report(met: set[str]) -> list[str]:
    """Say which states were met. Returns the rest."""
    missing = [state for state in STATES if state not in met]
    say(f"rare states: {len(STATES) - len(missing)} of {len(STATES)} met; not met: {missing or 'none'}")
    return missing
