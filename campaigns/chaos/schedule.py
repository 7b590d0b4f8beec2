"""A schedule: what is posted when, and what goes wrong when. One integer decides all of it.

A schedule of the chaos campaign is a storm that passes. A liveness schedule has many advertisers, few
workers, storage faults, and one thing that stays broken. Either is plain JSON once drawn, constants and
settings included, so that a failing one can be played again after the way of drawing has changed.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from campaigns.chaos import constants
from campaigns.chaos.actions import (
    ACTIONS,
    FROZEN_API,
    FROZEN_WORKER,
    HALF_OPEN_API,
    HALF_OPEN_OWN,
    HALF_OPEN_WORKER,
    HANGING,
    Step,
)
from campaigns.chaos.caller import Post
from campaigns.chaos.damage import KINDS

DESTINATIONS = 3  # of a chaos schedule; the first two share an advertiser and so a lane

BASELINE_S = 2.0  # nothing is wrong yet
STORM_S = 2.5  # passing faults, and from here on the one that stays
QUIET_S = 4.5  # only what stays broken is broken
SICK_POSTS_A_SECOND = 20.0
RARELY = 0.3
SHARED_BY = 4  # seeds that run with the same constants, settings and number of workers
NOTHING = "only the damaged batches"
# How often each is drawn.
BROKEN: Mapping[str, int] = {
    FROZEN_WORKER: 4,
    FROZEN_API: 2,
    HANGING: 4,
    HALF_OPEN_OWN: 2,
    HALF_OPEN_WORKER: 2,
    HALF_OPEN_API: 1,
    NOTHING: 3,
}
PASSING: Mapping[str, dict[str, Any]] = {
    "kill a worker": {},
    "kill an API": {},
    "restart a worker in good order": {},
    "kill a backend": {},
    "lose a COMMIT's answer": {"how": "worker"},
    "lose an INSERT's answer": {"how": "worker"},
    "reset the database's connections": {"how": "api"},
    "reset Amazon's connections": {},
    "Amazon": {"lasts": 1.5},
}
AMAZON = (
    "a 429 with a window",
    "503s",
    "refuses some for now",
    "accepts, then drops",
    "an access token refused",
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a run needs to be the same run again, as far as machines can be."""

    seed: int
    lasts: float
    steps: tuple[Step, ...]
    events: int = 0  # of a chaos schedule
    # Of a liveness schedule.
    broken: str = ""
    which: int = 0
    advertisers: int = 0
    workers: int = 2
    posts_a_second: float = 0.0  # of each advertiser
    damages: tuple[str, ...] = ()
    constants: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def posts(self) -> list[Post]:
        """Return the posts in the order of their times."""
        return self._evenly() if self.broken else self._at_random()

    def _at_random(self) -> list[Post]:
        """Sizes and times by the seed, about one event in fifty without a match key."""
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

    def _evenly(self) -> list[Post]:
        """Each advertiser's posts at its rate, over the whole time."""
        luck = random.Random(f"liveness posts {self.seed}")
        found, made = [], 0
        sick = self.which % self.advertisers if self.broken == HANGING else None
        for destination in range(self.advertisers):
            # Many requests of the one that never answers must be under way, or they take no room from others.
            rate = SICK_POSTS_A_SECOND if destination == sick else self.posts_a_second
            at = luck.uniform(0, 1 / rate)
            while at < self.lasts:
                size = luck.choice((1, 1, 1, 2, 5, 20))
                names = tuple(f"ev-{self.seed}-{made + n}" for n in range(size))
                found.append(Post(at, destination, names))
                made += size
                at += luck.uniform(0.4, 1.6) / rate
        return sorted(found, key=lambda post: post.at)

    def parts(self) -> tuple[list[Post], list[Post]]:
        """Return the posts of baseline and storm, and those of the quiet part, each from second 0 on."""
        begins = BASELINE_S + STORM_S
        posts = self.posts()
        after = [replace(post, at=post.at - begins) for post in posts if post.at >= begins]
        return [post for post in posts if post.at < begins], after

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

    def __str__(self) -> str:
        if not self.broken:
            return f"{len(self.steps)} faults"
        sizes = f"{self.advertisers} advertisers, {self.workers} workers"
        return f"{self.broken}; {', '.join(self.damages)}; {sizes}"

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> "Schedule":
        stored = json.loads(path.read_text())
        steps = tuple(Step(**step) for step in stored.pop("steps"))
        return cls(**{**stored, "damages": tuple(stored.get("damages", ())), "steps": steps})


def draw(seed: int, events: int) -> Schedule:
    """Return the chaos schedule of a seed."""
    luck = random.Random(f"schedule {seed}")
    lasts = round(4.0 + events / 600, 1)
    names = sorted(ACTIONS)
    actions = luck.choices(names, weights=[ACTIONS[name].weight for name in names], k=luck.randint(3, 7))
    steps = [
        Step(round(luck.uniform(0.3, lasts), 2), action, luck.randrange(12), **ACTIONS[action].draws(luck))
        for action in actions
    ]
    return Schedule(seed, lasts, tuple(sorted(steps, key=lambda step: step.at)), events)


def draw_liveness(seed: int) -> Schedule:
    """Return the liveness schedule of a seed."""
    luck = random.Random(f"liveness {seed}")
    # Neighbours share their constants, since the start of processes is what a run costs most.
    shared = random.Random(f"liveness constants {seed // SHARED_BY}")
    workers = shared.choice((1, 2, 2, 3))
    values, settings = constants.draw(shared)
    may_break = {kind: weight for kind, weight in BROKEN.items() if workers > 1 or kind != FROZEN_WORKER}
    broken = luck.choices(list(may_break), weights=list(may_break.values()))[0]
    steps = []
    # What ends a connection or its process would also end a half-open connection.
    drawn = sorted(PASSING) if "half-open" not in broken else ["Amazon", "reset Amazon's connections"]
    if workers == 1:
        # The start of a process takes an unknown time, and no other process could continue meanwhile.
        drawn = [action for action in drawn if "a worker" not in action]
    # An advertiser that begins to hang is worst until its breaker opens: nothing else may disturb that time.
    for _ in range(0 if broken == HANGING else luck.randint(0, 2)):
        action = luck.choice(drawn)
        more = dict(PASSING[action])
        if action == "Amazon":
            more["how"] = luck.choice(AMAZON)
        at = round(luck.uniform(0.0, STORM_S - 1.0), 2)
        steps.append(Step(at, action, luck.randrange(12), **more))
    steps += _rare_steps(seed, workers, broken)
    return Schedule(
        seed=seed,
        lasts=BASELINE_S + STORM_S + QUIET_S,
        advertisers=luck.randint(6, 10),
        workers=workers,
        posts_a_second=luck.choice((2.0, 4.0)),
        broken=broken,
        which=luck.randrange(12),
        damages=tuple(luck.sample(KINDS, k=luck.randint(1, 3))),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        constants=values,
        settings=settings,
    )


def _rare_steps(seed: int, workers: int, broken: str) -> list[Step]:
    """Return steps for states that the usual faults do not reach, drawn apart from everything else."""
    luck = random.Random(f"liveness rare steps {seed}")
    at, which = round(luck.uniform(0.0, STORM_S - 1.0), 2), luck.randrange(12)
    may_drop, may_kill = luck.random() < RARELY, luck.random() < RARELY
    if may_kill and workers > 1 and broken in {NOTHING, FROZEN_API}:
        return [Step(at, "kill a worker that refreshes a token", which)]
    return [Step(at, "drop the functions of flushes")] if may_drop and broken != HANGING else []
