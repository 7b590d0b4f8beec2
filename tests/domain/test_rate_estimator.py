"""The estimate of Amazon's limit, rule by rule: probes, drops, recovery, what counts as evidence."""

from array import array
from dataclasses import replace
from itertools import count

import pytest

from app.domain.pacing.capacity_hypotheses import CapacityHypotheses, rates_below
from app.domain.pacing.rate_estimator import RateEstimate

LIMIT = 20.0


def estimate(rate: float, **more: object) -> RateEstimate:
    """Return an estimate whose last 429 and last evidence were at 100 s."""
    return replace(RateEstimate(rate, sent_at=100.0, refused_at=100.0), **more)  # type: ignore[arg-type]


def accept(state: RateEstimate, at: float) -> RateEstimate:
    return state.accepted(at, sent_at=at, limit=LIMIT)


def throttle(state: RateEstimate, at: float, *, wait: float = 0.25) -> RateEstimate:
    return state.throttled(at, sent_at=at, limit=LIMIT, wait=wait)


class TestAFormerOwner:
    def test_leaves_a_rate_that_may_just_have_dropped(self) -> None:
        """The first probe comes after 12 s, and two more are early."""
        taken = RateEstimate.from_former_owner(3.0, now=50.0)
        assert taken == RateEstimate(3.0, probe_at=62.0, early_probes=3, sent_at=50.0, refused_at=50.0)


class TestRecovery:
    """A lane with little traffic: two minutes after its last 429 the rate doubles every minute."""

    @pytest.mark.parametrize(
        ("now", "rate"), [(100, 2), (220, 2), (250, 2 * 2**0.5), (280, 4), (340, 8), (400, 16), (430, 20)]
    )
    def test_the_rate_rises_with_time_up_to_the_limit(self, now: float, rate: float) -> None:
        assert estimate(2.0).rate_at(now, limit=LIMIT) == pytest.approx(rate)

    def test_a_lane_that_uses_more_than_half_of_its_rate_does_not_recover(self) -> None:
        """Its requests are evidence: 300 s at 2 a second are 600."""
        assert estimate(2.0, requests=301).rate_at(400, limit=LIMIT) == 2.0
        assert estimate(2.0, requests=300).rate_at(400, limit=LIMIT) == 16.0

    def test_a_recovery_that_led_to_a_429_comes_later(self) -> None:
        assert estimate(2.0, quiet_s=240.0).rate_at(340, limit=LIMIT) == 2.0
        assert estimate(2.0, quiet_s=240.0).rate_at(400, limit=LIMIT) == 4.0

    def test_a_year_later_the_rate_is_a_number(self) -> None:
        """However low it was: twenty doublings are enough for every limit."""
        assert estimate(1e-9).rate_at(1e8, limit=LIMIT) == pytest.approx(1e-9 * 2**20)

    def test_without_an_estimate_there_is_none(self) -> None:
        assert RateEstimate().rate_at(1e8, limit=LIMIT) is None

    def test_the_first_request_after_it_ends_the_estimate(self) -> None:
        """The configured limit holds again; when the last 429 was is not forgotten."""
        recovered = accept(estimate(2.0, quiet_s=240.0), 2000.0)
        assert recovered == RateEstimate(refused_at=100.0, quiet_s=240.0)

    def test_a_probe_at_the_limit_is_no_recovery(self) -> None:
        """Amazon has not accepted it for long enough to know."""
        probing = estimate(2.0, rate_before_probe=1.9)
        assert accept(probing, 2000.0).rate is not None


class TestEvidence:
    def test_an_older_answer_changes_nothing(self) -> None:
        """It was counted in what came after it; one of the same moment counts."""
        state = estimate(3.0)
        assert accept(state, 99.9) is state
        assert throttle(state, 99.9) is state
        assert accept(state, 100.0).requests == 1
        assert throttle(estimate(3.0, refused_at=90.0), 100.0).refused_at == 100.0

    def test_without_a_429_nothing_is_estimated(self) -> None:
        state = RateEstimate()
        never = float("-inf")
        assert state == RateEstimate(None, None, None, 0.0, 0, False, 0, never, never, 120.0)
        assert accept(state, 100.0) is state

    def test_the_first_429_gives_97_percent_of_the_median(self) -> None:
        """The limit may be any, and may just have changed."""
        hypotheses = CapacityHypotheses.uniform(LIMIT, 100.0).after_possible_change().refused(100.0)
        first = throttle(RateEstimate(), 100.0)
        assert first.rate == pytest.approx(0.97 * hypotheses.rate_reached())
        assert list(first.hypotheses.weight) == pytest.approx(list(hypotheses.weight))  # type: ignore[union-attr]
        assert (first.sent_at, first.refused_at, first.requests, first.quiet_s) == (100.0, 100.0, 0, 120.0)

    def test_each_accepted_request_is_weighed(self) -> None:
        state = throttle(RateEstimate(), 100.0)
        after = accept(state, 100.2)
        assert state.hypotheses is not None
        weighed = state.hypotheses.accepted(100.2)
        assert after.rate == pytest.approx(0.97 * weighed.rate_reached())
        assert (after.requests, after.sent_at, after.refused_at) == (1, 100.2, 100.0)
        assert after.allows_bursts is weighed.allows_bursts

    def test_a_former_owners_rate_is_where_the_evidence_starts(self) -> None:
        """It was 97 % of an estimate. A changed limit starts there too, outside the rate of a probe."""
        around = CapacityHypotheses.around(3.0 / 0.97, LIMIT, 100.3).accepted(100.3)
        taken = accept(RateEstimate.from_former_owner(3.0, now=100.0), 100.3)
        assert taken.rate == pytest.approx(0.97 * around.rate_reached())
        lower = taken.accepted(100.6, sent_at=100.6, limit=10.0)
        assert lower.hypotheses is not None
        assert lower.hypotheses.limit == 10.0
        probing = replace(taken, rate=4.0, rate_before_probe=3.0)
        moved = probing.throttled(100.6, sent_at=100.6, limit=10.0, wait=0.25)
        assert moved.rate is not None
        assert moved.rate < 3.2


def busy(requests: int, *, probe_at: float = 0.0, early_probes: int = 0) -> RateEstimate:
    """Return the state of a lane that was throttled at 3 a second, with so many accepted requests since."""
    taken = accept(RateEstimate.from_former_owner(3.0, now=100.0), 100.3)
    return replace(taken, requests=requests, probe_at=probe_at, early_probes=early_probes)


class TestProbes:
    def test_a_probe_starts_after_its_time_and_sixty_requests(self) -> None:
        assert accept(busy(60, probe_at=100.6), 100.6).rate_before_probe == busy(60).rate
        assert accept(busy(60, probe_at=100.7), 100.6).rate_before_probe is None
        assert accept(busy(59, probe_at=100.6), 100.6).rate_before_probe is None

    def test_an_early_probe_needs_no_requests(self) -> None:
        assert accept(busy(0, early_probes=1), 100.6).rate_before_probe is not None

    def test_a_probe_raises_the_rate_by_six_percent_with_each_request(self) -> None:
        """The limit may have changed before it: the transition is applied."""
        before = busy(60)
        probing = accept(before, 100.6)
        assert before.rate is not None
        assert before.hypotheses is not None
        assert probing.rate == pytest.approx(before.rate * 1.06)
        moved = before.hypotheses.accepted(100.6).after_possible_change()
        assert list(probing.hypotheses.weight) == pytest.approx(list(moved.weight))  # type: ignore[union-attr]
        further = accept(probing, 100.9)
        assert further.rate == pytest.approx(before.rate * 1.06**2)
        assert further.rate_before_probe == before.rate
        assert (probing.settled_rate, before.settled_rate) == (before.rate, before.rate)

    def test_a_lane_that_does_not_wait_for_its_pace_does_not_probe(self) -> None:
        """The last request came more than 1.6 intervals and 0.15 s before."""
        state = busy(60)
        assert state.rate is not None
        edge = 100.3 + 1.6 / state.rate + 0.15
        assert accept(state, edge - 1e-6).rate_before_probe is not None
        assert accept(state, edge + 1e-3).rate_before_probe is None

    def test_a_probe_ends_where_requests_stop_waiting(self) -> None:
        probing = accept(busy(60), 100.6)
        assert accept(probing, 105.0).rate_before_probe is None

    def test_a_probe_that_reaches_the_limit_ends_the_estimate(self) -> None:
        """Amazon accepts the configured rate."""
        state, now = busy(60), 100.3
        for _ in count():
            now += 1 / (state.rate or LIMIT)
            state = accept(state, now)
            if state.rate is None:
                break
            assert state.rate <= LIMIT
        assert state == RateEstimate()


class TestRefusals:
    def rest(self, state: RateEstimate, at: float = 100.6, **more: float) -> tuple[float, int]:
        """Return the time from a 429 to the next probe, and how many early ones are left."""
        after = throttle(state, at, **more)
        return round(after.probe_at - at, 6), after.early_probes

    def test_a_small_drop_is_followed_by_a_probe_after_25_seconds(self) -> None:
        assert self.rest(busy(10)) == (25.0, 0)

    def test_after_a_large_drop_the_next_three_probes_come_sooner(self) -> None:
        """Below six tenths of the rate before."""
        state = replace(busy(10), rate=19.0)
        assert self.rest(state) == (12.0, 3)

    def test_a_long_retry_after_delays_the_probe(self) -> None:
        """By ten of its windows: what it costs is time."""
        assert self.rest(busy(10), wait=3.0) == (30.0, 0)
        assert self.rest(busy(10), wait=2.4) == (25.0, 0)

    def test_early_probes_left_keep_their_interval(self) -> None:
        assert self.rest(busy(10, early_probes=2)) == (12.0, 2)

    def test_a_429_without_a_probe_may_mean_that_the_limit_changed(self) -> None:
        state = busy(10)
        assert state.hypotheses is not None
        expected = state.hypotheses.after_possible_change().refused(100.6)
        assert list(throttle(state, 100.6).hypotheses.weight) == pytest.approx(list(expected.weight))  # type: ignore[union-attr]

    def test_the_429_that_ends_a_probe_counts_the_change_once(self) -> None:
        """The transition was applied when the probe started."""
        probing = accept(busy(60), 100.6)
        assert probing.hypotheses is not None
        expected = probing.hypotheses.refused(100.9)
        ended = throttle(probing, 100.9)
        assert list(ended.hypotheses.weight) == pytest.approx(list(expected.weight))  # type: ignore[union-attr]
        assert ended.rate_before_probe is None

    def test_a_probe_uses_up_an_early_one(self) -> None:
        """None is left below zero, and none is needed where a higher limit was found."""
        probing = accept(busy(60, early_probes=3), 100.6)
        undecided = throttle(probing, 100.9)
        assert undecided.early_probes == 2
        found = replace(probing, rate_before_probe=0.5)
        assert throttle(found, 100.9).early_probes <= 1
        last = accept(busy(60, early_probes=1), 100.6)
        assert throttle(last, 100.9).early_probes in (0, 1)


def in_probe(tail_steps: int, *, before: float = 3.0, early_probes: int = 0) -> RateEstimate:
    """Return a lane in a probe. The limit is at column 50 of the grid, or so many steps of 4 % higher."""
    rates = rates_below(LIMIT)
    weight = array("d", [0.0] * 5 * len(rates))
    weight[len(rates) + 50], weight[len(rates) + 50 + tail_steps] = 0.85, 0.15
    plain = CapacityHypotheses.uniform(LIMIT, 100.6)
    return RateEstimate(
        rates[50],
        CapacityHypotheses(LIMIT, plain.low, plain.high, weight, 100.6),
        rate_before_probe=before,
        early_probes=early_probes,
        sent_at=100.6,
        refused_at=100.0,
    )


MEDIAN = 0.97 * rates_below(LIMIT)[50]


class TestTheEndOfAProbe:
    """A refusal of that moment shifts no weight, so that each rule is seen alone."""

    def ended(self, state: RateEstimate) -> tuple[float, int]:
        after = throttle(state, 100.6)
        assert after.rate == pytest.approx(MEDIAN)
        return round(after.probe_at - 100.6, 6), after.early_probes

    def test_where_the_limit_may_be_half_as_high_again_the_next_follows_after_three_seconds(self) -> None:
        """Ten steps are 48 %, of a rate that is 97 % of the median: more than 1.5 times."""
        assert self.ended(in_probe(10, before=MEDIAN)) == (3.0, 1)
        assert self.ended(in_probe(9, before=MEDIAN)) == (25.0, 0)
        assert self.ended(in_probe(10, before=MEDIAN, early_probes=3)) == (3.0, 2)

    def test_a_rate_that_rose_by_a_tenth_ends_the_early_probes(self) -> None:
        assert self.ended(in_probe(1, before=MEDIAN / 1.1 - 1e-6, early_probes=3)) == (25.0, 0)
        assert self.ended(in_probe(1, before=MEDIAN / 1.1 + 1e-6, early_probes=3)) == (12.0, 2)

    def test_no_early_probe_is_left_after_the_last(self) -> None:
        assert self.ended(in_probe(1, before=MEDIAN, early_probes=1)) == (25.0, 0)
        assert self.ended(in_probe(1, before=MEDIAN, early_probes=0)) == (25.0, 0)


@pytest.mark.parametrize(
    ("since", "quiet_s", "then"),
    [
        (240.0, 240.0, 240.0),
        (240.1, 240.0, 480.0),
        (2_399.0, 240.0, 480.0),
        (2_400.0, 240.0, 120.0),
        (1_500.0, 1_200.0, 1_800.0),
    ],
)
def test_a_429_after_a_recovery_doubles_the_quiet_time(since: float, quiet_s: float, then: float) -> None:
    """Up to half an hour; one that comes ten times as late is no evidence of it."""
    state = RateEstimate(3.0, quiet_s=quiet_s, sent_at=0.0, refused_at=0.0)
    assert state.throttled(since, sent_at=since, limit=LIMIT, wait=0.25).quiet_s == then


@pytest.mark.parametrize(("share", "early_probes"), [(0.59, 3), (0.61, 0)])
def test_a_rate_below_six_tenths_of_the_one_before_is_a_drop(share: float, early_probes: int) -> None:
    first = throttle(RateEstimate(), 100.0)
    assert first.hypotheses is not None
    after = first.hypotheses.after_possible_change().refused(100.0)
    before = 0.97 * after.rate_reached() / share
    assert throttle(replace(first, rate=before), 100.0).early_probes == early_probes


def test_a_probe_that_reached_the_limit_needs_the_estimate_to_agree() -> None:
    """A rate at the configured limit drops only after the median has arrived there too."""
    rates = rates_below(LIMIT)
    state = replace(in_probe(1), rate=LIMIT)
    assert state.hypotheses is not None
    after = accept(state, 100.7)
    assert (after.rate, after.rate_before_probe) == (LIMIT, 3.0)
    assert state.hypotheses.rate_reached() == rates[50]
