"""The estimate of Amazon's limit, rule by rule: probes, drops, recovery, what counts as evidence."""

from dataclasses import replace
from itertools import count

import pytest

from app.domain.pacing.capacity_hypotheses import CapacityHypotheses
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
        assert throttle(state, 100.0).refused_at == 100.0

    def test_without_a_429_nothing_is_estimated(self) -> None:
        state = RateEstimate()
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
