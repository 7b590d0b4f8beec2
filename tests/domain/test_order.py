"""The order in a lane: live events, retries and replays; the merge window; where a due-scan starts."""

from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import pairwise

import pytest

from app.delivery.claim import RequestContent
from app.delivery.lane import Lane
from app.domain.destination import RequestRate
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, DestinationNumber, LaneId
from app.domain.pacing.order import (
    FULL,
    FULL_SCAN_EVERY_S,
    LONGEST_REST_S,
    LONGEST_TURN,
    REPLAYS,
    SMALL_PER_S,
    FairQueue,
    Turns,
    Watermarks,
    WorkKind,
)
from app.domain.pacing.pace import Pace
from app.store.due_work import DestinationQueue
from app.store.lanes import LaneLease

LIVE, RETRY, REPLAY, REPLAY_RETRY = WorkKind
ALL = [REPLAY_RETRY, REPLAY, RETRY, LIVE]


def order(due: list[WorkKind], requests: int, *, step: float = 1.0) -> list[WorkKind | None]:
    """Return what is sent, where all of `due` waits all the time, at one request a second."""
    queue, now, sent = FairQueue(), 0.0, []
    for _ in range(requests):
        kind = queue.choose(due, now)
        sent.append(kind)
        queue, now = (queue.served(kind, now, 1.0) if kind else queue), now + step
    return sent


def test_a_retry_follows_three_live_requests() -> None:
    assert order([LIVE, RETRY], 9) == [LIVE, LIVE, LIVE, RETRY, LIVE, LIVE, LIVE, RETRY, LIVE]


def test_a_replay_is_every_fifth_request() -> None:
    """The first one at once, where none was sent before."""
    assert order([LIVE, REPLAY], 11) == [REPLAY, *[LIVE] * 4, REPLAY, *[LIVE] * 4, REPLAY]


def test_replayed_batches_and_single_replayed_events_alternate() -> None:
    replays = [kind for kind in order(ALL, 16) if kind in REPLAYS]
    assert replays == [REPLAY_RETRY, REPLAY, REPLAY_RETRY, REPLAY]


def test_replays_alone_take_a_fifth_of_the_rate() -> None:
    """Whichever of the two kinds is due."""
    assert order([REPLAY], 11) == [REPLAY, *[None] * 4, REPLAY, *[None] * 4, REPLAY]
    assert order([REPLAY_RETRY], 6) == [REPLAY_RETRY, *[None] * 4, REPLAY_RETRY]


def test_a_replay_waits_for_its_time_and_for_four_other_requests() -> None:
    queue = FairQueue().served(REPLAY, 10.0, 2.0)
    assert queue.replay_at == 12.5
    for _ in range(3):
        queue = queue.served(LIVE, 11.0, 2.0)
    assert queue.choose([LIVE, REPLAY], 20.0) is LIVE
    queue = queue.served(LIVE, 11.0, 2.0)
    assert queue.choose([LIVE, REPLAY], 12.4) is LIVE
    assert queue.choose([LIVE, REPLAY], 12.5) is REPLAY
    # With nothing else due, only the time counts.
    assert FairQueue().served(REPLAY, 10.0, 2.0).choose([REPLAY], 12.5) is REPLAY


@pytest.mark.parametrize(
    ("due", "kind"),
    [([], None), ([LIVE], LIVE), ([RETRY], RETRY), ([RETRY, LIVE], LIVE), ([REPLAY_RETRY], REPLAY_RETRY)],
)
def test_what_alone_is_due_is_sent(due: list[WorkKind], kind: WorkKind | None) -> None:
    assert FairQueue().choose(due, 0.0) is kind


def test_which_kinds_have_the_low_priority() -> None:
    assert list(REPLAYS) == [REPLAY, REPLAY_RETRY]


WINDOW_S = 1.0
QUEUE = DestinationQueue(DestinationNumber(1), DestinationId("dst_1"), {})
CONTENT = RequestContent(QUEUE, (), (), (), (), None, has_more=False, kind=WorkKind.LIVE)


def turns_of(lanes: int, seconds: float, *, workers: int = 1) -> list[list[float]]:
    """Let lanes send small requests one after another; return the times of each lane's requests."""
    turns, sent = Turns(WINDOW_S, workers), [[] for _ in range(lanes)]  # type: Turns, list[list[float]]
    due = [(number * 1e-6, number) for number in range(lanes)]
    while (now := min(due)[0]) < seconds:
        _, lane = heappop(due)
        begins = turns.take(now)
        sent[lane].append(begins)
        heappush(due, (begins + WINDOW_S, lane))
    return sent


def test_the_turns_that_are_in_force() -> None:
    """Events of a full request, turns a second, and the longest turn in windows, as ADR 0050 states them."""
    assert (FULL, SMALL_PER_S, LONGEST_TURN, Turns()) == (500, 10, 50, Turns(0, 1, float("-inf")))


@pytest.mark.parametrize("workers", [1, 4])
def test_many_lanes_share_the_turns_of_all_workers(workers: int) -> None:
    """Four workers with a quarter of the lanes each send as many small requests as one with all lanes."""
    sent = turns_of(48 // workers, 40, workers=workers)
    requests = workers * sum(1 for lane in sent for at in lane if 10 <= at < 40)
    assert requests / 30 == pytest.approx(SMALL_PER_S, rel=0.1)
    assert min(map(len, sent)) >= 0.8 * max(map(len, sent)), "each lane gets its turn"


def test_a_turn_never_takes_longer_than_the_longest() -> None:
    sent = turns_of(1_000, 40)
    waits = [later - earlier - WINDOW_S for lane in sent for earlier, later in pairwise(lane)]
    assert max(waits) <= LONGEST_TURN * WINDOW_S + 1e-6


def test_a_window_of_zero_means_no_wait() -> None:
    turns = Turns(0.0)
    assert [turns.take(1.0) for _ in range(100)] == [1.0] * 100


def test_few_small_requests_do_not_wait() -> None:
    """Eight a second, all in different lanes."""
    turns = Turns(WINDOW_S)
    for number in range(100):
        assert turns.take(number / 8) == number / 8


def test_a_turn_that_is_given_back_is_that_of_the_next_lane() -> None:
    turns = Turns(WINDOW_S)
    taken = [turns.take(1.0) for _ in range(3)]
    assert taken == pytest.approx([1.0, 1.0 + 1 / SMALL_PER_S, 1.0 + 2 / SMALL_PER_S])
    turns.give_back()
    assert turns.take(1.0) == pytest.approx(taken[-1])


def lane(turns: Turns) -> Lane:
    lease = LaneLease(LaneId(1), 1, DEFAULT_ORGANISATION, "NA", "1", 0.0)
    return Lane(lease, 1e9, Pace(RequestRate(10, 10)), turns=turns)


def send(busy: Lane, now: float) -> None:
    """Let a lane send a request."""
    busy.begin_claim(now)
    busy.begin_request(CONTENT, now, deadline=now)
    busy.end_claim(now)


def test_a_small_request_waits_for_its_turn_and_a_full_one_gives_its_turn_back() -> None:
    """The turn is that of the first event."""
    turns = Turns(WINDOW_S, next_at=11.0)
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


def test_a_lane_sends_one_small_request_in_a_window() -> None:
    """An event that comes a window after the last request is sent immediately."""
    busy = lane(Turns(WINDOW_S))
    now, waits = 10.0, []
    for after in (0.0, 0.0, 0.3, 0.9, 1.0):
        busy.announce(1, now + after)
        assert busy.wake_at is not None
        waits.append(busy.wake_at - now - after)
        now = busy.wake_at
        send(busy, now)
    assert waits == pytest.approx([0.0, 1.0, 0.7, 0.1, 0.0])


def test_events_that_a_poll_finds_before_their_notification_wait_like_announced_ones() -> None:
    """Otherwise a lane's small request would depend on when the worker polls."""
    busy = lane(Turns(WINDOW_S))
    send(busy, 10.0)
    busy.schedule(-0.1, 10.2)
    assert busy.wake_at == 11.0
    after = busy.turns.next_at
    busy.announce(1, 10.3)
    assert (busy.wake_at, busy.turns.next_at) == (11.0, after), "one turn for both"


def test_events_that_are_due_later_wake_the_lane_then() -> None:
    waiting = lane(Turns(WINDOW_S))
    waiting.schedule(0.5, 10.0)
    assert waiting.wake_at == 10.5
    assert waiting.turns.next_at == float("-inf")


KEY = (DestinationNumber(1), 0)
DUE_AT = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_first_poll_is_a_full_scan_and_the_next_starts_at_the_watermark() -> None:
    """A full scan follows after its interval."""
    assert Watermarks({KEY: DUE_AT}).usable(0.0) == {}
    watermarks = Watermarks()
    assert watermarks.usable(100.0) == {}
    watermarks.note_poll(100.0, 100.001)
    watermarks.advance(KEY, DUE_AT)
    assert watermarks.usable(100.1) == {KEY: DUE_AT}
    assert watermarks.usable(100.002 + FULL_SCAN_EVERY_S) == {}


def test_a_batch_that_is_open_again_is_found_by_a_full_scan() -> None:
    """After a 429, or a settlement whose outcome is unknown."""
    watermarks = Watermarks({KEY: DUE_AT}, full_scan_at=101.0)
    watermarks.reset()
    watermarks.note_poll(100.0, 100.001)
    assert watermarks.usable(100.1) == {}
    assert watermarks.full_scan_at == pytest.approx(101.001)


def test_a_scan_that_hung_with_its_database_does_not_delay_the_next_for_long() -> None:
    """The database was frozen for half a minute: batches below the watermark are found soon after."""
    watermarks = Watermarks()
    watermarks.note_poll(100.0, 130.0)
    assert watermarks.full_scan_at == 130.0 + LONGEST_REST_S


def test_a_full_scan_rests_for_twenty_times_its_length() -> None:
    """At least a second, at most a minute."""
    rests = {}
    for cost in (0, 0.1, 2, 10):
        watermarks = Watermarks()
        watermarks.note_poll(100.0, 100.0 + cost)
        rests[cost] = watermarks.full_scan_at
    assert rests == {0: 101.0, 0.1: pytest.approx(102.1), 2: 142.0, 10: 170.0}


def test_a_scan_exactly_at_its_time_is_a_full_one() -> None:
    """A poll before it moves nothing."""
    watermarks = Watermarks({KEY: DUE_AT}, full_scan_at=50.0)
    assert watermarks.usable(49.9) == {KEY: DUE_AT}
    assert watermarks.usable(50.0) == {}
    watermarks.note_poll(49.9, 49.95)
    assert watermarks.full_scan_at == 50.0
    watermarks.note_poll(50.0, 50.0)
    assert watermarks.full_scan_at == 51.0


def test_each_queue_has_its_own_watermark() -> None:
    other = (DestinationNumber(1), 1)
    later = DUE_AT.replace(hour=3)
    both = Watermarks({KEY: DUE_AT}, full_scan_at=50.0)
    before = both.usable(40.0)
    both.advance(other, later)
    assert both.due_at == {KEY: DUE_AT, other: later}
    assert both.full_scan_at == 50.0
    # A claim uses the watermarks of its poll, whatever happens in between.
    assert before == {KEY: DUE_AT}
    both.reset()
    assert both == Watermarks()
