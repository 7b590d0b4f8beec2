"""The event rate of an organisation: shares of processes, a second's worth at once, debts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.inbound_limit import InboundLimit, share_of

DEMANDS = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 5_000)), min_size=1, max_size=8)
RATES = st.floats(1, 1_000)


def shares_of(rate: float, demands: list[float]) -> list[float]:
    """Return what each process computes for itself."""
    return [share_of(rate, own, demands[:n] + demands[n + 1 :]) for n, own in enumerate(demands)]


class TestShares:
    def test_of_a_process_alone_is_the_limit(self) -> None:
        assert share_of(100, 0, []) == share_of(100, 30, []) == share_of(100, 500, []) == 100

    def test_of_large_demands_are_equal(self) -> None:
        assert shares_of(90, [100, 50, 2_000]) == [30, 30, 30]

    def test_of_a_small_demand_is_what_it_demands(self) -> None:
        assert shares_of(90, [100, 10, 50]) == [40, 10, 40]

    def test_beyond_the_demand_are_divided_equally(self) -> None:
        assert shares_of(90, [40, 20, 0]) == [49, 29, 12]

    def test_without_demand_is_a_tenth_of_an_equal_one(self) -> None:
        """The tenth is missing elsewhere, as if it were demanded."""
        assert shares_of(90, [100, 0, 100]) == [43.5, 3, 43.5]

    @given(rate=RATES, demands=DEMANDS)
    def test_add_up_to_the_limit(self, rate: float, demands: list[float]) -> None:
        assert sum(shares_of(rate, demands)) == pytest.approx(rate)

    @given(rate=RATES, demands=DEMANDS)
    def test_starve_no_process(self, rate: float, demands: list[float]) -> None:
        equal = rate / len(demands)
        for demand, share in zip(demands, shares_of(rate, demands), strict=True):
            assert share >= min(max(demand, equal / 10), equal) - 1e-9 * rate

    @given(rate=RATES, demands=DEMANDS)
    def test_meet_all_demands_that_fit_together(self, rate: float, demands: list[float]) -> None:
        least = rate / len(demands) / 10
        if sum(max(demand, least) for demand in demands) <= rate:
            for demand, share in zip(demands, shares_of(rate, demands), strict=True):
                assert share >= demand - 1e-9 * rate

    @given(rate=RATES, demands=DEMANDS)
    def test_follow_the_order_of_the_demands(self, rate: float, demands: list[float]) -> None:
        for less, more in pairwise(shares_of(rate, sorted(demands))):
            assert less <= more + 1e-9 * rate


class TestABucket:
    def test_admits_a_seconds_worth_at_once(self) -> None:
        limit = InboundLimit(10.0, now=5.0)
        for _ in range(10):
            assert limit.wait(5.0) <= 0
            limit.take(1, 5.0)
        assert limit.wait(5.0) == pytest.approx(0.1)
        assert limit.wait(5.125) <= 0

    def test_admits_a_large_request_that_is_then_owed(self) -> None:
        """The requests after it wait until the debt is paid and one event fits."""
        limit = InboundLimit(10.0, now=0.0)
        limit.take(60, 0.0)
        assert limit.wait(0.0) == pytest.approx(5.1)
        assert limit.wait(2.0) == pytest.approx(3.1)
        assert limit.wait(5.1) <= 1e-9

    def test_saves_up_one_second_only(self) -> None:
        limit = InboundLimit(10.0, now=0.0)
        limit.take(10, 1000.0)
        assert limit.wait(1000.0) == pytest.approx(0.1)

    def test_must_hold_one_event(self) -> None:
        """Exactly one is enough, less is not."""
        limit = InboundLimit(2.0, now=0.0)
        limit.take(1, 0.0)
        assert limit.wait(0.0) == 0
        limit.take(1, 0.0)
        assert limit.wait(0.0) == pytest.approx(0.5)
        assert limit.wait(0.25) == pytest.approx(0.25)

    def test_of_less_than_an_event_a_second_admits_one(self) -> None:
        limit = InboundLimit(1.0, now=0.0, part=0.25)
        assert limit.wait(0.0) <= 0
        limit.take(1, 0.0)
        assert limit.wait(0.0) == pytest.approx(4)
        assert limit.wait(4.0) == pytest.approx(0)

    def test_fills_at_its_share(self) -> None:
        limit = InboundLimit(10.0, now=0.0)
        limit.divide(2.0, seconds=0.0, now=0.0)
        assert limit.share == 2
        limit.take(4, 0.0)
        assert limit.wait(0.0) == pytest.approx(1)
        assert limit.wait(1.0) == pytest.approx(0)

    def test_holds_one_and_a_half_seconds_of_a_share_but_no_more_than_a_second_of_the_limit(self) -> None:
        for share, burst in ((4.0, 6), (8.0, 10)):
            limit = InboundLimit(10.0, now=0.0)
            limit.divide(share, seconds=0.0, now=0.0)
            limit.take(burst - 1, 0.0)
            assert limit.wait(0.0) == 0
            limit.take(1, 0.0)
            assert limit.wait(0.0) == pytest.approx(1 / share)

    def test_makes_up_for_what_it_admitted_with_too_large_a_share(self) -> None:
        """A second of the limit, and another half after it; its share is half."""
        limit = InboundLimit(10.0, now=0.0)
        limit.take(10, 0.0)
        limit.take(5, 0.5)
        limit.divide(5.0, seconds=0.5, now=0.5)
        assert limit.wait(0.5) == pytest.approx((15 - 5 + 2.5 + 1 - 7.5) / 5)

    def test_counts_a_larger_share_for_the_last_seconds_too(self) -> None:
        limit = InboundLimit(10.0, now=0.0, part=0.5)
        limit.take(20, 0.0)
        limit.divide(10.0, seconds=1.0, now=1.0)
        assert limit.wait(1.0) == pytest.approx((20 - 10 - 10 + 1) / 10)
        limit.divide(10.0, seconds=1.0, now=5.0)
        limit.take(10, 5.0)
        assert limit.wait(5.0) == pytest.approx(0.1)  # saves up no more than before


@given(
    rate=RATES,
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
