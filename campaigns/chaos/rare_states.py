"""Rare states that a set of liveness schedules must have met, each with how it is detected.

A campaign that never met a state proves nothing about it. Each state is a predicate over what a run left
behind: log lines, metrics, rows, the stand-in's record and the callers' answers. A comment below
lists states that no schedule reaches yet.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx

from app.delivery.balance_check import BalanceCheck, BalanceScope
from campaigns.chaos.liveness_schedule import FROZEN_API, FROZEN_WORKER, HALF_OPEN_OWN, HALF_OPEN_WORKER
from campaigns.running import say
from tests.crashes.evidence import Request

if TYPE_CHECKING:
    from campaigns.chaos.liveness_run import Run
    from campaigns.chaos.stage import Installation

_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)


@dataclass(slots=True)
class Facts:
    """What one run left behind."""

    broken: str
    logs: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    requests: Sequence[Request] = ()
    answers: Mapping[str, int] = field(default_factory=dict)
    readiness: frozenset[int] = frozenset()
    starts: int = 0
    postgres: str = ""
    merge_window_s: float = 0.0
    accepted: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by advertiser
    damage_states: frozenset[str] = frozenset()

    def logged(self, event: str, **fields: object) -> bool:
        return any(
            line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
            for line in self.logs
        )

    def in_error(self, text: str) -> bool:
        return any(text in str(line.get("error", "")) for line in self.logs)

    def metric(self, name: str, label: str = "") -> bool:
        return any(value > 0 and key.startswith(name) and label in key for key, value in self.metrics.items())


Detector = Callable[[Facts], bool]


def _resent_after_clear_acceptance(facts: Facts) -> bool:
    """The first answer was clear and complete, and its settlement was not written: it was refused or lost."""
    accepted = Counter(event for request in facts.requests if request.clear for event in request.accepted)
    return facts.broken == FROZEN_WORKER and any(times > 1 for times in accepted.values())


def _throttled_in_a_merge_window(facts: Facts) -> bool:
    return any(
        request.status == 429
        and any(
            0 < at - request.ended < facts.merge_window_s for at in facts.accepted.get(request.advertiser, ())
        )
        for request in facts.requests
    )


def _settled_late(facts: Facts) -> bool:
    return any(
        line.get("event") == "attempt.finished"
        and line.get("outcome") == "lost"
        and line.get("duration_ms", 0) > 1_500
        for line in facts.logs
    )


# State → how it is detected.
STATES: Mapping[str, Detector] = {
    # Ownership
    "a lane was taken under a second fence": lambda f: any(
        line.get("event") == "lane.acquired" and line.get("fence", 0) > 1 for line in f.logs
    ),
    "a lease lapsed with a frozen owner": lambda f: (
        f.broken == FROZEN_WORKER
        and any(line.get("event") == "lane.acquired" and line.get("fence", 0) > 1 for line in f.logs)
    ),
    "a worker lost a lane that it held": lambda f: f.logged("lane.lost"),
    "a worker gave back lanes beyond its share": lambda f: f.logged("lane.released"),
    "a silent session was ended by another worker": lambda f: (
        "terminating connection due to administrator" in f.postgres
    ),
    "the settlement of a frozen worker was refused by the fence": _resent_after_clear_acceptance,
    "an attempt without a result was recovered": lambda f: f.logged("attempt.recovered"),
    # Requests to Amazon
    "429 with Retry-After": lambda f: any(r.status == 429 and r.retry_after for r in f.requests),
    "429 during a merge window": _throttled_in_a_merge_window,
    "5xx from Amazon": lambda f: any((r.status or 0) >= 500 for r in f.requests),
    "a request reached its deadline": _settled_late,
    "an answer was lost after acceptance": lambda f: any(
        any(r.taken) and not r.clear and r.status is None for r in f.requests
    ),
    "the same events were sent again": lambda f: any(
        times > 1 for times in Counter(event for r in f.requests for event in r.ids).values()
    ),
    "a part of a request was refused for now": lambda f: any(
        r.clear and any(r.taken) and not all(r.taken) for r in f.requests
    ),
    "an access token was refused": lambda f: any(r.status == 401 for r in f.requests),
    "a token was refreshed": lambda f: f.logged("token.refreshed"),
    "a token was being refreshed by another worker": lambda f: f.logged(
        "token.unavailable", reason="refreshing"
    ),
    "a breaker opened": lambda f: f.rows.get("breaker open", 0) > 0,
    "a breaker let a probe through": lambda f: f.logged("breaker.probe_sent"),
    "events were retried one by one": lambda f: (
        f.rows.get("retried exceptions", 0) > 0 or any(line.get("kind") == "retry" for line in f.logs)
    ),
    # Damage
    "a batch that cannot be opened was named": lambda f: f.logged("batch.unreadable", reason="not_opened"),
    "a batch on a bad page was named": lambda f: f.logged("batch.unreadable", reason="XX001"),
    "a batch whose row is missing was named": lambda f: f.logged("batch.unreadable", reason="missing"),
    "a torn schema sample was read": lambda f: "delivered" in f.damage_states,
    "a missing state was declared by the balance check": lambda f: (
        "declared by the imbalance check" in f.damage_states
    ),
    "a checksum failure was raised by Postgres": lambda f: (
        "invalid page in block" in f.postgres or f.in_error("XX001")
    ),
    # Erasures
    "an erasure passed over a damaged batch": lambda f: f.logged("erasure.batch_unreadable"),
    "an erasure took an event that waited": lambda f: f.rows.get("erased waiting", 0) > 0,
    "an erasure took an event that was delivered": lambda f: f.rows.get("erased delivered", 0) > 0,
    "one scan finished several erasures": lambda f: any(
        line.get("event") == "erasure.finished" and line.get("erasures", 0) > 1 for line in f.logs
    ),
    # On receipt
    "a flush was refused": lambda f: f.logged("flush.refused"),
    "a single-round-trip flush fell back": lambda f: f.logged("flush.single_round_trip_unavailable"),
    "a post was answered 503": lambda f: f.answers.get("503", 0) > 0,
    "a caller got no answer and repeated": lambda f: any(key.startswith("lost") for key in f.answers),
    "a repeated event was a duplicate": lambda f: f.metric(
        "amazon_conversions_events_received_total", "duplicate"
    ),
    "a post ran into a frozen API": lambda f: (
        f.broken == FROZEN_API and any("Timeout" in key for key in f.answers)
    ),
    "a process was not ready": lambda f: 503 in f.readiness,
    # The database
    "a settlement failed and was written again": lambda f: f.logged(
        "settlement.write_failed", will_retry=True
    ),
    "a statement reached its deadline on a half-open connection": lambda f: (
        f.broken in {HALF_OPEN_OWN, HALF_OPEN_WORKER} and f.in_error("TimeoutError")
    ),
    "sessions ended with a restart of Postgres": lambda f: f.in_error("57P0"),
    "a COMMIT or its answer was lost": lambda f: f.rows.get("cuts", 0) > 0,
    "a worker could not reach the database": lambda f: f.logged("worker.database_error"),
    # Processes
    "a process was killed and started again": lambda f: f.starts > 0,
}

# No liveness schedule reaches or shows:
# - a twin claim of one batch was avoided: the product neither logs nor counts it
# - all requests in flight of a worker were in use: no metric says so
# - a replay during an erasure: these schedules replay nothing; tests/pipeline has one
# - a partition was made late: only with a clock that jumps (`./run campaign clock-faults`)
# - an erasure scan was taken over from a frozen worker: a scan of these small tables lasts milliseconds
# - ids reserved before a crash were given again: needs a crash before a COMMIT; its own test
# - a serialization failure or deadlock in a flush: raised by tests/crashes/test_error_answers.py only
# - an event expired: events of a liveness schedule are hours old at most


async def imbalance(stage: "Installation", destination: str) -> bool:
    """Tell whether the product's own balance check names this destination."""
    dsn = stage.cluster.url.replace("+asyncpg", "")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        check = BalanceCheck(pool, BalanceScope())
        async for _ in check.pages():
            pass
        return any(one["destination_id"] == destination for one in check.report())


async def gather(stage: "Installation", run: "Run") -> set[str]:
    """Return the states of the table that this run has met so far."""
    requests = run.requests()
    advertiser = {
        name: run.healthy[post.destination].advertiser for post in run.schedule.posts() for name in post.names
    }
    accepted: dict[str, list[float]] = {}
    for name, at in run.caller.ledger.acknowledged_at.items():
        if name in advertiser:
            accepted.setdefault(advertiser[name], []).append(at)
    facts = Facts(
        broken=run.schedule.broken,
        logs=_lines(stage.folder, run.log_offsets),
        metrics=await _metrics(stage),
        rows=await _rows(stage, [one.number for one in run.destinations])
        | {"cuts": sum(proxy.cuts_made for proxy in stage.to_database.values())},
        requests=requests,
        answers=run.caller.ledger.answers,
        readiness=frozenset(run.readiness),
        starts=sum(process.starts - 1 for process in (*stage.apis, *stage.workers)),
        postgres=_tail(stage.folder / "cluster" / "postgres.log", run.log_offsets),
        merge_window_s=int(run.schedule.settings["MERGE_WINDOW_MS"]) / 1000,
        accepted=accepted,
        damage_states=frozenset(state for one in run.seen.damages for state in one.states.values()),
    )
    return {state for state, detector in STATES.items() if detector(facts)}


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


async def _metrics(stage: "Installation") -> dict[str, float]:
    """Return the highest value of each series of all processes that answer."""
    found: dict[str, float] = {}
    async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
        for process in (*stage.apis, *stage.workers):
            port = stage.metrics.get(process.name)
            with contextlib.suppress(httpx.HTTPError):
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                for name, labels, value in _SAMPLE.findall(text):
                    found[name + labels] = max(float(value), found.get(name + labels, 0.0))
    return found


async def _rows(stage: "Installation", destinations: Sequence[str]) -> dict[str, int]:
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
    return {row["what"]: row["n"] for row in rows}


def report(met: set[str], file: Path | None) -> list[str]:
    """Say which states were met, here and by earlier commands with this file. Returns the rest."""
    if file is not None:
        met |= set(file.read_text().splitlines()) if file.exists() else set()
        file.write_text("\n".join(sorted(met)) + "\n")
    missing = [state for state in STATES if state not in met]
    say(f"rare states: {len(STATES) - len(missing)} of {len(STATES)} met; not met: {missing or 'none'}")
    return missing
