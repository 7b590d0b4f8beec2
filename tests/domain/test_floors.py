"""Where a lane begins to look: past what is settled, and from the start often enough."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import DestinationNumber
from app.domain.pacing.watermarks import EVERY_S, LONGEST_REST_S, SHARE, Watermarks

KEY = (DestinationNumber(1), 0)
AT = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_first_look_begins_at_the_start_and_the_next_where_something_was_found() -> None:
    """Nothing is known at first."""
    watermarks = Watermarks()
    assert watermarks.at(100.0) == {}
    watermarks = watermarks.looked(100.0, 100.001).found(KEY, AT)
    assert watermarks.at(100.1) == {KEY: AT}
    assert watermarks.at(100.002 + EVERY_S) == {}


def test_what_is_open_again_as_due_as_it_was_is_looked_for_from_the_start() -> None:
    """After a 429, or where nobody knows what was written."""
    watermarks = Watermarks().looked(100.0, 100.001).found(KEY, AT).forgotten()
    assert watermarks.at(100.1) == {}


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=60))
def test_looks_from_the_start_come_always_again_and_never_take_more_than_their_share(
    steps: list[tuple[float, float]],
) -> None:
    """However long one takes; a look with floors is taken to cost nothing."""
    watermarks, now, spent, longest = Watermarks(), 0.0, 0.0, 0.0
    for pause, cost in steps:
        now += pause
        if watermarks.at(now) or now < watermarks.from_start_at:
            assert watermarks.from_start_at - now <= max(EVERY_S, SHARE * longest) + 1e-6
            watermarks = watermarks.looked(now, now)
            continue
        watermarks = watermarks.looked(now, now + cost).found(KEY, AT)
        now, spent, longest = now + cost, spent + cost, max(longest, cost)
        # Its share of the time until the next one may begin.
        assert spent <= watermarks.from_start_at / SHARE + 1e-6


def test_a_look_that_hung_with_its_database_does_not_put_off_the_next_for_long() -> None:
    """A database that stood still for half a minute is back; what lies before the floors is found soon."""
    watermarks = Watermarks().looked(100.0, 130.0)
    assert watermarks.from_start_at == 130.0 + LONGEST_REST_S
