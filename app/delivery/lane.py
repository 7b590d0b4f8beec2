"""A lane as its owner knows it: fence, lease, pace, and what is in flight."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.domain.pacing.circuit_breaker import CircuitBreaker
from app.domain.pacing.fair_queueing import FairQueue, WorkKind
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.domain.pacing.watermarks import Watermarks
from app.store.lanes import DestinationQueue, LaneLease

BELIEVED_S = 0.5  # how long a look is believed that found one destination with live events alone
POLL_EVERY_S = 1.0  # how often it is asked which lanes have work; notices only make it sooner
LONGEST_BACKOFF_S = 30.0  # of a queue whose due work cannot be claimed
_FIRST_BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Backoff:
    """A queue of a destination that is left out until then; `failures` in a row led to it."""

    until: float
    failures: int


@dataclass(slots=True, eq=False)
class Lane:
    """One owned lane. `owned_until` and all other times are seconds on this process's monotonic clock.

    `owned_until` was taken before the lease was asked for, so that it never outlives the database's own.
    """

    held: LaneLease
    owned_until: float
    limit: RateLimit
    pace: LanePace
    batches_in_flight: set[BatchId] = field(default_factory=set)
    exceptions_in_flight: set[tuple[BatchId, int]] = field(default_factory=set)
    requests: int = 0
    claiming: bool = False
    waits_for_token: bool = False  # while claiming: the token server is being asked
    announced: int = 0  # events that notices spoke of since the last claim
    wake_at: float | None = None
    claimed_at: float = float("-inf")  # of the last request
    served: dict[DestinationNumber, float] = field(default_factory=dict)
    turns: FairQueue = field(default_factory=FairQueue)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    watermarks: Watermarks = field(default_factory=Watermarks)
    noted: tuple[float | None, str, float] | None = None  # what its row was last told of it
    only: DestinationQueue | None = (
        None  # the one queue that may owe anything, where the last look found but one
    )
    only_until: float = 0.0  # how long that is believed
    erasures: int = -1  # the number under which its next load is judged
    given_up: bool = False
    backoffs: dict[tuple[DestinationNumber, WorkKind], Backoff] = field(default_factory=dict)
    # Named by the last claim of a queue, where it gave no request.
    unsent: dict[tuple[DestinationNumber, WorkKind], frozenset[BatchId]] = field(default_factory=dict)

    @property
    def id(self) -> LaneId:
        """Return the lane's id."""
        return self.held.id

    @property
    def fence(self) -> int:
        """Return the number that every write of ours must name."""
        return self.held.fence

    def looked(self, queues: Sequence[DestinationQueue], now: float) -> None:
        """Note what a look found: with one active destination that owes live events alone, or nothing.

        Retries come of our own settlements, so until one makes some, or a replay is asked for, whatever is
        due is that destination's and live.
        """
        if self.backoffs:
            # Failures are remembered for a while, so that the next one in a row waits longer.
            self.backoffs = {
                key: one
                for key, one in self.backoffs.items()
                if one.until + (LONGEST_BACKOFF_S if one.failures else 0.0) > now
            }
        lone = len(queues) == 1 and queues[0].due_in.keys() <= {WorkKind.LIVE} and not queues[0].is_probe
        self.only, self.only_until = (queues[0], now + BELIEVED_S) if lone else (None, 0.0)

    def known(self, now: float) -> DestinationQueue | None:
        """Return whose live events have the turn, where that is known without a look; else None."""
        is_known = now < self.only_until and now < self.watermarks.from_start_at and self.ready_at(now) <= now
        return self.only if is_known and not self.backoffs else None

    def back_off(self, number: DestinationNumber, service: WorkKind, now: float) -> Backoff:
        """Leave a queue whose due work cannot be claimed out for a while, longer each time in a row."""
        before = self.backoffs.get((number, service))
        failures = before.failures + 1 if before is not None else 1
        wait = min(LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
        made = self.backoffs[number, service] = Backoff(now + wait, failures)
        self.only = None
        return made

    def is_progress(self, number: DestinationNumber, service: WorkKind, unsent: frozenset[BatchId]) -> bool:
        """Tell whether a claim that gave no request names other batches than the last one of the queue."""
        before, self.unsent[number, service] = self.unsent.get((number, service)), unsent
        return unsent != before

    def leave_out(self, number: DestinationNumber, until: float) -> None:
        """Leave all queues of a destination out until then, so that its siblings have their turn."""
        self.backoffs |= {(number, service): Backoff(until, 0) for service in WorkKind}
        self.only = None

    def claimed(self, number: DestinationNumber, service: WorkKind) -> None:
        """Note that a queue's due work could be claimed."""
        if self.backoffs or self.unsent:
            self.backoffs.pop((number, service), None)
            self.unsent.pop((number, service), None)

    def due_in(self, queue: DestinationQueue, now: float) -> Mapping[WorkKind, float]:
        """Return the seconds until each kind of request of a queue is due, backoffs included."""
        if not self.backoffs:
            return queue.due_in
        ends = {service: self.backoffs.get((queue.number, service)) for service in queue.due_in}
        return {
            service: when if (end := ends[service]) is None else max(when, end.until - now)
            for service, when in queue.due_in.items()
        }

    def found(self, now: float) -> tuple[float | None, str, tuple[float | None, str, float]]:
        """Return the learned rate and the breaker's state, and both with the share of failures, rounded.

        A rate that is five per cent from the one that was told is told anew.
        """
        rate, state = self.pace.learned.held, self.breaker.state(now).value
        told = None if rate is None else round(math.log(rate) * 20)
        return rate, state, (told, state, round(self.breaker.error_rate, 1))

    def may_claim(self) -> bool:
        """Tell whether another request may be prepared now, pace aside."""
        return (
            not self.claiming
            and not self.given_up
            and self.requests < self.breaker.in_flight(self.pace.in_flight_limit)
        )

    @property
    def in_flight(self) -> int:
        """Return how many requests are under way or about to be; one that waits for a token is not yet."""
        return self.requests + (self.claiming and not self.waits_for_token)

    @property
    def ready_gate(self) -> float:
        """Return the end of the window in which nothing may leave: a 429's or the breaker's."""
        return max(self.pace.gate, self.breaker.until)

    def ready_at(self, now: float) -> float:
        """Return when the next request may leave: pace, window and breaker together."""
        return max(self.pace.ready_at(self.limit, now), self.breaker.until)

    def wake(self, at: float) -> None:
        """Ask to be looked at no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at

    def owes(self, at: float) -> None:
        """Note that something is due at `at`, for a lane that waits for nothing else.

        One that waits for a moment of its own (a window's end, its pace, a token) is looked at then; one
        whose work is due later than the next poll is left to that.
        """
        if self.wake_at is None and not self.claiming:
            self.wake(max(at, self.ready_gate))
