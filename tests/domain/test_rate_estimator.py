"""The rules that follow a hidden limit by the share of 429s. `test_lanes.py` simulates them together."""

from dataclasses import replace

import pytest

from app.domain.pacing.rate_estimator import (
    DECISION_S,
    LARGE_STEP,
    MARGIN,
    MOST_REQUESTS,
    NEAR_S,
    SMALL_STEP,
    RateEstimate,
)
from tests.tables import cases

LIMIT = 20.0


def after(
    estimate: RateEstimate,
    answers: str,
    *,
    start: float = 0.1,
    gap: float = 0.1,
    retry_after: float | None = None,
) -> RateEstimate:
    """Return the estimate after these answers: a dot is an accepted request, an x a 429."""
    for number, answer in enumerate(answers):
        at, throttled = start + number * gap, answer == "x"
        estimate = estimate.answered(
            at, sent_at=at, limit=LIMIT, throttled=throttled, retry_after=retry_after
        )
    return estimate


def mixed(requests: int, throttles: int) -> str:
    """Return answers with the 429s at the end."""
    return "." * (requests - throttles) + "x" * throttles


class TestAnExcess:
    @cases(
        ("answers", "lowers"),
        {
            "a fifth": (mixed(20, 4), True),
            "three 429s say nothing about their share": (mixed(20, 3), False),
            "fewer than twenty requests within ten seconds": (mixed(19, 19), False),
            "just above 7 %": (mixed(57, 4), True),
            "just below 7 %": (mixed(58, 4), False),
        },
    )
    def test_is_a_share_of_429s_among_enough_requests(self, answers: str, lowers: bool) -> None:
        # A rate near the ceiling, so that accepted requests alone do not end the count.
        estimate = RateEstimate(10.0, ceiling=10.0, since=0.0)
        assert ((after(estimate, answers).rate or 0) < 10.0) is lowers

    def test_is_also_decided_after_ten_seconds(self) -> None:
        estimate = RateEstimate(10.0, ceiling=10.0)
        assert after(estimate, ".xxxx", start=DECISION_S - 4, gap=1.0).rate == pytest.approx(5.0 * MARGIN)

    def test_begins_above_7_per_cent(self) -> None:
        """At exactly 7 % the rate is not lowered, and may rise."""
        six, seven = (RateEstimate(10.0, ceiling=ceiling, requests=99) for ceiling in (10.0, None))
        assert after(replace(six, throttles=6), "x") == replace(six, requests=100, throttles=7)
        assert after(replace(seven, throttles=7), ".").rate == pytest.approx(10.0 * LARGE_STEP)

    def test_lowers_the_rate_to_the_accepted_part(self) -> None:
        lowered = after(RateEstimate(), mixed(20, 8))
        assert lowered.rate == pytest.approx(LIMIT * 0.6 * MARGIN)
        assert lowered.ceiling == pytest.approx(LIMIT * 0.6)
        assert (lowered.requests, lowered.throttles) == (0, 0)

    def test_lowers_by_half_at_most(self) -> None:
        assert after(RateEstimate(), mixed(20, 19)).rate == pytest.approx(LIMIT * 0.5 * MARGIN)
        assert after(RateEstimate(0.05, ceiling=0.05), mixed(20, 19)).rate == 0.05

    def test_goes_back_to_the_last_rate_with_few_429s_first(self) -> None:
        """And to the accepted part if that is not enough."""
        first = after(RateEstimate(10.5, ceiling=10.0, proven=10.0), mixed(20, 12))
        assert (first.rate, first.ceiling, first.proven) == (9.0, 10.0, None)
        assert after(first, mixed(20, 12), start=10.0).rate == pytest.approx(9.0 * 0.5 * MARGIN)
        same = after(RateEstimate(10.0, ceiling=10.0, proven=10.0), mixed(20, 8))
        assert (same.rate, same.ceiling) == (pytest.approx(10.0 * 0.6 * MARGIN), 10.0)

    def test_of_everything_says_nothing_about_the_limit(self) -> None:
        """So the rate falls to half of the configured one, and not further."""
        estimate = after(RateEstimate(10.0, ceiling=9.0), "x" * 20)
        assert (estimate.rate, estimate.ceiling, estimate.requests) == (9.0, 9.0, 0)
        assert after(estimate, "x" * 40, start=10.0).rate == 9.0

    def test_does_not_count_requests_sent_at_an_earlier_rate(self) -> None:
        estimate = RateEstimate(10.0, since=5.0)
        assert after(estimate, "x" * 40) == estimate
        assert after(estimate, "x", start=5.0).requests == 1


class TestCostly429s:
    """Each costs more requests than it saves: the rate goes down in steps, and back if that ends none."""

    def test_lower_the_rate_by_a_step(self) -> None:
        lowered = after(RateEstimate(10.0), ".x", retry_after=1.0)
        expected = (9.5, 9.5, 10.0, 1, 0)
        found = (lowered.rate, lowered.ceiling, lowered.tried_from, lowered.trials, lowered.streak)
        assert found == expected

    def test_cost_more_than_18_per_cent_of_the_requests_and_twenty(self) -> None:
        estimate = RateEstimate(9.0, ceiling=9.0, requests=29)
        assert after(estimate, "x", retry_after=1.0).rate == 9.0
        assert after(estimate, "x", retry_after=1.01).rate == 9.0 * 0.95

    def test_of_everything_are_no_reason(self) -> None:
        assert after(RateEstimate(10.0), "x", retry_after=1.0).rate == 10.0

    @cases(
        ("tried_from", "restored"),
        {"below the configured limit": (10.0, 10.0), "at the configured limit": (LIMIT, None)},
    )
    def test_that_do_not_end_after_four_steps_restore_the_rate(
        self, tried_from: float, restored: float | None
    ) -> None:
        """And count as random for five minutes."""
        estimate, rates = RateEstimate(tried_from), []
        for number in range(4):
            estimate = after(estimate, ".x", start=float(number), retry_after=1.0)
            rates.append(estimate.rate)
        expected = [tried_from * 0.95, tried_from * 0.95 * 0.9, tried_from * 0.95 * 0.9 * 0.75]
        assert rates == pytest.approx([*expected, expected[-1] * 0.6])
        waiting = after(estimate, "x", start=4.0, retry_after=1.0)
        assert (waiting.rate, waiting.trials, waiting.requests) == (estimate.rate, 4, 9)
        ended = after(replace(estimate, requests=79), "x", start=10.0, retry_after=1.0)
        assert (ended.rate, ended.ceiling, ended.random_until) == (restored, None, 310.0)
        late = replace(ended, rate=10.0, since=300.0)
        assert after(late, ".x", start=309.0, gap=0.9, retry_after=1.0).rate == 10.0
        assert after(late, ".x", start=309.0, gap=1.0, retry_after=1.0).rate == 9.5


class TestAStepUp:
    def test_is_large_without_a_ceiling(self) -> None:
        assert after(RateEstimate(10.0), "." * 20).rate == pytest.approx(10.0 * LARGE_STEP)
        assert after(RateEstimate(10.0), "." * 19).rate == 10.0

    def test_is_small_near_the_ceiling_and_needs_more_requests(self) -> None:
        near = RateEstimate(9.5, ceiling=10.0)
        assert after(near, "." * (MOST_REQUESTS - 1)).rate == 9.5
        assert after(near, "." * MOST_REQUESTS).rate == pytest.approx(9.5 * SMALL_STEP)
        costly = replace(near, cost=10.0)
        assert after(costly, "." * 69).rate == 9.5
        assert after(costly, "." * 70).rate == pytest.approx(9.5 * SMALL_STEP)
        assert after(near, ".", start=NEAR_S).rate == pytest.approx(9.5 * SMALL_STEP ** (NEAR_S / DECISION_S))
        assert after(near, ".", start=NEAR_S - 0.1).rate == 9.5

    def test_from_below_ends_near_the_ceiling(self) -> None:
        assert after(RateEstimate(8.5, ceiling=10.0), "." * 20).rate == 9.0
        assert after(RateEstimate(8.8, ceiling=10.0), "." * 20).rate == pytest.approx(8.8 * SMALL_STEP)

    def test_is_large_again_above_the_ceiling(self) -> None:
        """Amazon's limit has risen."""
        assert after(RateEstimate(10.5, ceiling=10.0), "." * 20).rate == pytest.approx(10.5 * LARGE_STEP)

    def test_happens_with_a_few_429s(self) -> None:
        few = ("." * 18 + "x") * 3 + "..."
        assert after(RateEstimate(10.0), few).rate == pytest.approx(10.0 * LARGE_STEP)

    def test_happens_after_a_streak(self) -> None:
        """Whatever came before it: the end of an outage."""
        assert after(RateEstimate(10.0), "x" * 15 + "." * 20).rate == pytest.approx(10.0 * LARGE_STEP)
        assert after(RateEstimate(10.0), "x" + "." * 19).rate == 10.0

    def test_catches_up_for_a_lane_with_little_traffic(self) -> None:
        """A step for each ten seconds that passed, twenty at most."""
        assert after(RateEstimate(1.0), ".", start=30.0).rate == pytest.approx(LARGE_STEP**3)
        assert after(RateEstimate(0.05), ".", start=300.0).rate == pytest.approx(0.05 * LARGE_STEP**20)

    def test_to_the_configured_limit_ends_the_estimate(self) -> None:
        """The configured limit applies with its burst."""
        assert after(RateEstimate(18.0), "." * 20).rate is None
        assert LIMIT / LARGE_STEP * LARGE_STEP == LIMIT
        assert after(RateEstimate(LIMIT / LARGE_STEP), "." * 20).rate is None


def test_a_new_lane_has_no_estimate() -> None:
    never = float("-inf")
    assert RateEstimate() == RateEstimate(None, None, None, 0, 0, 0, 0.0, 0.0, 0.0, 0, never)


def test_a_former_owners_rate_is_the_first_ceiling() -> None:
    """It sends at this rate, and takes small steps from it."""
    estimate = RateEstimate.from_former_owner(3.0, now=100.0)
    assert (estimate.rate, estimate.ceiling, estimate.since) == (3.0, 3.0, 100.0)
