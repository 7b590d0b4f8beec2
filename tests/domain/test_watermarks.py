"""Low watermarks: where a due-scan starts, and how often it starts from the beginning."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import DestinationNumber
from app.domain.pacing.watermarks import FULL_SCAN_EVERY_S, FULL_SCAN_SHARE, LONGEST_REST_S, Watermarks

KEY = (DestinationNumber(1), 0)
DUE_AT = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_first_poll_is_a_full_scan_and_the_next_starts_at_the_watermark() -> None:
    """A full scan follows after its interval."""
    watermarks = Watermarks()
    assert watermarks.usable(100.0) == {}
    watermarks = watermarks.after_poll(100.0, 100.001).advanced(KEY, DUE_AT)
    assert watermarks.usable(100.1) == {KEY: DUE_AT}
    assert watermarks.usable(100.002 + FULL_SCAN_EVERY_S) == {}


def test_a_batch_that_is_open_again_is_found_by_a_full_scan() -> None:
    """After a 429, or a settlement whose outcome is unknown."""
    watermarks = Watermarks().after_poll(100.0, 100.001).advanced(KEY, DUE_AT).reset()
    assert watermarks.usable(100.1) == {}


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=60))
def test_full_scans_recur_and_never_take_more_than_their_share(steps: list[tuple[float, float]]) -> None:
    """Whatever a full scan costs; a scan from a watermark is assumed to cost nothing."""
    watermarks, now, spent, longest = Watermarks(), 0.0, 0.0, 0.0
    for pause, cost in steps:
        now += pause
        if watermarks.usable(now) or now < watermarks.full_scan_at:
            most = max(FULL_SCAN_EVERY_S, FULL_SCAN_SHARE * longest)
            assert watermarks.full_scan_at - now <= most + 1e-6
            watermarks = watermarks.after_poll(now, now)
            continue
        watermarks = watermarks.after_poll(now, now + cost).advanced(KEY, DUE_AT)
        now, spent, longest = now + cost, spent + cost, max(longest, cost)
        # Its share of the time until the next full scan may start.
        assert spent <= watermarks.full_scan_at / FULL_SCAN_SHARE + 1e-6


def test_a_scan_that_hung_with_its_database_does_not_delay_the_next_for_long() -> None:
    """The database was frozen for half a minute: batches below the watermark are found soon after."""
    watermarks = Watermarks().after_poll(100.0, 130.0)
    assert watermarks.full_scan_at == 130.0 + LONGEST_REST_S
