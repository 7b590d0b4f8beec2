"""Small requests: all lanes of all workers share their turns, and a full request needs none (ADR 0050)."""

from heapq import heappop, heappush
from itertools import pairwise

import pytest

from app.delivery.lane import Lane
from app.delivery.request_content import RequestContent
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.merge_window import (
    FULL,
    LONGEST_BETWEEN_S,
    LONGEST_TURN,
    SMALL_BURST,
    SMALL_PER_S,
    Turns,
)
from app.domain.pacing.pace import Pace, RateLimit
from app.store.due_work import DestinationQueue
from app.store.lanes import LaneLease

WINDOW_S = 0.1
QUEUE = DestinationQueue(DestinationNumber(1), DestinationId("dst_1"), {})


def turns_of(lanes: int, seconds: float, *, workers: int = 1, pause: float = 0.0) -> list[list[float]]:
    """Let lanes send small requests one after another; return the times of each lane's requests."""
    turns, sent = Turns(WINDOW_S, workers), [[] for _ in range(lanes)]  # type: Turns, list[list[float]]
    due = [(number * 1e-6, number) for number in range(lanes)]
    while (now := min(due)[0]) < seconds:
        _, lane = heappop(due)
        begins = turns.take(now)
        sent[lane].append(begins)
        heappush(due, (begins + WINDOW_S + pause, lane))
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
    waits = [later - earlier - WINDOW_S for lane in sent for earlier, later in pairwise(lane)]
    assert max(waits) <= LONGEST_TURN * WINDOW_S + 1e-6
    assert Turns(0.0, next_at=9.0).take(1.0) == 1.0


def test_few_small_requests_do_not_wait() -> None:
    """Twenty-five a second, all in different lanes."""
    turns = Turns(WINDOW_S)
    for number in range(100):
        assert turns.take(number / 25) == number / 25


def test_turns_are_longer_while_requests_take_long() -> None:
    """Four times as long as a request, within limits; a single long request changes little."""
    turns = Turns(WINDOW_S)
    for _ in range(100):
        turns.pay(0.004)
    every = turns_of_one(turns)
    assert every == pytest.approx(1 / SMALL_PER_S)
    turns.pay(60.0)
    assert turns_of_one(turns) == pytest.approx(every)
    for _ in range(100):
        turns.pay(0.03)
    assert turns_of_one(turns) == pytest.approx(0.12, rel=0.01)
    for _ in range(100):
        turns.pay(1.0)
    assert turns_of_one(turns) == LONGEST_BETWEEN_S


def turns_of_one(turns: Turns) -> float:
    """Return the time from a turn to the next."""
    turns.next_at = 0.0
    turns.take(0.0)
    return turns.next_at


def test_a_turn_that_is_given_back_is_that_of_the_next_lane() -> None:
    turns = Turns(WINDOW_S)
    taken = [turns.take(1.0) for _ in range(SMALL_BURST + 3)]
    assert taken[: SMALL_BURST + 1] == pytest.approx([1.0] * (SMALL_BURST + 1))
    assert taken[-1] > 1.0
    turns.give_back()
    assert turns.take(1.0) == pytest.approx(taken[-1])


def lane(turns: Turns) -> Lane:
    lease = LaneLease(LaneId(1), 1, DEFAULT_ORGANISATION, "NA", "1", 0.0)
    return Lane(lease, 1e9, Pace(RateLimit(10, 10)), turns=turns)


def test_an_event_in_an_idle_lane_is_sent_immediately() -> None:
    idle = lane(Turns(WINDOW_S))
    idle.announce(1, 10.0)
    assert idle.wake_at == 10.0


def test_a_small_request_waits_for_its_turn_and_a_full_one_gives_its_turn_back() -> None:
    """The turn is that of the first event."""
    turns = Turns(WINDOW_S, next_at=11.0 + SMALL_BURST / SMALL_PER_S)
    waiting = lane(turns)
    waiting.announce(1, 10.0)
    assert waiting.wake_at == pytest.approx(11.0)
    waiting.announce(FULL - 2, 10.5)
    assert waiting.wake_at == pytest.approx(11.0)
    other = lane(turns)
    other.announce(1, 10.5)
    waiting.announce(1, 10.6)
    assert waiting.wake_at == 10.6
    waiting.begin_claim(10.6)
    third = lane(turns)
    third.announce(1, 10.6)
    assert third.wake_at == other.wake_at


def test_a_turn_that_has_begun_is_not_given_back() -> None:
    turns = Turns(WINDOW_S)
    sent = lane(turns)
    sent.announce(1, 10.0)
    after = turns.next_at
    sent.begin_claim(10.0)
    assert turns.next_at == after


def test_a_full_post_and_a_changed_destination_take_no_turn() -> None:
    turns = Turns(WINDOW_S)
    for events in (FULL, 0):
        lane(turns).announce(events, 10.0)
    assert turns.next_at == float("-inf")


def test_the_window_of_a_busy_lane_doubles_until_it_is_idle() -> None:
    """Up to eight windows; a time without events ends it."""
    busy = lane(Turns(WINDOW_S))
    content = RequestContent(QUEUE, (), (), (), None, has_more=False, kind=WorkKind.LIVE)
    now, waits = 10.0, []
    for _ in range(6):
        busy.announce(1, now)
        assert busy.wake_at is not None
        waits.append(busy.wake_at - now)
        now = busy.wake_at
        busy.begin_claim(now)
        busy.begin_request(content, now)
        busy.end_claim(now)
    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 0.8])
    busy.announce(1, now + WINDOW_S)
    assert busy.wake_at == now + WINDOW_S
