"""When a writer of group commit waits for more requests before it writes."""

from app.domain.pacing.commit_window import FEW_EVENTS, CommitWindow

LINGER = 0.003
FLOOD, QUIET = "flood", "quiet"


def window_after(senders: list[str], *, events: int, shared: bool = True) -> CommitWindow:
    window = CommitWindow()
    window.begin(senders, events, 100.0, shared=shared)
    window.end()
    return window


def test_requests_that_came_together_wait_for_more() -> None:
    window = window_after([FLOOD] * 2, events=2)
    assert window.wait_s(frozenset([FLOOD]), LINGER, 200.0) == LINGER
    assert window.writing == {FLOOD}


def test_another_organisation_does_not_wait_with_them() -> None:
    window = window_after([FLOOD] * 4, events=400)
    assert window.wait_s(frozenset([QUIET]), LINGER, 100.0) == 0.0
    assert window.wait_s(frozenset([QUIET, FLOOD]), LINGER, 100.0) > 0.0
    assert window.writing == {FLOOD}  # the other writer takes the requests of the quiet one


def test_a_lone_request_does_not_wait() -> None:
    assert window_after([FLOOD], events=1).wait_s(frozenset([FLOOD]), LINGER, 100.0) == 0.0


def test_many_events_wait_longer_while_several_organisations_send() -> None:
    """A lone request of many events for a moment only."""
    many, flood = FEW_EVENTS + 1, frozenset([FLOOD])
    assert window_after([FLOOD] * 2, events=FEW_EVENTS).wait_s(flood, LINGER, 100.01) == LINGER
    assert window_after([FLOOD], events=many).wait_s(flood, LINGER, 100.01) == 3 * LINGER
    assert window_after([FLOOD], events=many).wait_s(flood, LINGER, 100.03) == 0.0
    assert window_after([FLOOD], events=many, shared=False).wait_s(flood, LINGER, 100.01) == 0.0
    assert window_after([FLOOD] * 2, events=many, shared=False).wait_s(flood, LINGER, 200.0) == LINGER


def test_the_organisations_of_a_group_are_written_until_its_end() -> None:
    window = CommitWindow()
    window.begin([FLOOD, QUIET], 2, 100.0, shared=True)
    assert window.writing == {FLOOD, QUIET}
    window.end()
    assert window.writing == frozenset()


def test_no_request_waits_after_none() -> None:
    window = window_after([], events=0)
    assert window.writing == frozenset()
    assert window.wait_s(frozenset([FLOOD]), LINGER, 100.0) == 0.0
