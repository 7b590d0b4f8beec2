"""A schedule: what is posted when, and what goes wrong when. One integer decides all of it.

A schedule is plain JSON once made, so that a failing one can be kept, made smaller and played again.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaigns.chaos.caller import Post

DESTINATIONS = 3  # the first two share an advertiser and so a lane
FAULTS: Mapping[str, dict[str, Any]] = {
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

    def __str__(self) -> str:
        lasting = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:.1f} s: {self.action}{f' ({self.how})' if self.how else ''} #{self.which}{lasting}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a run needs to be the same run again, as far as machines can be."""

    seed: int
    events: int
    lasts: float
    steps: tuple[Step, ...]

    def posts(self) -> list[Post]:
        """Return the posts: sizes and times by the seed, about one event in fifty without a match key."""
        luck = random.Random(f"posts {self.seed}")
        made, found = 0, []
        while made < self.events:
            size = min(self.events - made, luck.choice((1, 1, 2, 5, 10, 20, 50, 100)))
            destination = luck.randrange(DESTINATIONS)
            names = [f"{'bad' if luck.random() < 0.02 else 'ev'}-{self.seed}-{made + n}" for n in range(size)]
            found.append((destination, tuple(names)))
            made += size
        times = sorted(luck.uniform(0, self.lasts) for _ in found)
        return [Post(at, destination, names) for at, (destination, names) in zip(times, found, strict=True)]

    def poison(self) -> dict[int, list[str]]:
        """Return, by destination, an event that Amazon refuses with whatever travels in its request."""
        luck = random.Random(f"poison {self.seed}")
        by_destination: dict[int, list[str]] = {}
        for post in self.posts():
            by_destination.setdefault(post.destination, []).extend(
                name for name in post.names if name.startswith("ev")
            )
        return {
            destination: [luck.choice(names)]
            for destination, names in sorted(by_destination.items())
            if names and luck.random() < 0.5
        }

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "steps": [asdict(step) for step in self.steps]}, indent=1)

    @classmethod
    def read(cls, path: Path) -> "Schedule":
        held = json.loads(path.read_text())
        held = {name: held[name] for name in ("seed", "events", "lasts", "steps")}
        return cls(**{**held, "steps": tuple(Step(**step) for step in held["steps"])})


def _lasting(shortest: float, longest: float) -> Callable[[random.Random], dict[str, Any]]:
    return lambda luck: {"lasts": round(luck.uniform(shortest, longest), 1)}


def _immediate(luck: random.Random) -> dict[str, Any]:
    return {}


def _amazon(luck: random.Random) -> dict[str, Any]:
    return {"how": luck.choice(sorted(FAULTS)), "lasts": round(luck.uniform(1.0, 4.0), 1)}


# How often each is drawn, and what is drawn with it.
ACTIONS: Mapping[str, tuple[int, Callable[[random.Random], dict[str, Any]]]] = {
    "kill an API": (3, _immediate),
    "kill a worker": (3, _immediate),
    "stop an API": (1, _lasting(0.5, 3.0)),
    "stop a worker": (2, _lasting(0.5, 4.0)),
    "restart an API in good order": (1, _immediate),
    "restart a worker in good order": (2, _immediate),
    "kill a backend": (2, _immediate),
    "stop a backend": (1, _lasting(0.5, 2.0)),
    "end all backends": (1, _immediate),
    "kill the postmaster": (2, _immediate),
    "stop the postmaster": (1, _lasting(0.5, 2.0)),
    "lose a COMMIT's answer": (5, lambda luck: {"how": luck.choice(("api", "worker"))}),
    "lose a COMMIT": (2, lambda luck: {"how": luck.choice(("api", "worker"))}),
    "lose an INSERT's answer": (2, lambda luck: {"how": "worker"}),
    "reset the database's connections": (2, lambda luck: {"how": luck.choice(("api", "worker"))}),
    "slow the database's connections": (1, lambda luck: {"how": "worker", **_lasting(1, 2)(luck)}),
    "leave the database half-open": (1, lambda luck: {"how": "worker", **_lasting(1, 4)(luck)}),
    "reset Amazon's connections": (2, _immediate),
    "slow Amazon's connections": (1, _lasting(1.0, 3.0)),
    "drip Amazon's connections": (1, _lasting(1.0, 3.0)),
    "leave Amazon half-open": (1, _lasting(1.0, 4.0)),
    "Amazon": (12, _amazon),
    "pause and resume": (3, _lasting(0.5, 3.0)),
    "revoke and reconnect": (3, _lasting(0.5, 3.0)),
    "disconnect and reconnect": (1, _lasting(0.5, 2.0)),
    "publish another version": (3, _immediate),
}


def draw(seed: int, events: int) -> Schedule:
    """Return the schedule of a seed."""
    luck = random.Random(f"schedule {seed}")
    lasts = round(4.0 + events / 600, 1)
    names = sorted(ACTIONS)
    actions = luck.choices(names, weights=[ACTIONS[name][0] for name in names], k=luck.randint(3, 7))
    steps = [
        Step(round(luck.uniform(0.3, lasts), 2), action, luck.randrange(12), **ACTIONS[action][1](luck))
        for action in actions
    ]
    return Schedule(seed, events, lasts, tuple(sorted(steps, key=lambda step: step.at)))
