"""The event rate of an organisation: a second's worth at once, then the rate; large requests are owed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.inbound_limit import InboundLimit


def test_a_seconds_worth_is_admitted_at_once() -> None:
    limit = InboundLimit(10.0, now=5.0)
    for _ in range(10):
        assert limit.wait(5.0) <= 0
        limit.take(1, 5.0)
    assert limit.wait(5.0) == pytest.approx(0.1)
    assert limit.wait(5.125) <= 0


def test_a_large_request_is_admitted_and_owed() -> None:
    """The requests after it wait until the debt is paid and one event fits."""
    limit = InboundLimit(10.0, now=0.0)
    limit.take(60, 0.0)
    assert limit.wait(0.0) == pytest.approx(5.1)
    assert limit.wait(2.0) == pytest.approx(3.1)
    assert limit.wait(5.1) <= 1e-9


def test_an_idle_time_saves_up_one_second_only() -> None:
    limit = InboundLimit(10.0, now=0.0)
    limit.take(10, 1000.0)
    assert limit.wait(1000.0) == pytest.approx(0.1)


def test_one_event_must_fit() -> None:
    """Exactly one is enough, less is not."""
    limit = InboundLimit(2.0, now=0.0)
    limit.take(1, 0.0)
    assert limit.wait(0.0) == 0
    limit.take(1, 0.0)
    assert limit.wait(0.0) == pytest.approx(0.5)
    assert limit.wait(0.25) == pytest.approx(0.25)


@given(
    rate=st.floats(1, 1000),
    requests=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 500)), min_size=1, max_size=50),
)
def test_admitted_events_never_exceed_the_rate_for_long(
    rate: float, requests: list[tuple[float, int]]
) -> None:
    """Beyond a second's worth and the last request, over any time."""
    limit, now, admitted, last = InboundLimit(rate, 0.0), 0.0, 0, 0
    for gap, events in requests:
        now += gap
        if limit.wait(now) <= 0:
            assert admitted <= rate * (now + 1) + 1e-6
            limit.take(events, now)
            admitted, last = admitted + events, events
    assert admitted - last <= rate * (now + 1) + 1e-6
