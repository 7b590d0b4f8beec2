"""The pace of a lane, number by number: rate, burst, Retry-After, requests in flight, circuit breaker."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.destination import RequestRate
from app.domain.outcomes.outcome import (
    Divisible,
    Forbidden,
    Missing,
    NotSent,
    PerItemReply,
    Reply,
    ServerError,
    Throttled,
    TransportError,
    Unauthorized,
    Unexpected,
)
from app.domain.pacing.pace import SLOW_S, BreakerState, CircuitBreaker, Pace
from app.domain.pacing.rate_estimator import RateEstimate

LIMIT = RequestRate(10.0, 3)
NEW = Pace(LIMIT)
ESTIMATED = Pace(LIMIT, estimate=RateEstimate(4.0))  # Amazon accepts four a second


def send(pace: Pace, requests: int, now: float) -> list[float]:
    """Send each request as soon as it may be sent; return the times."""
    sent = []
    for _ in range(requests):
        now = pace.ready_at(now)
        pace = pace.sent(now)
        sent.append(now)
    return sent


def after(pace: Pace, reply: Reply, now: float = 100.0, *, jitter: float = 0.0) -> Pace:
    """Return the pace after an immediate reply, with at most three requests in flight."""
    return pace.after(reply, now, sent_at=now, jitter=jitter, cap=3)


def test_a_full_bucket_sends_its_burst_at_once_and_then_keeps_the_rate() -> None:
    assert send(NEW, 6, 100.0) == pytest.approx([100, 100, 100, 100.1, 100.2, 100.3])


def test_an_idle_time_fills_the_bucket_up_to_its_burst() -> None:
    pace = NEW
    for _ in range(3):
        pace = pace.sent(100.0)
    assert send(pace, 4, 100.15) == pytest.approx([100.15, 100.2, 100.3, 100.4])
    assert send(pace, 4, 200.0) == pytest.approx([200, 200, 200, 200.1])


def test_an_estimated_rate_has_no_burst() -> None:
    assert ESTIMATED.allowed == RequestRate(4.0, 1)
    assert send(ESTIMATED, 3, 100.0) == pytest.approx([100, 100.25, 100.5])


def test_an_estimate_at_the_configured_rate_changes_nothing() -> None:
    assert Pace(LIMIT, estimate=RateEstimate(10.0)).allowed is LIMIT
    assert NEW.allowed is LIMIT


def test_a_blocked_lane_sends_after_its_window() -> None:
    assert replace(NEW, blocked_until=107.0).ready_at(100.0) == 107.0
    assert replace(NEW, blocked_until=90.0).ready_at(100.0) == 100.0


def test_requests_in_flight_grow_one_by_one_and_drop_to_one() -> None:
    pace = NEW
    seen = []
    for _ in range(4):
        pace = after(pace, PerItemReply(()))
        seen.append(pace.in_flight_limit)
    assert seen == [2, 3, 3, 3]
    assert after(pace, ServerError("amazon_error")).in_flight_limit == 1
    throttled = after(pace, Throttled(None))
    assert (throttled.in_flight_limit, throttled.throttles) == (1, 1)
    again = after(throttled, Throttled(None), 101.0)
    assert again.throttles == 2
    assert after(again, PerItemReply(()), 102.0).throttles == 0


@pytest.mark.parametrize(("jitter", "until"), [(0.0, 120.0), (0.5, 121.0)])
def test_a_retry_after_blocks_for_its_time_and_up_to_a_tenth_more(jitter: float, until: float) -> None:
    assert after(NEW, Throttled(20.0), jitter=jitter).blocked_until == pytest.approx(until)


def test_a_shorter_window_does_not_end_a_longer_one() -> None:
    assert after(replace(NEW, blocked_until=500.0), Throttled(1.0)).blocked_until == 500.0


@pytest.mark.parametrize(
    ("throttles", "wait_s"),
    [(0, 2.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 15.0), (9, 15.0), (5000, 15.0)],
)
def test_without_a_retry_after_the_wait_doubles_from_the_second_429_on(throttles: int, wait_s: float) -> None:
    """From the interval at the current rate up to 15 s, plus up to a quarter."""
    slow = RequestRate(0.5, 1)
    for jitter, share in ((0.0, 1.0), (1.0, 1.25)):
        pace = after(Pace(slow, throttles=throttles), Throttled(None), jitter=jitter)
        assert pace.blocked_until - 100 == pytest.approx(wait_s * share)


def test_the_first_wait_is_at_least_a_tenth_of_a_second() -> None:
    """At an estimated rate it is the interval of that rate."""
    for pace, wait_s in (
        (Pace(RequestRate(1000, 1)), 0.1),
        (Pace(RequestRate(5.0, 1)), 0.2),
        (Pace(LIMIT, estimate=RateEstimate(0.5)), 2.0),
    ):
        assert after(pace, Throttled(None)).blocked_until == pytest.approx(100 + wait_s)


def test_destinations_of_a_lane_share_the_lower_limit() -> None:
    """Rate and burst apart."""
    assert RequestRate(10, 3).lowest(RequestRate(5, 8)) == RequestRate(5, 3)
    assert RequestRate(5, 8).lowest(RequestRate(10, 3)) == RequestRate(5, 3)


def test_a_new_lane_has_one_request_in_flight_and_may_send_at_once() -> None:
    assert Pace(LIMIT, 0.0, 0.0, 0, 1, RateEstimate(), CircuitBreaker(), (), False) == NEW
    assert NEW.ready_at(0.0) == 0.0


@pytest.mark.parametrize("reply", [PerItemReply(()), Divisible("", ""), Unexpected(418, "", "")])
def test_any_answer_to_the_events_is_a_success(reply: Reply) -> None:
    """Amazon works, also if it refuses the events."""
    pace = after(replace(NEW, breaker=CircuitBreaker((True,), opened=1)), reply)
    assert (pace.in_flight_limit, pace.breaker.opened) == (2, 0)


@pytest.mark.parametrize("reply", [Missing("", ""), ServerError("amazon_error"), TransportError("timeout")])
def test_a_failure_pauses_the_lane_and_counts_in_its_breaker(reply: Reply) -> None:
    pace = after(replace(NEW, in_flight_limit=3), reply)
    assert (pace.in_flight_limit, pace.breaker.recent) == (1, (True,))
    assert pace.ready_at(100.0) == pace.paused_until == pytest.approx(100.125)


@pytest.mark.parametrize("reply", [Unauthorized(), Forbidden(), NotSent()])
def test_a_refused_sign_in_says_nothing_about_the_lane(reply: Reply) -> None:
    assert after(ESTIMATED, reply) == ESTIMATED


def test_a_lane_is_slow_while_its_last_reply_took_a_second() -> None:
    slow = NEW.after(PerItemReply(()), 100.0 + SLOW_S, sent_at=100.0, jitter=0.0, cap=3)
    assert slow.is_slow
    assert not after(slow, PerItemReply(()), 102.0).is_slow


def broken(*, failures: int, jitter: float = 0.0, now: float = 100.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(failures):
        breaker = breaker.failed(now, jitter=jitter)
    return breaker


def of(*recent: bool) -> CircuitBreaker:
    return CircuitBreaker(recent)


def state(breaker: CircuitBreaker, now: float) -> BreakerState:
    return replace(NEW, breaker=breaker).summary(now).breaker


def error_rate(breaker: CircuitBreaker) -> float:
    return replace(NEW, breaker=breaker).summary(100.0).error_rate


def test_the_third_failure_opens_it() -> None:
    """Two are no reason yet: each is followed by a short wait."""
    assert state(broken(failures=2), 200.0) is BreakerState.CLOSED
    assert broken(failures=2).opened == 0
    assert broken(failures=3).opened == 1


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 0.125), (0.5, 0.1875), (1.0, 0.25)])
def test_a_single_failure_is_followed_by_up_to_a_quarter_of_a_second(jitter: float, wait_s: float) -> None:
    assert broken(failures=1, jitter=jitter).until == pytest.approx(100 + wait_s)


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_the_wait_doubles_with_each_failed_probe_up_to_half_a_minute(jitter: float, share: float) -> None:
    waits, breaker, now = [], broken(failures=2, jitter=jitter, now=0.0), 0.0
    for _ in range(8):
        breaker = breaker.failed(now, jitter=jitter)
        waits.append(breaker.until - now)
        now = breaker.until
    assert waits == pytest.approx([share * wait for wait in (1, 2, 4, 8, 16, 30, 30, 30)])


def test_a_late_failure_does_not_shorten_the_wait() -> None:
    """Several requests were in flight when the breaker opened."""
    breaker = CircuitBreaker(recent=(True,) * 3, opened=3, until=500.0)
    assert breaker.failed(100.0, jitter=0.0).until == 500.0


def test_half_of_the_last_twenty_must_fail() -> None:
    """Older requests do not count."""
    assert of(*[False] * 10, *[True] * 9).failed(0.0, jitter=0.0).opened == 1
    less = of(*[False] * 11, *[True] * 8).failed(0.0, jitter=0.0)
    assert less.opened == 0
    assert (len(less.recent), error_rate(less)) == (20, 0.45)
    # The oldest of twenty leaves the window when another request is counted.
    slides = of(*[False] * 11, *[True] * 9).failed(0.0, jitter=0.0)
    assert (len(slides.recent), slides.opened) == (20, 1)
    assert of(*[True] * 20).succeeded().recent == (*[True] * 19, False)
    assert of(True).succeeded().recent == (True, False)


def test_a_success_closes_it_and_forgets_the_failures() -> None:
    closed = broken(failures=5).succeeded()
    assert closed == CircuitBreaker((False,))
    assert error_rate(closed) == 0.0


def test_states_change_exactly_when_the_wait_is_over() -> None:
    breaker = CircuitBreaker((True,), opened=1, until=7.0)
    assert state(breaker, 6.9) is BreakerState.OPEN
    assert state(breaker, 7.0) is BreakerState.HALF_OPEN
    assert state(breaker, 7.1) is BreakerState.HALF_OPEN
    assert state(CircuitBreaker((True,), until=7.0), 6.9) is BreakerState.CLOSED


REPLIES: list[Reply] = [
    PerItemReply(()),
    Divisible("", ""),
    Unexpected(418, "", ""),
    Throttled(1.0),
    Missing("", ""),
    ServerError("amazon_error"),
    TransportError("timeout"),
    Unauthorized(),
    Forbidden(),
    NotSent(),
]


@given(st.lists(st.one_of(st.sampled_from(REPLIES), st.just(ServerError("amazon_error"))), max_size=30))
def test_while_it_is_open_one_request_is_in_flight_and_the_last_one_failed(replies: list[Reply]) -> None:
    """The lane relies on it: the number in flight and the last failure are all that it looks at."""
    pace = replace(NEW, in_flight_limit=3)
    for number, reply in enumerate(replies):
        pace = after(pace, reply, 100.0 + number)
        if pace.breaker.opened:
            assert pace.in_flight_limit == 1
            assert pace.breaker.recent[-1]


def test_a_new_breaker_has_no_failures() -> None:
    assert CircuitBreaker() == CircuitBreaker((), 0, 0.0)
    assert error_rate(CircuitBreaker()) == 0.0


def test_a_person_who_asks_to_retry_ends_the_wait_of_the_breaker() -> None:
    """One probe may be sent now. A wait that Amazon asked for stays."""
    pace = NEW
    for _ in range(4):
        pace = after(pace, ServerError("amazon_error"))
    assert pace.summary(100.0).breaker is BreakerState.OPEN
    assert pace.summary(100.0).probe_in == pytest.approx(pace.breaker.until - 100.0)
    retried = pace.retried(100.0)
    assert retried.ready_at(100.0) == 100.0
    assert retried.summary(100.0).breaker is BreakerState.HALF_OPEN
    assert retried.in_flight_limit == 1
    assert after(NEW, Throttled(30.0)).retried(100.0).ready_at(100.0) >= 130.0


def test_a_closed_breaker_has_no_next_probe() -> None:
    assert after(NEW, ServerError("amazon_error")).summary(100.0).probe_in is None


def test_a_summary_is_stored_again_after_a_change_of_five_per_cent_and_after_each_opening() -> None:
    def rounded(rate: float | None = None, breaker: CircuitBreaker = NEW.breaker) -> object:
        return replace(NEW, estimate=RateEstimate(rate), breaker=breaker).summary(100.0).rounded

    assert rounded(4.0) == rounded(4.05)
    assert len({rounded(rate) for rate in (None, 3.8, 4.0, 4.25)}) == 4
    assert rounded(breaker=of(*[False] * 12, *[True] * 8)) == rounded(breaker=of(*[False] * 11, *[True] * 7))
    assert rounded(breaker=of(*[False] * 12, *[True] * 8)) != rounded(breaker=of(*[False] * 10, *[True] * 10))
    opened = [
        CircuitBreaker((True,), opened=times, until=until) for times, until in ((1, 90), (1, 110), (2, 110))
    ]
    assert len({rounded(breaker=breaker) for breaker in opened}) == 3
