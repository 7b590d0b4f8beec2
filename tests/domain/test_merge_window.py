"""The merge window: an idle lane never waits, a busy lane waits longer while its requests are small."""

from heapq import heappop, heappush
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.merge_window import (
    BUSY_AFTER,
    ENOUGH,
    FULL,
    LONGEST_S,
    LONGEST_TURN,
    SMALL_PER_S,
    MergeWindow,
    Turns,
)

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


def busy(rate: float, *, in_row: int = 5, shortest: float = 0.1) -> MergeWindow:
    return MergeWindow(shortest, sent_at=10.0, in_row=in_row, rate=rate)


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        (busy(1_000), 0.2),
        (busy(1_000, in_row=4), 0.1),
        (busy(100), 0.4),
        (busy(0), 0.4),
        (busy(1_000, shortest=0.04), 0.16),
        (busy(100, shortest=0.5), 0.5),
        (busy(10_000), 0.1),
    ],
)
def test_the_window_of_a_busy_lane(window: MergeWindow, seconds: float) -> None:
    """As long as 200 events take to come: at most 0.4 s, four windows, and never less than one."""
    assert window.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("announced", "ready_at"), [(1, 10.4), (199, 10.4), (200, 10.1), (499, 10.1), (500, 10.05)]
)
def test_a_fuller_request_is_sent_earlier(announced: int, ready_at: float) -> None:
    assert busy(100).ready_at(10.05, announced) == pytest.approx(ready_at)
    assert busy(100).ready_at(11.0, announced) == 11.0


def test_a_lane_is_idle_after_its_window() -> None:
    window = busy(100)
    assert window.first_event(10.09) is window
    assert window.first_event(10.1) == MergeWindow(0.1, 10.0)


def turns_of(lanes: int, seconds: float, *, workers: int = 1, pause: float = 0.0) -> list[list[float]]:
    """Let lanes send small requests one after another; return the times of each lane's requests."""
    turns, sent = Turns(), [[] for _ in range(lanes)]  # type: list[list[float]]
    due = [(number * 1e-6, number) for number in range(lanes)]
    while (now := min(due)[0]) < seconds:
        _, lane = heappop(due)
        turns, begins = turns.take(now, workers=workers, window=SHORTEST_S)
        sent[lane].append(begins)
        heappush(due, (begins + SHORTEST_S + pause, lane))
    return sent


@pytest.mark.parametrize("workers", [1, 4])
def test_many_lanes_share_the_turns_of_all_workers(workers: int) -> None:
    """Four workers with a quarter of the lanes each send as many small requests as one with all lanes."""
    sent = turns_of(60 // workers, 20, workers=workers)
    requests = workers * sum(1 for lane in sent for at in lane if 5 <= at < 20)
    assert requests / 15 == pytest.approx(SMALL_PER_S, rel=0.1)
    assert min(map(len, sent)) >= 0.8 * max(map(len, sent)), "each lane gets its turn"


def test_a_turn_never_takes_longer_than_the_longest() -> None:
    sent = turns_of(1_000, 10)
    waits = [later - earlier - SHORTEST_S for lane in sent for earlier, later in pairwise(lane)]
    assert max(waits) <= LONGEST_TURN * SHORTEST_S + 1e-6
    assert Turns().take(1.0, workers=1, window=0.0)[1] == 1.0


def test_few_small_requests_do_not_wait() -> None:
    """Twenty-five a second, all in different lanes."""
    turns = Turns()
    for number in range(100):
        now = number / 25
        turns, begins = turns.take(now, workers=1, window=SHORTEST_S)
        assert begins == now


def test_only_a_small_request_waits_for_its_turn() -> None:
    window = MergeWindow(SHORTEST_S, sent_at=10.0, turn=11.0)
    assert window.ready_at(10.2, ENOUGH - 1) == 11.0
    assert window.ready_at(10.2, ENOUGH) == 10.2
    assert window.sent(10.2, 3).turn == 11.0, "the turn of an event that came during the claim"


def test_the_rate_is_that_of_the_last_request() -> None:
    """Two requests of one moment show none."""
    assert busy(100).sent(10.5, 20).rate == 40.0
    sent = busy(100).sent(12.0, 50)
    assert sent == MergeWindow(0.1, 12.0, 6, 25.0)
    assert sent.sent(12.0, 50) == MergeWindow(0.1, 12.0, 7, 25.0)
    assert MergeWindow() == MergeWindow(0.0, float("-inf"), 0, 0.0)
    assert MergeWindow(0.1).sent(12.0, 50).rate == 0.0
    assert (FULL, ENOUGH, BUSY_AFTER, LONGEST_S) == (500, 200, 5, 0.4)
