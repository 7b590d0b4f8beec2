"""The pace of a lane, number by number: rate, burst, Retry-After windows, requests in flight."""

from dataclasses import replace

import pytest

from app.domain.pacing.rate_estimator import RateEstimate
from app.domain.pacing.token_bucket import LanePace, RateLimit

LIMIT = RateLimit(10.0, 3)
ESTIMATED = LanePace(estimate=RateEstimate(4.0))  # Amazon accepts four a second


def send(pace: LanePace, requests: int, now: float) -> list[float]:
    """Send each request as soon as it may be sent; return the times."""
    sent = []
    for _ in range(requests):
        now = pace.ready_at(LIMIT, now)
        pace = pace.sent(LIMIT, now)
        sent.append(now)
    return sent


def test_a_full_bucket_sends_its_burst_at_once_and_then_keeps_the_rate() -> None:
    assert send(LanePace(), 6, 100.0) == pytest.approx([100, 100, 100, 100.1, 100.2, 100.3])


def test_an_idle_time_fills_the_bucket_up_to_its_burst() -> None:
    pace = LanePace()
    for _ in range(3):
        pace = pace.sent(LIMIT, 100.0)
    assert send(pace, 4, 100.15) == pytest.approx([100.15, 100.2, 100.3, 100.4])
    assert send(pace, 4, 200.0) == pytest.approx([200, 200, 200, 200.1])


def test_an_estimated_rate_has_no_burst() -> None:
    assert ESTIMATED.allowed(LIMIT) == RateLimit(4.0, 1)
    assert send(ESTIMATED, 3, 100.0) == pytest.approx([100, 100.25, 100.5])


def test_an_estimate_at_the_configured_rate_changes_nothing() -> None:
    at_limit = LanePace(estimate=RateEstimate(10.0))
    assert at_limit.allowed(LIMIT) is LIMIT
    assert LanePace().allowed(LIMIT) is LIMIT


def test_a_blocked_lane_sends_after_its_window() -> None:
    assert replace(LanePace(), blocked_until=107.0).ready_at(LIMIT, 100.0) == 107.0
    assert replace(LanePace(), blocked_until=90.0).ready_at(LIMIT, 100.0) == 100.0


def test_requests_in_flight_grow_one_by_one_and_drop_to_one() -> None:
    pace = LanePace()
    seen = []
    for _ in range(4):
        pace = pace.succeeded(LIMIT, 100.0, sent_at=100.0, cap=3)
        seen.append(pace.in_flight_limit)
    assert seen == [2, 3, 3, 3]
    assert pace.failed().in_flight_limit == 1
    throttled = pace.throttled(LIMIT, 100.0, sent_at=100.0, retry_after=None, jitter=0.0)
    assert (throttled.in_flight_limit, throttled.throttles) == (1, 1)
    again = throttled.throttled(LIMIT, 101.0, sent_at=101.0, retry_after=None, jitter=0.0)
    assert again.throttles == 2
    assert again.succeeded(LIMIT, 102.0, sent_at=102.0, cap=3).throttles == 0


@pytest.mark.parametrize(("jitter", "until"), [(0.0, 120.0), (0.5, 121.0)])
def test_a_retry_after_blocks_for_its_time_and_up_to_a_tenth_more(jitter: float, until: float) -> None:
    pace = LanePace().throttled(LIMIT, 100.0, sent_at=100.0, retry_after=20.0, jitter=jitter)
    assert pace.blocked_until == pytest.approx(until)


def test_a_shorter_window_does_not_end_a_longer_one() -> None:
    long = replace(LanePace(), blocked_until=500.0)
    assert long.throttled(LIMIT, 100.0, sent_at=100.0, retry_after=1.0, jitter=0.0).blocked_until == 500.0


@pytest.mark.parametrize(
    ("throttles", "wait_s"),
    [(0, 2.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 15.0), (9, 15.0), (5000, 15.0)],
)
def test_without_a_retry_after_the_wait_doubles_from_the_second_429_on(throttles: int, wait_s: float) -> None:
    """From the interval at the current rate up to 15 s, plus up to a quarter."""
    slow = RateLimit(0.5, 1)
    for jitter, share in ((0.0, 1.0), (1.0, 1.25)):
        pace = replace(LanePace(), throttles=throttles).throttled(
            slow, 100.0, sent_at=100.0, retry_after=None, jitter=jitter
        )
        assert pace.blocked_until - 100 == pytest.approx(wait_s * share)


def test_the_first_wait_is_at_least_a_tenth_of_a_second() -> None:
    """At an estimated rate it is the interval of that rate."""
    for pace, limit, wait_s in (
        (LanePace(), RateLimit(1000, 1), 0.1),
        (LanePace(), RateLimit(5.0, 1), 0.2),
        (LanePace(estimate=RateEstimate(0.5)), LIMIT, 2.0),
    ):
        blocked = pace.throttled(limit, 100.0, sent_at=100.0, retry_after=None, jitter=0.0)
        assert blocked.blocked_until == pytest.approx(100 + wait_s)


def test_destinations_of_a_lane_share_the_lower_limit() -> None:
    """Rate and burst apart."""
    assert RateLimit(10, 3).lowest(RateLimit(5, 8)) == RateLimit(5, 3)
    assert RateLimit(5, 8).lowest(RateLimit(10, 3)) == RateLimit(5, 3)


def test_a_new_lane_has_one_request_in_flight_and_may_send_at_once() -> None:
    assert LanePace() == LanePace(0.0, 0.0, 0, 1, RateEstimate())
    assert LanePace().ready_at(LIMIT, 0.0) == 0.0
