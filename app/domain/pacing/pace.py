"""The pace of a lane: when it may send its next request, and how many requests may be in flight. Pure.

`Pace` is the complete state; `after` is its one transition for each reply of Amazon:

    2xx, 400, 413, an undocumented status    one more request may be in flight; the breaker closes
    429                                      the lane waits; the share of 429s decides on its rate
    404, 408, 5xx, no or a broken response   one request in flight; several failures open the breaker
    401, 403                                 no change: they say nothing about the lane

Rate and burst are enforced by the generic cell rate algorithm (GCRA). Times are seconds on one monotonic
clock.
"""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean
from typing import Final, assert_never

from app.domain.destination import RequestRate
from app.domain.outcomes import outcome
from app.domain.pacing.rate_estimator import RateEstimate

LONGEST_THROTTLE_S: Final = 15.0  # after a 429 without Retry-After
SLOW_S: Final = 1.0  # a lane is slow if its last reply took so long, or a request is in flight for so long
WINDOW: Final = 20  # the error rate counts the last requests, up to this number
MIN_FAILURES: Final = 3  # the breaker opens only after so many failures in the window
OPEN_ABOVE: Final = 0.5  # error rate at which the breaker opens
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
SINGLE_FAILURE_WAIT_S: Final = 0.25  # after a failure that does not open the breaker


class BreakerState(StrEnum):
    """The state of a breaker in the statistics of a lane."""

    CLOSED = "closed"  # the lane may send
    OPEN = "open"  # it may not send
    HALF_OPEN = "half_open"  # it may send a single probe


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The circuit breaker of a lane. When it is open, the next probe may be sent at `until`.

    `recent` has a flag for each of the last requests, the newest last: True for a failure. Times are
    monotonic seconds.
    """

    recent: tuple[bool, ...] = ()
    opened: int = 0  # consecutive openings without a success: the last request failed then
    until: float = 0.0

    def succeeded(self) -> "CircuitBreaker":
        """Return the breaker after a success. If it was open, it closes and forgets all earlier failures."""
        if self.opened:
            return CircuitBreaker((False,))
        return replace(self, recent=(*self.recent[1 - WINDOW :], False))

    def failed(self, now: float, *, jitter: float) -> "CircuitBreaker":
        """Return the breaker after a failure. The wait doubles with each failed probe.

        `jitter` is in [0, 1).
        """
        recent = (*self.recent[1 - WINDOW :], True)
        if not self.opened and (sum(recent) < MIN_FAILURES or sum(recent) < OPEN_ABOVE * len(recent)):
            return replace(self, recent=recent, until=now + SINGLE_FAILURE_WAIT_S * (0.5 + jitter / 2))
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.opened, 6)) * (0.5 + jitter / 2)
        return CircuitBreaker(recent, self.opened + 1, max(self.until, now + wait))


@dataclass(frozen=True, slots=True)
class PaceSummary:
    """What the row of a lane shows of its pace: the estimated rate, the breaker, the share of failures.

    `probe_in` is the number of seconds until an open breaker lets the next probe pass. Summaries with equal
    `rounded` values need not both be stored.
    """

    learned_rate: float | None
    breaker: BreakerState
    error_rate: float
    probe_in: float | None = None
    rounded: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """The state of a lane's pace.

    `limit` is the lowest configured limit. `arrival` is the theoretical arrival time of GCRA: the bucket is
    full then. `blocked_until` is the end of the last Retry-After window. `throttles` counts 429s in a row.
    `estimate` estimates Amazon's limit from 429s. `rates_elsewhere` are the rates to which Amazon limits
    other organisations on the same account. `is_slow` means that the last reply took SLOW_S or longer.
    """

    limit: RequestRate
    arrival: float = 0.0
    blocked_until: float = 0.0
    throttles: int = 0
    in_flight_limit: int = 1  # 1 also while the breaker is open, for the probe
    estimate: RateEstimate = field(default_factory=RateEstimate)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    rates_elsewhere: tuple[float, ...] = ()
    is_slow: bool = False

    @property
    def allowed(self) -> RequestRate:
        """Return the configured limit, or the estimated rate without bursts if that is lower.

        If Amazon limits other organisations too, the rate is at most the mean of all rates. Without this
        rule, the 429s of an organisation that starts to send leave it almost nothing of Amazon's limit.
        """
        rate = self.estimate.rate or self.limit.requests_per_second
        rate = min(rate, fmean((rate, *self.rates_elsewhere)))
        if rate >= self.limit.requests_per_second:
            return self.limit
        # Requests are spaced evenly, because it is unknown which burst Amazon accepts.
        return RequestRate(rate, 1)

    @property
    def paused_until(self) -> float:
        """The time until which nothing may be sent, because of a 429 or a failure."""
        return max(self.blocked_until, self.breaker.until)

    def ready_at(self, now: float) -> float:
        """Return the earliest time from `now` on at which a request may be sent."""
        allowed = self.allowed
        slack = (allowed.burst - 1) / allowed.requests_per_second
        return max(now, self.paused_until, self.arrival - slack)

    def sent(self, now: float) -> "Pace":
        """Return the pace after a request was sent at `now`."""
        return replace(self, arrival=max(self.arrival, now) + 1 / self.allowed.requests_per_second)

    def after(self, reply: outcome.Reply, now: float, *, sent_at: float, jitter: float, cap: int) -> "Pace":
        """Return the pace after the reply to a request that was sent at `sent_at`.

        A success allows one more request in flight, up to `cap`. `jitter` is in [0, 1).
        """
        is_slow, estimate, limit = now - sent_at >= SLOW_S, self.estimate, self.limit.requests_per_second
        match reply:
            case outcome.PerItemReply() | outcome.Divisible() | outcome.Unexpected():
                return replace(
                    self,
                    throttles=0,
                    in_flight_limit=min(cap, self.in_flight_limit + 1),
                    estimate=estimate.answered(now, sent_at=sent_at, limit=limit, throttled=False),
                    breaker=self.breaker.succeeded(),
                    is_slow=is_slow,
                )
            case outcome.Throttled(wait):
                return replace(
                    self,
                    blocked_until=max(self.blocked_until, now + self._throttle_wait(wait, jitter)),
                    throttles=self.throttles + 1,
                    in_flight_limit=1,
                    estimate=estimate.answered(
                        now, sent_at=sent_at, limit=limit, throttled=True, retry_after=wait
                    ),
                    is_slow=is_slow,
                )
            case outcome.Missing() | outcome.ServerError() | outcome.TransportError():
                breaker = self.breaker.failed(now, jitter=jitter)
                return replace(self, in_flight_limit=1, breaker=breaker, is_slow=is_slow)
            case outcome.Unauthorized() | outcome.Forbidden() | outcome.NotSent():
                return replace(self, is_slow=is_slow)
            case _:
                assert_never(reply)

    def _throttle_wait(self, retry_after: float | None, jitter: float) -> float:
        """Return the wait after a 429 in seconds.

        It is `retry_after`, plus up to a tenth of jitter so that lanes do not all resume at the same time.
        Without `retry_after` it is the interval between requests at the current rate, but at least a tenth of
        a second. From the third 429 in a row on, it doubles with each, up to LONGEST_THROTTLE_S.
        """
        if retry_after is not None:
            return retry_after * (1 + jitter / 10)
        doubled = 2.0 ** min(max(self.throttles - 1, 0), 8)
        interval = max(0.1, 1 / self.allowed.requests_per_second)
        return min(LONGEST_THROTTLE_S, interval * doubled) * (1 + jitter / 4)

    def summary(self, now: float) -> PaceSummary:
        """Return what the row of the lane shows."""
        breaker, rate, state, probe_in = self.breaker, self.estimate.rate, BreakerState.CLOSED, None
        if breaker.opened:
            state = BreakerState.OPEN if now < breaker.until else BreakerState.HALF_OPEN
            probe_in = max(0.0, breaker.until - now)
        error_rate = sum(breaker.recent) / len(breaker.recent) if breaker.recent else 0.0
        # A difference of 5 % of the rate is not shown. Each opening sets the time of another probe.
        rounded = None if rate is None else round(math.log(rate) * 20)
        return PaceSummary(
            rate, state, error_rate, probe_in, (rounded, state, round(error_rate, 1), breaker.opened)
        )

    def retried(self, now: float) -> "Pace":
        """Return the pace after a person asked to retry: an open breaker lets a probe pass at `now`.

        A pause that Amazon asked for stays.
        """
        return replace(self, breaker=replace(self.breaker, until=min(self.breaker.until, now)))
