"""The order of live events, retries and replays in a lane."""

import pytest

from app.domain.pacing.order import REPLAYS, FairQueue, WorkKind

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


def test_a_retry_starts_the_count_of_live_requests_again() -> None:
    queue = FairQueue().served(LIVE, 0.0, 1.0).served(LIVE, 0.0, 1.0)
    assert queue.since_retry == 2
    assert queue.served(RETRY, 0.0, 1.0).since_retry == 0
    assert queue.served(REPLAY, 0.0, 1.0).since_retry == 2


def test_which_kinds_have_the_low_priority() -> None:
    assert list(REPLAYS) == [REPLAY, REPLAY_RETRY]
