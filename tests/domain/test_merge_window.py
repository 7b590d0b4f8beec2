"""The merge window: an idle lane never waits, a busy lane waits longer while its requests are small."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.merge_window import BUSY_AFTER, ENOUGH, FULL, LONGEST_S, MergeWindow

SHORTEST_S = 0.1


def stream(rate: float, seconds: float, *, step: float = 0.025) -> tuple[MergeWindow, list[float]]:
    """Announce a steady stream of events; return the window at its end and the times of the requests."""
    window, announced, wake_at, sent = MergeWindow(SHORTEST_S), 0.0, None, []
    for tick in range(round(seconds / step)):
        now = tick * step
        if wake_at is not None and wake_at <= now:
            window, sent, wake_at = window.sent(now, round(announced)), [*sent, now], None
            announced = 0
        if not announced:
            window = window.first_event(now)
        announced += rate * step
        wake_at = window.ready_at(now, round(announced))
    return window, sent


def test_the_first_event_after_an_idle_time_is_sent_immediately() -> None:
    window, _ = stream(300, 5)
    assert window.seconds > SHORTEST_S
    later = window.sent_at + SHORTEST_S
    idle = window.first_event(later)
    assert idle.ready_at(later, 1) == later
    assert idle.sent(later, 1).seconds == SHORTEST_S


def test_a_single_event_after_a_request_waits_for_the_configured_window_only() -> None:
    window = MergeWindow(SHORTEST_S).sent(10.0, 1)
    assert window.first_event(10.05).ready_at(10.05, 1) == pytest.approx(10.1)


@pytest.mark.parametrize(
    ("rate", "wait_s"),
    [
        pytest.param(50, LONGEST_S, id="small requests: the longest wait"),
        pytest.param(1_000, ENOUGH / 1_000, id="as long as a request needs to carry enough"),
        pytest.param(4_000, SHORTEST_S, id="requests that carry enough do not wait longer"),
    ],
)
def test_a_steady_stream_sets_the_wait(rate: float, wait_s: float) -> None:
    _, sent = stream(rate, 10)
    gaps = [later - earlier for earlier, later in pairwise(sent[-4:])]
    assert max(gaps) == pytest.approx(wait_s, abs=0.051)


def test_a_stream_must_last_before_a_lane_is_busy() -> None:
    _, sent = stream(200, 10)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert max(gaps[: BUSY_AFTER - 1]) < LONGEST_S / 2 < gaps[BUSY_AFTER + 1]


@given(
    shortest=st.floats(0, 10),
    requests=st.lists(st.tuples(st.floats(0, 5), st.integers(1, FULL)), max_size=12),
    waited=st.floats(0, 5),
    announced=st.integers(1, 2 * FULL),
)
def test_a_request_waits_no_longer_than_its_window(
    shortest: float, requests: list[tuple[float, int]], waited: float, announced: int
) -> None:
    """A full request never waits; one with enough events waits for the configured window at most."""
    window, now = MergeWindow(shortest), 0.0
    for gap, events in requests:
        now += gap
        window = window.sent(now, events)
    now += waited
    wait = window.ready_at(now, announced) - now
    limit = 0 if announced >= FULL else shortest if announced >= ENOUGH else max(shortest, LONGEST_S)
    assert 0 <= wait <= limit + 1e-6
    assert window.seconds <= max(shortest, min(LONGEST_S, 4 * shortest))
    if shortest == 0:
        assert wait == 0, "no window is configured"
