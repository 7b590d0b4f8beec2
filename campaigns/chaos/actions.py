"""The steps of schedules: what is drawn with each, and which fault it is."""

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campaigns.chaos import faults
from campaigns.chaos import outside_faults as outside
from campaigns.chaos.faults import Fault, backend, once, postmaster, process, signalled
from tests.pipeline.tcp_proxy import COMMIT_ANSWER, COMMIT_ASKED, INSERT_ANSWER

DRIP = 20_000  # bytes a second
AMAZON: Mapping[str, dict[str, Any]] = {
    "a 429 with a window": {"kind": "429", "retry_after": 2, "times": 1},
    "429s without a window": {"kind": "429", "times": 2},
    "a hidden limit": {"kind": "hidden_rate_limit", "requests_per_second": 4, "burst": 2, "retry_after": 1},
    "a lower hidden limit": {"kind": "hidden_rate_limit", "requests_per_second": 2, "burst": 1},
    "accepts, then drops": {"kind": "drop_after_accept", "probability": 0.5},
    "drops before it accepts": {"kind": "drop_before_accept", "probability": 0.5},
    "cuts its answers short": {"kind": "cut_short", "probability": 0.5},
    "names some in both lists": {"kind": "both_lists", "indexes": [0, 3], "probability": 0.7},
    "names some in neither": {"kind": "missing_index", "indexes": [0, 2], "probability": 0.7},
    "answers 207 with nothing": {"kind": "empty_207", "accepted": False, "probability": 0.7},
    "takes all and answers 207 with nothing": {"kind": "empty_207", "accepted": True, "probability": 0.7},
    "answers garbage": {"kind": "malformed", "body": "garbage", "probability": 0.7},
    "answers with a page": {"kind": "malformed", "status": 200, "body": "html", "probability": 0.7},
    "answers wrong types": {"kind": "malformed", "body": "wrong_types", "probability": 0.7},
    "never answers": {"kind": "never", "times": 1},
    "503s": {"kind": "5xx", "status": 503, "probability": 0.6},
    "is slow": {"kind": "slow", "ms": 1500},
    "refuses some for now": {"kind": "partial", "code": "INTERNAL_ERROR", "probability": 0.7},
    "a token server in trouble": {"kind": "token_5xx", "times": 2},
    "an access token refused": {"kind": "401", "times": 1},
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that goes wrong `at` seconds after the beginning, for `lasts` seconds where it lasts."""

    at: float
    action: str
    which: int = 0
    lasts: float = 0.0
    how: str = ""

    @property
    def fault(self) -> Fault:
        return ACTIONS[self.action].fault(self)

    def __str__(self) -> str:
        lasting = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:.1f} s: {self.action}{f' ({self.how})' if self.how else ''} #{self.which}{lasting}"


Draws = Callable[[random.Random], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Action:
    """A fault with how often a chaos schedule draws it, and what is drawn with it."""

    fault: Callable[[Step], Fault]
    weight: int = 0
    draws: Draws = lambda luck: {}


def _lasting(shortest: float, longest: float) -> Draws:
    return lambda luck: {"lasts": round(luck.uniform(shortest, longest), 1)}


def _of_amazon(luck: random.Random) -> dict[str, Any]:
    return {"how": luck.choice(sorted(AMAZON)), "lasts": round(luck.uniform(1.0, 4.0), 1)}


def _of_a_role(luck: random.Random) -> dict[str, Any]:
    return {"how": luck.choice(("api", "worker"))}


# What stays broken in a liveness schedule (`BROKEN`).
FROZEN_WORKER, FROZEN_API = "a worker is frozen", "an API is frozen"
HANGING = "an advertiser never answers"
HALF_OPEN_OWN = "the lease connection of a worker is half-open"
HALF_OPEN_WORKER = "a pooled connection of a worker is half-open"
HALF_OPEN_API = "a connection of an API is half-open"

ACTIONS: Mapping[str, Action] = {
    "kill an API": Action(lambda s: signalled(process("apis", s.which), signal.SIGKILL), 3),
    "kill a worker": Action(lambda s: signalled(process("workers", s.which), signal.SIGKILL), 3),
    "stop an API": Action(lambda s: signalled(process("apis", s.which)), 1, _lasting(0.5, 3.0)),
    "stop a worker": Action(lambda s: signalled(process("workers", s.which)), 2, _lasting(0.5, 4.0)),
    "restart an API in good order": Action(lambda s: signalled(process("apis", s.which), signal.SIGTERM), 1),
    "restart a worker in good order": Action(
        lambda s: signalled(process("workers", s.which), signal.SIGTERM), 2
    ),
    "kill a backend": Action(lambda s: signalled(backend(s.which), signal.SIGKILL), 2),
    "stop a backend": Action(lambda s: signalled(backend(s.which)), 1, _lasting(0.5, 2.0)),
    "end all backends": Action(lambda s: once(faults.end_backends), 1),
    "kill the postmaster": Action(lambda s: signalled(postmaster, signal.SIGKILL), 2),
    "stop the postmaster": Action(lambda s: signalled(postmaster), 1, _lasting(0.5, 2.0)),
    "lose a COMMIT's answer": Action(
        lambda s: outside.cut(s.how, COMMIT_ANSWER, s.which, towards_client=True), 5, _of_a_role
    ),
    "lose a COMMIT": Action(
        lambda s: outside.cut(s.how, COMMIT_ASKED, s.which, towards_client=False), 2, _of_a_role
    ),
    "lose an INSERT's answer": Action(
        lambda s: outside.cut(s.how, INSERT_ANSWER, s.which, towards_client=True),
        2,
        lambda luck: {"how": "worker"},
    ),
    "reset the database's connections": Action(lambda s: outside.reset(s.how), 2, _of_a_role),
    "slow the database's connections": Action(
        lambda s: outside.slow(s.how, latency=outside.LATENCY_S),
        1,
        lambda luck: {"how": "worker", **_lasting(1, 2)(luck)},
    ),
    "leave the database half-open": Action(
        lambda s: outside.silent(s.how), 1, lambda luck: {"how": "worker", **_lasting(1, 4)(luck)}
    ),
    "reset Amazon's connections": Action(lambda s: outside.reset("amazon"), 2),
    "slow Amazon's connections": Action(
        lambda s: outside.slow("amazon", latency=outside.LATENCY_S), 1, _lasting(1.0, 3.0)
    ),
    "drip Amazon's connections": Action(lambda s: outside.slow("amazon", drip=DRIP), 1, _lasting(1.0, 3.0)),
    "leave Amazon half-open": Action(lambda s: outside.silent("amazon"), 1, _lasting(1.0, 4.0)),
    "Amazon": Action(lambda s: outside.of_amazon({**AMAZON[s.how], "seed": s.which}), 12, _of_amazon),
    "drop the functions of flushes": Action(lambda s: once(faults.drop_flush_functions)),
    "kill a worker that refreshes a token": Action(lambda s: outside.killed_in_refresh(s.which)),
    "pause and resume": Action(lambda s: outside.pause(s.which), 3, _lasting(0.5, 3.0)),
    "revoke and reconnect": Action(lambda s: outside.revoke(s.which), 3, _lasting(0.5, 3.0)),
    "disconnect and reconnect": Action(lambda s: outside.disconnect(s.which), 1, _lasting(0.5, 2.0)),
    "publish another version": Action(lambda s: outside.publish(s.which), 3),
    FROZEN_WORKER: Action(lambda s: faults.frozen("workers", s.which)),
    FROZEN_API: Action(lambda s: faults.frozen("apis", s.which)),
    HANGING: Action(lambda s: outside.of_amazon({"kind": "never"}, which=s.which)),
    HALF_OPEN_OWN: Action(lambda s: outside.silent_connection("worker", "lease", s.which)),
    HALF_OPEN_WORKER: Action(lambda s: outside.silent_connection("worker", "conversions-worker", s.which)),
    HALF_OPEN_API: Action(lambda s: outside.silent_connection("api", "conversions-%", s.which)),
}
