"""The grid of candidate limits against a plain form of its model, number by number."""

from array import array
from dataclasses import dataclass
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.pacing.capacity_hypotheses import BURSTS, CapacityHypotheses, rates_below

# Bursts with their prior probabilities; a burst of one is rare, since it explains too much.
PRIOR = {1.0: 0.1, 2.0: 0.3, 3.0: 0.2, 5.0: 0.2, 8.0: 0.2}


@dataclass
class Candidate:
    """One hypothesis: a bucket of this rate and burst, with bounds of its tokens and a weight."""

    burst: float
    rate: float
    low: float
    high: float
    weight: float


class PlainModel:
    """The model as the module's docstring states it, without its speed."""

    def __init__(self, limit: float, at: float) -> None:
        # Rates rise by 4 %, from about a 64th of the limit to the limit.
        self.rates = [limit / 1.04**step for step in range(106, -1, -1)]
        self.limit, self.at = limit, at
        self.all = [
            Candidate(burst, rate, 0.0, burst, share / 107)
            for burst, share in PRIOR.items()
            for rate in self.rates
        ]

    def elapse(self, at: float) -> float:
        elapsed, self.at = max(0.0, at - self.at), max(self.at, at)
        return elapsed

    def accept(self, at: float) -> None:
        elapsed = self.elapse(at)
        for each in self.all:
            low = min(each.burst, each.low + each.rate * elapsed)
            high = min(each.burst, each.high + each.rate * elapsed)
            each.weight *= exp(max(-4.0, -8.0 * max(0.0, 1 - high)))
            each.low, each.high = max(0.0, low - 1), max(0.0, high - 1)
        self.normalise()

    def refuse(self, at: float) -> None:
        elapsed = self.elapse(at)
        for each in self.all:
            # Without the bound of the burst: what flowed into a full bucket counts against it too.
            each.weight *= exp(max(-4.0, -60.0 * max(0.0, each.low + each.rate * elapsed - 0.97)))
            each.low, each.high = 0.0, 1.0
        self.normalise()

    def change(self) -> None:
        for burst in PRIOR:
            group = [each for each in self.all if each.burst == burst]
            mean = sum(each.weight for each in group) / len(group)
            for each in group:
                each.weight = 0.97 * each.weight + 0.03 * mean

    def normalise(self) -> None:
        total = sum(each.weight for each in self.all)
        for each in self.all:
            each.weight /= total


def same(left: CapacityHypotheses, right: PlainModel) -> None:
    assert left.limit == right.limit
    assert left.at == right.at
    assert list(left.low) == pytest.approx([each.low for each in right.all])
    assert list(left.high) == pytest.approx([each.high for each in right.all])
    assert list(left.weight) == pytest.approx([each.weight for each in right.all])


STEPS = st.lists(
    st.tuples(st.sampled_from(["accepted", "refused", "changed"]), st.floats(-0.5, 3)), min_size=1, max_size=8
)


@given(limit=st.floats(0.5, 50), steps=STEPS)
@settings(max_examples=25)
def test_every_answer_is_weighed_as_the_model_says(limit: float, steps: list[tuple[str, float]]) -> None:
    """Also for answers that arrive out of order: no time passes then."""
    hypotheses, model, now = CapacityHypotheses.uniform(limit, 5.0), PlainModel(limit, 5.0), 5.0
    same(hypotheses, model)
    for kind, gap in steps:
        now += gap
        if kind == "accepted":
            hypotheses = hypotheses.accepted(now)
            model.accept(now)
        elif kind == "refused":
            hypotheses = hypotheses.refused(now)
            model.refuse(now)
        else:
            hypotheses = hypotheses.after_possible_change()
            model.change()
        same(hypotheses, model)


def test_the_grid_ends_at_the_limit_and_spans_a_factor_of_sixty_four() -> None:
    rates = rates_below(10.0)
    assert rates[-1] == 10.0
    assert rates[0] == pytest.approx(10 / 64, rel=0.01)
    assert len(rates) == 107
    assert tuple(PRIOR) == BURSTS


@pytest.mark.parametrize("rate", [0.5, 3.0, 20.0])
def test_a_former_owners_rate_is_the_median(rate: float) -> None:
    """Of any burst; the limit may have moved meanwhile."""
    around = CapacityHypotheses.around(rate, 20.0, 7.0)
    nearest = min(rates_below(20.0), key=lambda candidate: abs(log(candidate) - log(rate)))
    assert around.rate_reached() == nearest
    assert (around.limit, around.at) == (20.0, 7.0)
    assert sum(around.weight) == pytest.approx(1)
    for row, share in enumerate(PRIOR.values()):
        of_burst = list(around.weight[row * 107 : (row + 1) * 107])
        assert max(of_burst) == pytest.approx(share * (0.97 + 0.03 / 107))
        assert min(of_burst) == pytest.approx(share * 0.03 / 107)


def weighted(**by_column: float) -> CapacityHypotheses:
    """Return hypotheses of burst two with these weights, by column (`c0` is the lowest rate)."""
    weight = array("d", [0.0] * 5 * 107)
    for column, share in by_column.items():
        weight[107 + int(column[1:])] = share
    plain = CapacityHypotheses.uniform(10.0, 0.0)
    return CapacityHypotheses(10.0, plain.low, plain.high, weight, 0.0)


def test_a_rate_is_reached_with_a_probability() -> None:
    """The highest rate for which the weights of this and all higher rates make up more than it."""
    hypotheses, rates = weighted(c0=0.25, c50=0.5, c106=0.25), rates_below(10.0)
    assert hypotheses.rate_reached() == rates[50]
    assert hypotheses.rate_reached(0.8) == rates[0]
    assert hypotheses.rate_reached(0.1) == rates[106]
    # Exactly half lies below: the limit is above it.
    assert weighted(c3=0.5, c4=0.5).rate_reached() == rates[4]
    assert hypotheses.rate_reached(0.0) == 10.0


def test_bursts_are_allowed_once_a_burst_of_one_is_improbable() -> None:
    """Below a probability of a quarter."""
    plain = CapacityHypotheses.uniform(10.0, 0.0)

    def with_single(share: float) -> CapacityHypotheses:
        weight = array("d", [0.0] * 5 * 107)
        weight[106], weight[107] = share, 1 - share
        return CapacityHypotheses(10.0, plain.low, plain.high, weight, 0.0)

    assert with_single(0.24).allows_bursts
    assert not with_single(0.25).allows_bursts
    assert not with_single(0.9).allows_bursts
