"""The state of a lane in the worker that owns it: lease, pace, breaker, due events and requests in flight."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.outcome import Reply
from app.domain.pacing.order import FULL, FairQueue, QueueKey, Turns, Watermarks, WorkKind
from app.domain.pacing.pace import SLOW_S, Pace, PaceSummary
from app.store.due_work import DestinationQueue, LanePoll
from app.store.lanes import LaneLease

if TYPE_CHECKING:  # `claim` imports this module
    from app.delivery.claim import RequestContent

POLL_EVERY_S = 1.0  # how often a worker reads which lanes have due events, in addition to notifications
LONGEST_BACKOFF_S = 30.0  # the longest back-off of a queue whose due events cannot be claimed
_FIRST_BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Backoff:
    """The time until which a queue is skipped, because `failures` claims in a row failed."""

    until: float
    failures: int


_NO_BACKOFF = Backoff(-math.inf, 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The destination and the kind of request that a lane sends next."""

    queue: DestinationQueue
    kind: WorkKind
    others_due: bool
    watermarks: Mapping[QueueKey, datetime]  # where the poll and the claim start their scan for due batches


class Alarms:
    """The times at which the lanes of a worker are served, so that waiting lanes cost nothing."""

    def __init__(self) -> None:
        # Each alarm has a number, so that equal times have an order.
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
    pace: Pace
    # Those of the worker, shared by its lanes.
    alarms: Alarms = field(default_factory=Alarms)
    turns: Turns = field(default_factory=Turns)
    watermarks: Watermarks = field(default_factory=Watermarks)
    is_lost: bool = False  # released, or owned by another worker
    # The next request.
    wake_at: float | None = None
    claiming: bool = False
    waits_for_token: bool = False  # the claim waits for the token server
    announced_events: int = 0  # number of new events, from notifications since the last claim
    _turn: float = -math.inf  # when the turn of the next request begins, if it is small
    _sent_at: float = -math.inf  # when the last request began
    erasures: int = -1  # number of requested erasures that the next request's events are checked against
    # The requests in flight.
    batches_in_flight: set[BatchId] = field(default_factory=set)
    exceptions_in_flight: set[tuple[BatchId, int]] = field(default_factory=set)
    _begun_at: list[float] = field(default_factory=list)
    # Which queue is next.
    _fair_queue: FairQueue = field(default_factory=FairQueue)
    _last_served: dict[WorkKind, DestinationNumber] = field(default_factory=dict)
    _backoffs: dict[tuple[DestinationNumber, WorkKind], Backoff] = field(default_factory=dict)
    # For each queue, the batches of its last claim that led to no request.
    _unsent: dict[tuple[DestinationNumber, WorkKind], frozenset[BatchId]] = field(default_factory=dict)
    recorded: tuple[object, ...] = ()  # last values written to the lane's row

    # --- Waking

    def wake(self, at: float) -> None:
        """Ask the dispatcher to serve the lane no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at
            self.alarms.add(at, self)

    def announce(self, events: int, now: float) -> None:
        """Count newly stored events, and wake the lane when their request may be sent."""
        if events and not self.announced_events:
            self._turn = self.turns.take(now) if events < FULL else now
        self.announced_events += events
        if not self.claiming:
            self.wake(self._merged_at(now))

    def _merged_at(self, now: float) -> float:
        """Return when to send the announced events: now if they fill a request, else at its turn."""
        if self.announced_events >= FULL:
            return now
        return max(now, self._turn, self._sent_at + self.turns.window)

    def retry(self, now: float) -> None:
        """Serve the lane now, because a person asked to retry. An open breaker lets a probe pass."""
        self.pace = self.pace.retried(now)
        if not self.claiming:
            self.wake(now)

    def schedule(self, due_in: float, now: float) -> None:
        """Wake the lane for events that a poll found, unless it wakes anyway.

        Events that are due now may be new: their notification is on its way, or lost.
        """
        if self.wake_at is not None or self.claiming:
            return
        if due_in <= 0 and self.pace.paused_until <= now:
            self.announce(1, now)
        else:
            self.wake(max(now + due_in, self.pace.paused_until))

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
        return not self.claiming and not self.is_lost and len(self._begun_at) < self.pace.in_flight_limit

    def begin_claim(self, now: float) -> None:
        """Prepare the next request. Another claim begins only after this one ended."""
        if self.announced_events and self._turn > now:
            self.turns.give_back()
        self.wake_at, self.claiming, self.announced_events = None, True, 0

    def wait_for_token(self) -> None:
        """Leave the request slot to other lanes while the token server is called."""
        self.waits_for_token = True

    def end_claim(self, now: float) -> None:
        """Let the next claim begin, when its events are due."""
        self.claiming = self.waits_for_token = False
        if self.announced_events:
            self.wake(self._merged_at(now))

    def select(
        self, poll: LanePoll, watermarks: Mapping[QueueKey, datetime], started_at: float, now: float
    ) -> Selection | None:
        """Take over what a poll read, and choose the next request.

        `poll` was read from `watermarks` on, between `started_at` and `now`. Destinations with the same kind
        of work take turns, in the order of their numbers. Returns None if nothing is due, or if the rate
        limit does not allow a request now. The lane then wakes when this changes, unless the next poll comes
        first.
        """
        self.watermarks.note_poll(started_at, now)
        self.erasures = poll.erasures
        limit = poll.limit or self.pace.limit
        if (limit, poll.rates_elsewhere) != (self.pace.limit, self.pace.rates_elsewhere):
            self.pace = replace(self.pace, limit=limit, rates_elsewhere=poll.rates_elsewhere)
        due_in = {
            queue.number: self._due_in(queue, now) if self._backoffs else queue.due_in
            for queue in poll.queues
        }
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
        if (ready_at := self.pace.ready_at(now)) > now:
            self.wake(ready_at)
            return None
        ready = [queue for queue in poll.queues if due_in[queue.number].get(kind, 1.0) <= 0]
        next_ones = [queue for queue in ready if queue.number > self._last_served.get(kind, 0)]
        return Selection((next_ones or ready)[0], kind, len(due) > 1, watermarks)

    def _due_in(self, queue: DestinationQueue, now: float) -> Mapping[WorkKind, float]:
        """Return in how many seconds each kind of request of a queue is due, including back-offs."""
        return {
            kind: max(seconds, self._backoffs.get((queue.number, kind), _NO_BACKOFF).until - now)
            for kind, seconds in queue.due_in.items()
        }

    # --- Queues that cannot be served

    def back_off(self, number: DestinationNumber, kind: WorkKind, now: float) -> Backoff:
        """Skip a queue because its events cannot be claimed. Each failure in a row doubles the back-off.

        Another failure within LONGEST_BACKOFF_S after the end of a back-off counts as one in a row.
        """
        previous = self._backoffs.get((number, kind), _NO_BACKOFF)
        failures = 1 + (previous.failures if previous.until + LONGEST_BACKOFF_S > now else 0)
        wait = min(LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
        backoff = self._backoffs[number, kind] = Backoff(now + wait, failures)
        return backoff

    def is_backed_off(self, number: DestinationNumber, kind: WorkKind, now: float) -> bool:
        """Return whether a queue is skipped at `now`."""
        return self._backoffs.get((number, kind), _NO_BACKOFF).until > now

    def exclude(self, number: DestinationNumber, until: float) -> None:
        """Skip all queues of a destination until a time, so that other destinations are served."""
        self._backoffs |= {(number, kind): Backoff(until, 0) for kind in WorkKind}

    def note_unsent(self, number: DestinationNumber, kind: WorkKind, unsent: frozenset[BatchId]) -> bool:
        """Note the batches of a claim that led to no request. Return whether the claim made progress.

        If they equal those of the queue's last claim without a request, writing their end had no effect.
        """
        previous, self._unsent[number, kind] = self._unsent.get((number, kind)), unsent
        return unsent != previous

    # --- Requests in flight

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight or in preparation."""
        return not self._begun_at and not self.claiming

    def begin_request(self, content: "RequestContent", now: float, *, deadline: float) -> bool:
        """Note a request whose attempt is stored. Its events are not claimed again while it is in flight.

        Returns whether it may be sent. It may not if something paused the lane since its claim, or if the
        lease ends before `deadline`.
        """
        queue, kind = content.queue.number, content.kind
        self._begun_at.append(now)
        self._sent_at = now
        self.batches_in_flight.update(content.batches)
        self.exceptions_in_flight.update(content.exceptions)
        self._backoffs.pop((queue, kind), None)
        self._unsent.pop((queue, kind), None)
        self._last_served[kind] = queue
        self._fair_queue = self._fair_queue.served(kind, now, self.pace.allowed.requests_per_second)
        is_second_probe = self.pace.breaker.opened > 0 and len(self._begun_at) > 1
        may_send = self.pace.paused_until <= now and not is_second_probe and deadline < self.owned_until
        if may_send:
            self.pace = self.pace.sent(now)
        if content.has_more:
            self.wake(self.pace.ready_at(now))
        return may_send

    def hold(self, batches: Iterable[BatchId], exceptions: Iterable[tuple[BatchId, int]]) -> None:
        """Claim these events no more: a former owner may still be sending them."""
        self.batches_in_flight.update(batches)
        self.exceptions_in_flight.update(exceptions)

    def free(self, batches: Iterable[BatchId], exceptions: Iterable[tuple[BatchId, int]]) -> None:
        """Let these events be claimed again."""
        self.batches_in_flight.difference_update(batches)
        self.exceptions_in_flight.difference_update(exceptions)

    def replied(self, reply: Reply, now: float, *, sent_at: float, jitter: float, cap: int) -> None:
        """Change the pace after the reply to a request."""
        self.pace = self.pace.after(reply, now, sent_at=sent_at, jitter=jitter, cap=cap)

    def requeue(self, now: float) -> None:
        """Serve the lane again, because events of a request are due again, now or soon."""
        self.wake(max(self.pace.paused_until, self._merged_at(now)))

    def end_request(self, content: "RequestContent", begun_at: float, *, is_settled: bool) -> None:
        """Note the end of a request. If it is not settled, its batches are due as before."""
        self._begun_at.remove(begun_at)
        self.batches_in_flight.difference_update(content.batches)
        self.exceptions_in_flight.difference_update(content.exceptions)
        if not is_settled:
            # They may be due at a time before the new watermark.
            self.watermarks.reset()

    # --- State

    @property
    def in_flight(self) -> int:
        """The number of requests in flight or in preparation. Lanes that wait for a token do not count."""
        return len(self._begun_at) + (self.claiming and not self.waits_for_token)

    def may_hang(self, now: float) -> bool:
        """Return whether the next request may hold its slot for long, as the last one failed or was slow."""
        has_failed = self.pace.breaker.recent[-1:] == (True,)
        return has_failed or self.pace.is_slow or min(self._begun_at, default=now) <= now - SLOW_S

    def record(self, summary: PaceSummary) -> None:
        """Note that the lane's row shows this summary."""
        self.recorded = summary.rounded
