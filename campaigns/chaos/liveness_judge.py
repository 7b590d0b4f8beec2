"""The judge of liveness: while one thing is broken, everything else must go on.

Each rule is one function from the evidence to the violations, as in `tests.crashes.judge`, which judges
safety afterwards. A liveness schedule is judged by what a lane may stand still for and by its usual pace, a
single fault by the bounds of its row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.crashes.evidence import Objection

LONGEST_STANDSTILL_S = 75.0  # at a lease of 60 s; shorter leases shorten it
USUAL_LEASE_S = 60.0
SLACK_S = 3.0  # polls, and a machine that is shared
P99_FLOOR_S = 1.5
P99_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """The events of one advertiser: when each was acknowledged, and when Amazon had taken it."""

    name: str
    accepted: Mapping[str, float]
    delivered: Mapping[str, float]
    is_sick: bool = False  # it is what stays broken
    is_moving: bool = False  # it was owned by what froze, and may stand still until the lease lapses
    has_damage: bool = False


@dataclass(frozen=True, slots=True)
class DamageRecord:
    """One damaged batch: its events with the state of each at the end, and the states that are allowed."""

    kind: str
    states: Mapping[str, str]
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The longest time between two 202s and from a 202 to Amazon, and the reports of which one must come."""

    gap: float
    delay: float
    signs: frozenset[str]


@dataclass(slots=True)
class LivenessEvidence:
    """What a liveness run leaves behind. Moments are seconds since 1970."""

    lanes: Sequence[LaneRecord] = ()
    baseline: tuple[float, float] = (0.0, 0.0)
    quiet: tuple[float, float] = (0.0, 0.0)
    ended: float = 0.0
    lease_s: float = USUAL_LEASE_S
    request_deadline_s: float = 25.0
    noise_s: float = 0.0  # the longest delay of a timer of the campaign itself
    # How much longer the workers took than they computed: they waited for a core that others had.
    stretch: float = 1.0
    declared: set[str] = field(default_factory=set)  # events that are named as damaged
    undeclared: set[str] = field(default_factory=set)  # events reported as unreadable without damage
    damages: Sequence[DamageRecord] = ()
    unfinished_erasures: Sequence[str] = ()
    unanswered: set[str] = field(default_factory=set)  # offered while an API was frozen, never answered
    unexpected: list[str] = field(default_factory=list)  # answers that no caller may get
    misplaced: Sequence[str] = ()  # events that were sent to another advertiser
    bounds: Bounds | None = None
    intake: Sequence[float] = ()  # when each event was acknowledged
    signs: set[str] = field(default_factory=set)  # what the service reported

    @property
    def longest_standstill(self) -> float:
        scaled = LONGEST_STANDSTILL_S * self.lease_s / USUAL_LEASE_S
        return scaled + SLACK_S * self.stretch + 2 * self.noise_s

    @property
    def gap(self) -> float:
        """The longest time between two 202s."""
        times = pairwise(sorted(self.intake))
        return max((after - before for before, after in times), default=float("inf"))

    @property
    def delay(self) -> float:
        """The longest time from a 202 to Amazon, of the lanes that the fault does not touch."""
        return max(
            (
                lane.delivered.get(event, self.ended) - at
                for lane in self.lanes
                if not lane.is_sick
                for event, at in lane.accepted.items()
            ),
            default=0.0,
        )


def judge(seen: LivenessEvidence) -> list[Objection]:
    """Return every broken promise; an empty list is an acquittal."""
    return [Objection(rule.__name__, about) for rule in RULES for about in rule(seen)]


def healthy_lanes_progress(seen: LivenessEvidence) -> Iterator[str]:
    """No healthy lane in which something waits stands still for longer than a lease and a quarter."""
    for lane in seen.lanes:
        if lane.is_sick or seen.bounds is not None:
            continue
        longest, at = standstill(lane, seen.ended, seen.declared)
        if longest > seen.longest_standstill:
            yield (
                f"{lane.name} stood still for {longest:.1f} s from {at - seen.baseline[0]:.1f} s on, "
                f"allowed {seen.longest_standstill:.1f} s"
            )


def standstill(lane: LaneRecord, ended: float, declared: set[str]) -> tuple[float, float]:
    """Return the longest time in which something waited and nothing was delivered, and when it began."""
    steps = sorted(
        [(at, 1, event) for event, at in lane.accepted.items() if event not in declared]
        + [(at, 0, event) for event, at in lane.delivered.items() if event in lane.accepted]
    )
    waiting: set[str] = set()
    early: set[str] = set()  # delivered before the caller had read the acknowledgement
    since, longest, begun = 0.0, 0.0, 0.0
    for at, is_accepted, event in [*steps, (ended, 2, "")]:
        if waiting and at - since > longest:
            longest, begun = at - since, since
        if is_accepted == 1:
            if event in early:
                continue
            since = at if not waiting else since
            waiting.add(event)
        elif is_accepted == 0:
            early.add(event)
            waiting.discard(event)
            since = at
    return longest, begun


def healthy_lanes_keep_their_pace(seen: LivenessEvidence) -> Iterator[str]:
    """With only the broken thing broken, p99 of every other lane is what it was before, within a bound."""
    for lane in seen.lanes:
        if lane.is_sick or lane.is_moving or lane.has_damage:
            continue
        before, after = p99(lane, *seen.baseline), p99(lane, *seen.quiet, ended=seen.ended)
        usual = max(P99_FLOOR_S, P99_FACTOR * (before or 0.0))
        # Less than a request's deadline, or waiting for one that hangs would go unseen on a busy machine.
        bound = max(P99_FLOOR_S, min(usual * seen.stretch, seen.request_deadline_s * 0.8)) + 2 * seen.noise_s
        if after is not None and after > bound:
            yield f"{lane.name}: p99 {after:.2f} s, before {before or 0.0:.2f} s, allowed {bound:.2f} s"


def p99(lane: LaneRecord, since: float, until: float, *, ended: float | None = None) -> float | None:
    """Return the 99th percentile of the waits for delivery of what was acknowledged in this time."""
    waits = sorted(
        over - at
        for event, at in lane.accepted.items()
        if since <= at < until and (over := lane.delivered.get(event, ended)) is not None
    )
    return waits[min(len(waits) - 1, int(len(waits) * 0.99))] if waits else None


def accepted_is_delivered_or_named(seen: LivenessEvidence) -> Iterator[str]:
    """What was accepted for a healthy lane is delivered, or named as damaged, while the thing is broken."""
    for lane in seen.lanes:
        if lane.is_sick:
            continue
        missing = sorted(lane.accepted.keys() - lane.delivered.keys() - seen.declared)
        if missing:
            yield f"{lane.name}: {len(missing)} events neither delivered nor named: {', '.join(missing[:4])}"


def damage_is_named(seen: LivenessEvidence) -> Iterator[str]:
    """Exactly the damaged events are named unreadable, or otherwise declared; nothing else is."""
    for damage in seen.damages:
        wrong = {event: state for event, state in damage.states.items() if state not in damage.allowed}
        if wrong:
            shown = ", ".join(f"{event} {state}" for event, state in sorted(wrong.items())[:3])
            yield f"{damage.kind}: {len(wrong)} of {len(damage.states)} events: {shown}"
    if seen.undeclared:
        yield f"named unreadable, never damaged: {', '.join(sorted(seen.undeclared)[:4])}"


def erasures_finish(seen: LivenessEvidence) -> Iterator[str]:
    """Every erasure is finished, in a liveness schedule while the thing is broken."""
    for erasure in seen.unfinished_erasures:
        yield f"{erasure} is still under way"


def callers_are_answered(seen: LivenessEvidence) -> Iterator[str]:
    """Every post is answered by the API processes that are left, within the caller's patience."""
    if seen.unanswered:
        yield f"{len(seen.unanswered)} events never answered: {', '.join(sorted(seen.unanswered)[:4])}"


def answers_are_expected(seen: LivenessEvidence) -> Iterator[str]:
    """No route answers 500, and no event is rejected that a healthy service accepts."""
    yield from seen.unexpected


def only_its_own_advertiser(seen: LivenessEvidence) -> Iterator[str]:
    """No event is sent to another advertiser than that of its destination."""
    for event in seen.misplaced:
        yield f"{event} was sent to another advertiser"


def bounds_hold(seen: LivenessEvidence) -> Iterator[str]:
    """Intake and the advertisers that a single fault does not touch go on within the bounds of its row."""
    if seen.bounds is not None:
        # On a machine without a free core, everything takes as much longer as processes wait for one.
        stretch = max(1.0, seen.stretch / 2)
        if seen.gap > seen.bounds.gap * stretch:
            yield f"gap above {seen.bounds.gap * stretch:.0f} s"
        if seen.delay > seen.bounds.delay * stretch:
            yield f"delay above {seen.bounds.delay * stretch:.0f} s"


def a_fault_is_reported(seen: LivenessEvidence) -> Iterator[str]:
    """The service reports a single fault, if its row demands it."""
    if seen.bounds is not None and seen.bounds.signs and not seen.bounds.signs & seen.signs:
        yield "nothing reported it"


# Rules whose bounds are times: on a machine without a free core they say nothing.
TIMED = frozenset(
    {
        "healthy_lanes_progress",
        "healthy_lanes_keep_their_pace",
        "accepted_is_delivered_or_named",
        "erasures_finish",
        "callers_are_answered",
        "the_run_ends",
    }
)

Rule = Callable[[LivenessEvidence], Iterator[str]]
RULES: tuple[Rule, ...] = (
    healthy_lanes_progress,
    healthy_lanes_keep_their_pace,
    accepted_is_delivered_or_named,
    damage_is_named,
    erasures_finish,
    callers_are_answered,
    answers_are_expected,
    only_its_own_advertiser,
    bounds_hold,
    a_fault_is_reported,
)
