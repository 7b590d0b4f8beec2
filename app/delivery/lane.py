"""The state of a lane in the worker that owns it: lease, pace, breaker, due events and requests in flight."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heappop, heappush
from itertools import count

from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.outcome import Reply, Throttled
from app.domain.outcomes.settle import PerItem, RetryAll, Settlement
from app.domain.pacing.circuit_breaker import CircuitBreaker
from app.domain.pacing.fair_queueing import FairQueue, WorkKind
from app.domain.pacing.lane_limits import SLOW_S
from app.domain.pacing.merge_window import ENOUGH, MergeWindow
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.domain.pacing.watermarks import Watermarks
from app.store.lanes import DestinationQueue, LaneLease, LanePoll

POLL_CACHE_S = 0.5  # how long the result of a poll is reused (`polled`)
POLL_EVERY_S = 1.0  # how often a worker reads which lanes have due events, in addition to notifications
LONGEST_BACKOFF_S = 30.0  # the longest back-off of a queue whose due events cannot be claimed
_FIRST_BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Backoff:
    """The time until which a queue is skipped, because `failures` claims in a row failed."""

    until: float
    failures: int


@dataclass(frozen=True, slots=True)
class InFlightContent:
    """The events of a request in flight: complete batches, or single exceptions with their positions."""

    batches: frozenset[BatchId] = frozenset()
    exceptions: frozenset[tuple[BatchId, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What the lane's row shows: the estimated rate, the breaker's state, the share of failures."""

    learned_rate: float | None
    breaker: str
    error_rate: float

    @property
    def rounded(self) -> tuple[float | None, str, float]:
        """The row is written when these values change. A rate is rounded to about 5 %."""
        rate = None if self.learned_rate is None else round(math.log(self.learned_rate) * 20)
        return rate, self.breaker, round(self.error_rate, 1)


class Alarms:
    """The times at which the lanes of a worker are served, so that waiting lanes cost nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Lane]] = []
        self._numbers = count()

    def add(self, at: float, lane: "Lane") -> None:
        """Serve a lane at `at`. An earlier alarm of the lane has no effect any more."""
        heappush(self._heap, (at, next(self._numbers), lane))

    def due(self, now: float) -> Iterable["Lane"]:
        """Remove and yield the lanes whose time has come, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            at, _, lane = heappop(self._heap)
            if lane.wake_at == at:
                yield lane

    @property
    def next_at(self) -> float:
        """The time of the next alarm."""
        return self._heap[0][0] if self._heap else math.inf


@dataclass(slots=True, eq=False)
class Lane:
    """One owned lane. All times are seconds on this process's monotonic clock.

    `owned_until` is computed before the lease is requested, so it is earlier than the lease's end in the
    database. Only the methods of this class change a field.
    """

    lease: LaneLease
    owned_until: float
    limit: RateLimit
    pace: LanePace
    alarms: Alarms = field(default_factory=Alarms)
    merge_window: MergeWindow = field(default_factory=MergeWindow)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    watermarks: Watermarks = field(default_factory=Watermarks)
    is_lost: bool = False  # released, or owned by another worker
    # The next request.
    wake_at: float | None = None
    claiming: bool = False
    waits_for_token: bool = False  # the claim waits for the token server
    announced_events: int = 0  # number of new events, from notifications since the last claim
    erasures: int = -1  # number of requested erasures that the next request's events are checked against
    # The requests in flight.
    requests: int = 0
    batches_in_flight: set[BatchId] = field(default_factory=set)
    exceptions_in_flight: set[tuple[BatchId, int]] = field(default_factory=set)
    _begun_at: list[float] = field(default_factory=list)
    _is_slow: bool = False  # whether the last reply took SLOW_S or longer
    # Which queue is next.
    _fair_queue: FairQueue = field(default_factory=FairQueue)
    _served_at: dict[DestinationNumber, float] = field(default_factory=dict)
    _only_queue: DestinationQueue | None = None  # the single queue that the last poll found
    _only_queue_until: float = 0.0  # when `_only_queue` must be read again
    _backoffs: dict[tuple[DestinationNumber, WorkKind], Backoff] = field(default_factory=dict)
    # For each queue, the batches of its last claim that led to no request.
    _unsent: dict[tuple[DestinationNumber, WorkKind], frozenset[BatchId]] = field(default_factory=dict)
    _recorded: tuple[float | None, str, float] | None = None  # last values written to the lane's row

    # --- Waking

    def wake(self, at: float) -> None:
        """Ask the dispatcher to serve the lane no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at
            self.alarms.add(at, self)

    def announce(self, events: int, now: float, take_turn: Callable[[float], float]) -> None:
        """Count newly stored events, and wake the lane at the end of its merge window.

        `take_turn` returns the time from which the worker may send one more small request.
        """
        if not self.announced_events:
            window = self.merge_window if self.claiming else self.merge_window.first_event(now)
            self.merge_window = replace(window, turn=take_turn(now)) if events < ENOUGH else window
        self.announced_events += events
        if not self.claiming:
            self.wake(self.merge_window.ready_at(now, self.announced_events))

    def schedule(self, due_at: float) -> None:
        """Wake the lane when events are due, unless another time is already set.

        The lane may already wait for the end of its merge window, for its rate limit or for a token.
        """
        if self.wake_at is None and not self.claiming:
            self.wake(max(due_at, self.blocked_until))

    # --- The lease

    def renewed(self, until: float) -> None:
        """Note that the lease lasts until `until`."""
        self.owned_until = until

    def lose(self) -> None:
        """Note that another worker owns the lane, or none."""
        self.is_lost = True

    # --- The next claim

    def may_claim(self) -> bool:
        """Return whether another request may be prepared now. The rate limit is not considered."""
        return (
            not self.claiming
            and not self.is_lost
            and self.requests < self.breaker.in_flight(self.pace.in_flight_limit)
        )

    def begin_claim(self) -> None:
        """Prepare the next request. Another claim begins only after this one ended."""
        self.wake_at, self.claiming, self.announced_events = None, True, 0

    def wait_for_token(self) -> None:
        """Leave the request slot to other lanes while the token server is called."""
        self.waits_for_token = True

    def end_claim(self, now: float) -> None:
        """Let the next claim begin, when its events are due."""
        self.claiming = self.waits_for_token = False
        if self.announced_events:
            self.wake(self.merge_window.ready_at(now, self.announced_events))

    def polled(self, poll: LanePoll, started_at: float, ended_at: float) -> None:
        """Take over what a poll read.

        Its result is cached if it found a single destination with live events only. The next requests then
        need no poll, because all due events are live and belong to that destination. The cache ends when a
        settlement of the lane creates retries or a user requests a replay.
        """
        self.watermarks = self.watermarks.after_poll(started_at, ended_at)
        self.limit, self.erasures = poll.limit or self.limit, poll.erasures
        if poll.rates_elsewhere != self.pace.rates_elsewhere:
            self.pace = replace(self.pace, rates_elsewhere=poll.rates_elsewhere)
        if self._backoffs:
            # Keep the count of failures for a while after a back-off ends, so that the next back-off lasts
            # longer.
            self._backoffs = {
                key: backoff
                for key, backoff in self._backoffs.items()
                if backoff.until + (LONGEST_BACKOFF_S if backoff.failures else 0.0) > started_at
            }
        queues = poll.queues
        is_single = len(queues) == 1 and queues[0].due_in.keys() <= {WorkKind.LIVE} and not queues[0].is_probe
        self._only_queue, self._only_queue_until = (
            (queues[0], started_at + POLL_CACHE_S) if is_single else (None, 0.0)
        )

    def cached_queue(self, now: float) -> DestinationQueue | None:
        """Return the only queue with due events, from a cached poll. Return None if a new poll is needed."""
        is_cached = (
            now < self._only_queue_until
            and now < self.watermarks.full_scan_at
            and self.ready_at(now) <= now
            and not self._backoffs
        )
        return self._only_queue if is_cached else None

    @property
    def is_cached(self) -> bool:
        """Whether the last poll found a single queue with live events, and nothing ended this since."""
        return self._only_queue is not None

    def select(
        self, queues: Sequence[DestinationQueue], now: float
    ) -> tuple[DestinationQueue, WorkKind, bool] | None:
        """Return the queue and the kind of request to send next, and whether other events are due too.

        The destination that was served longest ago comes first. Returns None if nothing is due, and wakes the
        lane for events that become due before the next poll.
        """
        due_in = {queue.number: self._due_in(queue, now) for queue in queues}
        waits = [seconds for by_kind in due_in.values() for seconds in by_kind.values()]
        if not waits:
            return None
        if (soonest := min(waits)) > 0:
            if soonest <= POLL_EVERY_S:
                self.wake(now + soonest)
            return None
        due = [kind for by_kind in due_in.values() for kind, seconds in by_kind.items() if seconds <= 0]
        kind = self._fair_queue.choose(set(due), now)
        if kind is None:
            self.wake(self._fair_queue.replay_at)
            return None
        ready = [queue for queue in queues if due_in[queue.number].get(kind, 1.0) <= 0]
        selected = min(ready, key=lambda queue: self._served_at.get(queue.number, float("-inf")))
        return selected, kind, len(due) > 1

    def _due_in(self, queue: DestinationQueue, now: float) -> Mapping[WorkKind, float]:
        """Return in how many seconds each kind of request of a queue is due, including back-offs."""
        if not self._backoffs:
            return queue.due_in
        backoffs = {kind: self._backoffs.get((queue.number, kind)) for kind in queue.due_in}
        return {
            kind: seconds if (backoff := backoffs[kind]) is None else max(seconds, backoff.until - now)
            for kind, seconds in queue.due_in.items()
        }

    def scanned(self, key: tuple[DestinationNumber, int], first_due_at: datetime) -> None:
        """Start the next scan of a queue at its first open batch."""
        self.watermarks = self.watermarks.advanced(key, first_due_at)

    # --- Queues that cannot be served

    def back_off(self, number: DestinationNumber, kind: WorkKind, now: float) -> Backoff:
        """Skip a queue because its events cannot be claimed. Each failure in a row doubles the back-off."""
        previous = self._backoffs.get((number, kind))
        failures = previous.failures + 1 if previous is not None else 1
        wait = min(LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
        backoff = self._backoffs[number, kind] = Backoff(now + wait, failures)
        self._only_queue = None
        return backoff

    def is_backed_off(self, number: DestinationNumber, kind: WorkKind, now: float) -> bool:
        """Return whether a queue is skipped at `now`."""
        backoff = self._backoffs.get((number, kind))
        return backoff is not None and backoff.until > now

    def exclude(self, number: DestinationNumber, until: float) -> None:
        """Skip all queues of a destination until a time, so that other destinations are served."""
        self._backoffs |= {(number, kind): Backoff(until, 0) for kind in WorkKind}
        self._only_queue = None

    def note_unsent(self, number: DestinationNumber, kind: WorkKind, unsent: frozenset[BatchId]) -> bool:
        """Note the batches of a claim that led to no request. Return whether the claim made progress.

        If they equal those of the queue's last claim without a request, writing their end had no effect.
        """
        previous, self._unsent[number, kind] = self._unsent.get((number, kind)), unsent
        return unsent != previous

    def clear_backoff(self, number: DestinationNumber, kind: WorkKind) -> None:
        """Forget the failures of a queue after a successful claim."""
        if self._backoffs or self._unsent:
            self._backoffs.pop((number, kind), None)
            self._unsent.pop((number, kind), None)

    # --- Requests in flight

    def begin_request(
        self, queue: DestinationNumber, kind: WorkKind, content: InFlightContent, events: int, now: float
    ) -> None:
        """Note a request whose attempt is stored. Its events are not claimed again while it is in flight."""
        self.requests += 1
        self._begun_at.append(now)
        self.hold(content)
        self._served_at[queue] = now
        self._fair_queue = self._fair_queue.served(kind, now, self.pace.allowed(self.limit).per_second)
        self.merge_window = self.merge_window.sent(now, events)

    def hold(self, content: InFlightContent) -> None:
        """Claim these events no more, because a request with them is in flight."""
        self.batches_in_flight |= content.batches
        self.exceptions_in_flight |= content.exceptions

    def free(self, content: InFlightContent) -> None:
        """Let these events be claimed again."""
        self.batches_in_flight -= content.batches
        self.exceptions_in_flight -= content.exceptions

    def may_send(self, now: float, *, deadline: float) -> bool:
        """Return whether a prepared request may still be sent: nothing blocked the lane meanwhile."""
        is_second_probe = self.breaker.opened > 0 and self.requests > 1
        return self.blocked_until <= now and not is_second_probe and deadline < self.owned_until

    def sending(self, now: float) -> None:
        """Count a request that is sent now."""
        self.pace = self.pace.sent(self.limit, now)

    def replied(
        self, reply: Reply, settlement: Settlement, now: float, *, sent_at: float, jitter: float, cap: int
    ) -> None:
        """Change the pace and the breaker after the reply to a request.

        A 429 blocks the lane. Failures open the breaker. A success allows more requests in flight, up to
        `cap`. Other replies, such as a 401, say nothing about the lane.
        """
        self._is_slow = now - sent_at >= SLOW_S
        match reply, settlement:
            case Throttled(retry_after), _:
                self.pace = self.pace.throttled(
                    self.limit, now, sent_at=sent_at, retry_after=retry_after, jitter=jitter
                )
            case _, RetryAll():
                self.pace, self.breaker = self.pace.failed(), self.breaker.failed(now, jitter=jitter)
            case _, PerItem():
                self.pace = self.pace.succeeded(self.limit, now, sent_at=sent_at, cap=cap)
                self.breaker = self.breaker.succeeded()
            case _:
                pass

    def requeue(self, now: float) -> None:
        """Serve the lane again, because events of a request are due again, now or soon."""
        self._only_queue = None
        self.wake(max(self.blocked_until, self.merge_window.ready_at(now, self.announced_events)))

    def end_request(self, content: InFlightContent, begun_at: float, *, is_settled: bool) -> None:
        """Note the end of a request. If it is not settled, its batches are due as before."""
        self._begun_at.remove(begun_at)
        if not is_settled:
            # They may be due at a time before the new watermark.
            self.watermarks = self.watermarks.reset()
        self.requests -= 1
        self.free(content)

    # --- State

    @property
    def in_flight(self) -> int:
        """The number of requests in flight or in preparation. Lanes that wait for a token do not count."""
        return self.requests + (self.claiming and not self.waits_for_token)

    def may_hang(self, now: float) -> bool:
        """Return whether the next request may hold its slot for long, as the last one failed or was slow."""
        return self.breaker.is_failing or self._is_slow or any(now - at >= SLOW_S for at in self._begun_at)

    @property
    def blocked_until(self) -> float:
        """The time until which nothing may be sent, because of a 429 or the breaker."""
        return max(self.pace.blocked_until, self.breaker.until)

    def ready_at(self, now: float) -> float:
        """Return when the next request may be sent, according to rate limit, Retry-After and breaker."""
        return max(self.pace.ready_at(self.limit, now), self.breaker.until)

    def observed(self, now: float) -> ObservedState:
        """Return what the lane's row shows."""
        return ObservedState(self.pace.estimate.rate, self.breaker.state(now).value, self.breaker.error_rate)

    def is_recorded(self, state: ObservedState) -> bool:
        """Return whether the lane's row shows this state."""
        return state.rounded == self._recorded

    def record(self, state: ObservedState) -> None:
        """Note that the lane's row shows this state."""
        self._recorded = state.rounded
