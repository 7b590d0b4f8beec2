"""The circuit breaker: when it opens, how long it waits, what closes it."""

import pytest

from app.domain.pacing.circuit_breaker import BreakerState, CircuitBreaker


def broken(*, failures: int, jitter: float = 0.0, now: float = 100.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(failures):
        breaker = breaker.failed(now, jitter=jitter)
    return breaker


def of(*recent: bool) -> CircuitBreaker:
    return CircuitBreaker(recent)


def test_the_third_failure_opens_it() -> None:
    """Two are no reason yet: each is followed by a short wait."""
    assert broken(failures=2).state(200.0) is BreakerState.CLOSED
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
    half = of(*[False] * 10, *[True] * 9).failed(0.0, jitter=0.0)
    assert half.opened == 1
    less = of(*[False] * 11, *[True] * 8).failed(0.0, jitter=0.0)
    assert less.opened == 0
    assert (len(less.recent), less.error_rate) == (20, 0.45)
    # The oldest of twenty leaves the window when another request is counted.
    slides = of(*[False] * 11, *[True] * 9).failed(0.0, jitter=0.0)
    assert (len(slides.recent), slides.opened) == (20, 1)
    assert of(*[True] * 20).succeeded().recent == (*[True] * 19, False)
    assert of(True).succeeded().recent == (True, False)


def test_a_success_closes_it_and_forgets_the_failures() -> None:
    closed = broken(failures=5).succeeded()
    assert closed == CircuitBreaker((False,))
    assert closed.error_rate == 0.0
    assert not closed.is_failing


def test_states_change_exactly_when_the_wait_is_over() -> None:
    breaker = CircuitBreaker((True,), opened=1, until=7.0)
    assert breaker.state(6.9) is BreakerState.OPEN
    assert breaker.state(7.0) is BreakerState.HALF_OPEN
    assert breaker.state(7.1) is BreakerState.HALF_OPEN
    assert CircuitBreaker((True,), until=7.0).state(6.9) is BreakerState.CLOSED


def test_one_request_is_in_flight_until_it_is_closed() -> None:
    assert CircuitBreaker(opened=1).in_flight(8) == 1
    assert CircuitBreaker().in_flight(8) == 8


def test_a_lane_is_failing_after_a_failure_and_while_it_is_open() -> None:
    assert CircuitBreaker() == CircuitBreaker((), 0, 0.0)
    assert not CircuitBreaker().is_failing
    assert CircuitBreaker().error_rate == 0.0
    assert of(False, True).is_failing
    assert not of(True, False).is_failing
    assert CircuitBreaker((False,), opened=1).is_failing
