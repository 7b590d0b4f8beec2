"""The state of a lane in the worker that owns it: lease, rate limit, breaker, and requests in flight."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.domain.pacing.circuit_breaker import CircuitBreaker
from app.domain.pacing.fair_queueing import FairQueue, WorkKind
from app.domain.pacing.lane_limits import SLOW_S
from app.domain.pacing.merge_window import ENOUGH, MergeWindow
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.domain.pacing.watermarks import Watermarks
from app.store.lanes import DestinationQueue, LaneLease

POLL_CACHE_S = 0.5  # how long the result of a poll is reused (`cache_poll`)
POLL_EVERY_S = 1.0  # how often a worker reads which lanes have due events, in addition to notifications
LONGEST_BACKOFF_S = 30.0  # the longest back-off of a queue whose due events cannot be claimed
_FIRST_BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Backoff:
    """The time until which a queue is skipped, because `failures` claims in a row failed."""

    until: float
    failures: int


@dataclass(slots=True, eq=False)
class Lane:
    """One owned lane. All times are seconds on this process's monotonic clock.

    `owned_until` is computed before the lease is requested, so it is earlier than the lease's end in the
    database.
    """

    lease: LaneLease
    owned_until: float
    limit: RateLimit
    pace: LanePace
    batches_in_flight: set[BatchId] = field(default_factory=set)
    exceptions_in_flight: set[tuple[BatchId, int]] = field(default_factory=set)
    requests: int = 0
    sent_at: list[float] = field(default_factory=list)  # for each request at Amazon, when it was sent
    is_slow: bool = False  # whether the last reply took SLOW_S or longer
    claiming: bool = False
    waits_for_token: bool = False  # the claim waits for the token server
    announced_events: int = 0  # number of new events, from notifications since the last claim
    wake_at: float | None = None
    merge_window: MergeWindow = field(default_factory=MergeWindow)
    served_at: dict[DestinationNumber, float] = field(default_factory=dict)
    fair_queue: FairQueue = field(default_factory=FairQueue)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    watermarks: Watermarks = field(default_factory=Watermarks)
    recorded_state: tuple[float | None, str, float] | None = None  # last values written to the lane's row
    only_queue: DestinationQueue | None = None  # the single queue that the last poll found
    only_queue_until: float = 0.0  # when `only_queue` must be read again
    erasures: int = -1  # number of requested erasures that the next request's events are checked against
    is_lost: bool = False  # released, or owned by another worker
    backoffs: dict[tuple[DestinationNumber, WorkKind], Backoff] = field(default_factory=dict)
    # For each queue, the batches of its last claim that led to no request.
    unsent: dict[tuple[DestinationNumber, WorkKind], frozenset[BatchId]] = field(default_factory=dict)

    @property
    def id(self) -> LaneId:
        return self.lease.id

    @property
    def fence(self) -> int:
        """The lane's fence. Every write of this owner includes it."""
        return self.lease.fence

    def cache_poll(self, queues: Sequence[DestinationQueue], now: float) -> None:
        """Cache the result of a poll if it found a single destination with live events only.

        The next requests then need no poll, because all due events are live and belong to that destination.
        This ends when a settlement of the lane creates retries or a user requests a replay.
        """
        if self.backoffs:
            # Keep the count of failures for a while after a back-off ends, so that the next back-off lasts
            # longer.
            self.backoffs = {
                key: backoff
                for key, backoff in self.backoffs.items()
                if backoff.until + (LONGEST_BACKOFF_S if backoff.failures else 0.0) > now
            }
        is_single = len(queues) == 1 and queues[0].due_in.keys() <= {WorkKind.LIVE} and not queues[0].is_probe
        self.only_queue, self.only_queue_until = (queues[0], now + POLL_CACHE_S) if is_single else (None, 0.0)

    def cached_queue(self, now: float) -> DestinationQueue | None:
        """Return the only queue with due events, from a cached poll. Return None if a new poll is needed."""
        is_cached = (
            now < self.only_queue_until
            and now < self.watermarks.full_scan_at
            and self.ready_at(now) <= now
            and not self.backoffs
        )
        return self.only_queue if is_cached else None

    def back_off(self, number: DestinationNumber, kind: WorkKind, now: float) -> Backoff:
        """Skip a queue because its events cannot be claimed. Each failure in a row doubles the back-off."""
        previous = self.backoffs.get((number, kind))
        failures = previous.failures + 1 if previous is not None else 1
        wait = min(LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
        backoff = self.backoffs[number, kind] = Backoff(now + wait, failures)
        self.only_queue = None
        return backoff

    def is_progress(self, number: DestinationNumber, kind: WorkKind, unsent: frozenset[BatchId]) -> bool:
        """Return whether a claim without a request made progress.

        `unsent` has the batches that the claim settled. If it equals the `unsent` of the queue's last claim
        without a request, settling had no effect.
        """
        previous, self.unsent[number, kind] = self.unsent.get((number, kind)), unsent
        return unsent != previous

    def exclude(self, number: DestinationNumber, until: float) -> None:
        """Skip all queues of a destination until a time, so that other destinations are served."""
        self.backoffs |= {(number, kind): Backoff(until, 0) for kind in WorkKind}
        self.only_queue = None

    def clear_backoff(self, number: DestinationNumber, kind: WorkKind) -> None:
        """Forget the failures of a queue after a successful claim."""
        if self.backoffs or self.unsent:
            self.backoffs.pop((number, kind), None)
            self.unsent.pop((number, kind), None)

    def due_in(self, queue: DestinationQueue, now: float) -> Mapping[WorkKind, float]:
        """Return in how many seconds each kind of request of a queue is due, including back-offs."""
        if not self.backoffs:
            return queue.due_in
        backoffs = {kind: self.backoffs.get((queue.number, kind)) for kind in queue.due_in}
        return {
            kind: seconds if (backoff := backoffs[kind]) is None else max(seconds, backoff.until - now)
            for kind, seconds in queue.due_in.items()
        }

    def observed_state(self, now: float) -> tuple[float | None, str, tuple[float | None, str, float]]:
        """Return the estimated rate, the breaker's state, and a rounded copy of them with the error rate.

        The lane's row is written when the rounded copy changes. A rate is rounded to about 5 %.
        """
        rate, breaker = self.pace.estimate.rate, self.breaker.state(now).value
        rounded_rate = None if rate is None else round(math.log(rate) * 20)
        return rate, breaker, (rounded_rate, breaker, round(self.breaker.error_rate, 1))

    def may_claim(self) -> bool:
        """Return whether another request may be prepared now. The rate limit is not considered."""
        return (
            not self.claiming
            and not self.is_lost
            and self.requests < self.breaker.in_flight(self.pace.in_flight_limit)
        )

    @property
    def in_flight(self) -> int:
        """The number of requests in flight or in preparation. Lanes that wait for a token do not count."""
        return self.requests + (self.claiming and not self.waits_for_token)

    def may_hang(self, now: float) -> bool:
        """Return whether the next request may hold its slot for long, as the last one failed or was slow."""
        return self.breaker.is_failing or self.is_slow or any(now - at >= SLOW_S for at in self.sent_at)

    @property
    def blocked_until(self) -> float:
        """The time until which nothing may be sent, because of a 429 or the breaker."""
        return max(self.pace.blocked_until, self.breaker.until)

    def ready_at(self, now: float) -> float:
        """Return when the next request may be sent, according to rate limit, Retry-After and breaker."""
        return max(self.pace.ready_at(self.limit, now), self.breaker.until)

    def wake(self, at: float) -> None:
        """Ask the dispatcher to serve the lane no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at

    def announce(self, events: int, now: float, take_turn: Callable[[float], float]) -> None:
        """Count newly stored events, and wake the lane at the end of its merge window.

        `take_turn` returns the time from which the worker may send one more small request.
        """
        if not self.announced_events:
            window = self.merge_window if self.claiming else self.merge_window.first_event(now)
            self.merge_window = replace(window, turn=take_turn(now)) if events < ENOUGH else window
        self.announced_events += events
        self.wake_for_announced(now)

    def wake_for_announced(self, now: float) -> None:
        """Wake the lane for events announced since its last claim began. Do nothing during a claim."""
        if self.announced_events and not self.claiming:
            self.wake(self.merge_window.ready_at(now, self.announced_events))

    def schedule(self, due_at: float) -> None:
        """Wake the lane when events are due, unless another time is already set.

        The lane may already wait for the end of its merge window, for its rate limit or for a token.
        """
        if self.wake_at is None and not self.claiming:
            self.wake(max(due_at, self.blocked_until))
