"""Low watermarks: where a due-scan starts, and how often it starts from the beginning."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import DestinationNumber
from app.domain.pacing.order import FULL_SCAN_EVERY_S, FULL_SCAN_SHARE, LONGEST_REST_S, Watermarks

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


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=60))
def test_full_scans_recur_and_never_take_more_than_their_share(steps: list[tuple[float, float]]) -> None:
    """Whatever a full scan costs; a scan from a watermark is assumed to cost nothing."""
    watermarks, now, spent, longest = Watermarks(), 0.0, 0.0, 0.0
    for pause, cost in steps:
        now += pause
        if watermarks.usable(now) or now < watermarks.full_scan_at:
            most = max(FULL_SCAN_EVERY_S, FULL_SCAN_SHARE * longest)
            assert watermarks.full_scan_at - now <= most + 1e-6
            watermarks.note_poll(now, now)
            continue
        watermarks.note_poll(now, now + cost)
        watermarks.advance(KEY, DUE_AT)
        now, spent, longest = now + cost, spent + cost, max(longest, cost)
        # Its share of the time until the next full scan may start.
        assert spent <= watermarks.full_scan_at / FULL_SCAN_SHARE + 1e-6


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
