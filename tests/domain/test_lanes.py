"""A lane's laws: what a 429 teaches, what many failures close, and whose turn it is."""

import random
from statistics import mean

import pytest

from app.domain.breaking import LONGEST_WAIT_S, Breaker, BreakerState
from app.domain.learning import Learned
from app.domain.pacing import Limit, Pace
from app.domain.turns import REPLAY_SHARE, Service, Turns


class Stand:
    """A stand-in with a token bucket nobody was told of, driven by a simulated lane without any waiting."""

    def __init__(self, *, limit: float, burst: float, retry_after: float | None, seed: int) -> None:
        self.limit, self.burst, self.retry_after = limit, burst, retry_after
        self.level, self.seen, self.now = burst, 0.0, 0.0
        self.luck = random.Random(seed)
        self.pace, self.configured = Pace(), Limit(20, 5)
        self.log: list[tuple[float, bool]] = []

    def run(self, seconds: float) -> list[tuple[float, bool]]:
        """Send for that long; return (moment, taken) of each request."""
        start, until = len(self.log), self.now + seconds
        while (ready := self.pace.ready_at(self.configured, self.now)) < until:
            self.now = ready + self.luck.random() * 0.004
            self.level = min(self.burst, self.level + (self.now - self.seen) * self.limit)
            self.seen, taken = self.now, self.level >= 1
            self.level -= taken
            self.log.append((self.now, taken))
            sent_at = self.now
            self.pace = self.pace.sent(self.configured, sent_at)
            self.now += 0.005
            if taken:
                self.pace = self.pace.succeeded(self.configured, self.now, cap=8)
            else:
                self.pace = self.pace.throttled(
                    self.configured,
                    self.now,
                    sent_at=sent_at,
                    retry_after=self.retry_after,
                    jitter=self.luck.random(),
                )
        self.now = until
        return self.log[start:]


SEEDS = range(10)


def used(log: list[tuple[float, bool]], *, of: float) -> float:
    """Return how many requests were taken, as a share of how many might have been."""
    return sum(taken for _, taken in log) / of


def refused(log: list[tuple[float, bool]]) -> float:
    """Return the share of 429s."""
    return sum(not taken for _, taken in log) / len(log)


@pytest.mark.parametrize(
    ("limit", "most_refused"),
    [
        pytest.param(3.0, 0.033, id="three a second: one look in eighteen seconds is one request in fifty"),
        pytest.param(8.0, 0.02, id="eight a second"),
        pytest.param(10.0, 0.02, id="ten a second"),
    ],
)
@pytest.mark.parametrize(
    ("burst", "least_used"),
    [
        pytest.param(1, 0.75, id="nothing at once: each must wait for the one before, to the millisecond"),
        pytest.param(2, 0.85, id="two at once"),
        pytest.param(5, 0.85, id="five at once"),
        pytest.param(10, 0.85, id="ten at once"),
    ],
)
def test_ten_seconds_after_a_hidden_limit_is_met_most_of_it_is_used(
    limit: float, most_refused: float, burst: int, least_used: float
) -> None:
    """Over two minutes, on the average of ten lanes."""
    shares, misses = [], []
    for seed in SEEDS:
        stand = Stand(limit=limit, burst=burst, retry_after=None, seed=seed)
        stand.run(10)
        after = stand.run(120)
        shares.append(used(after, of=limit * 120))
        misses.append(refused(after))
    assert mean(shares) >= least_used
    assert mean(misses) <= most_refused


@pytest.mark.parametrize("burst", [1, 2, 5])
def test_a_limit_that_moves_is_followed(burst: int) -> None:
    """From 10 to 3 to 8, a minute each: 85 % of it ten seconds after, with 2 % 429s over all three minutes.

    One that falls is followed at once. One that rises is found by the next look: of a lane with little
    traffic, which earns few looks, up to 20 s later, so that the last minute's average may be lower.
    """
    shares: dict[float, list[float]] = {10.0: [], 3.0: [], 8.0: []}
    misses = []
    for seed in SEEDS:
        stand = Stand(limit=10, burst=burst, retry_after=None, seed=seed)
        for limit, seen in shares.items():
            stand.limit = limit
            stand.run(10)
            seen.append(used(stand.run(50), of=limit * 50))
        misses.append(refused(stand.log))
    assert mean(shares[10.0]) >= 0.85
    assert mean(shares[3.0]) >= 0.85
    assert mean(shares[8.0]) >= 0.8
    assert mean(misses) <= 0.021


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_that_rises_is_found_within_twenty_seconds(seed: int) -> None:
    """From 3 to 8: a lane tries now and then whether more is taken, and then grows quickly."""
    stand = Stand(limit=3, burst=1, retry_after=None, seed=seed)
    stand.run(30)
    stand.limit = 8
    stand.run(20)
    assert used(stand.run(40), of=8 * 40) >= 0.7


def test_a_lane_that_is_hardly_used_learns_nothing_from_it() -> None:
    """One request in two seconds is taken at any rate: the rate stays where it was."""
    learned = Learned.kept(3.0, now=0.0)
    for second in range(1, 200):
        learned = learned.taken(2.0 * second, 20)
    assert learned.rate == 3.0


@pytest.mark.parametrize("retry_after", [1.0, 3.0])
def test_nothing_leaves_inside_a_window(retry_after: float) -> None:
    """However often a 429 comes."""
    log = Stand(limit=2, burst=1, retry_after=retry_after, seed=1).run(120)
    refused = [moment for moment, taken in log if not taken]
    assert refused
    assert not any(0 < moment - one < retry_after for moment, _ in log for one in refused)


def test_a_rate_at_the_configured_limit_is_no_longer_learned() -> None:
    """Everything that may be asked for is taken: the limit holds again, with its burst."""
    learned = Learned.kept(9.9999, now=0.0)
    assert learned.taken(0.1, 10.0).rate is None
    assert Pace(learned=learned.taken(0.1, 10.0)).allowed(Limit(10, 5)) == Limit(10, 5)


def test_several_429s_of_one_moment_teach_once() -> None:
    """Those that left before the first lesson do not halve the rate again."""
    first = Learned().throttled(10.0, sent_at=9.9, limit=20, wait=0.25)
    assert first.throttled(10.05, sent_at=9.95, limit=20, wait=0.25) == first


def test_a_look_is_not_what_a_successor_is_told() -> None:
    """While a lane tries whether more is taken, the rate it knows to be taken is the one that is kept."""
    looking = Learned.kept(3.0, now=0.0).taken(0.3, 20)
    while looking.look is None:
        looking = looking.taken(looking.taken_at + 0.3, 20)
    assert looking.rate > 3.0
    assert looking.held == looking.look.base


def test_a_successor_holds_the_rate_that_was_kept() -> None:
    """It begins where its predecessor was, not at the configured limit."""
    kept = Learned.kept(3.0, now=100.0)
    assert kept.rate == 3.0
    assert kept.taken(100.3, 20).rate == pytest.approx(3.0, rel=0.01)
    assert Pace(learned=kept).allowed(Limit(20, 5)) == Limit(3.0, 1)


def test_a_breaker_opens_after_failures_probes_once_and_closes() -> None:
    """Closed, open, half open, closed; one request in flight until it has proved well."""
    breaker = Breaker()
    for _ in range(3):
        assert breaker.state(0.0) is BreakerState.CLOSED
        breaker = breaker.failed(0.0, jitter=0.5)
    assert breaker.state(0.1) is BreakerState.OPEN
    assert breaker.error_rate == 1.0
    assert breaker.in_flight(8) == 1
    assert breaker.state(breaker.until) is BreakerState.HALF_OPEN
    assert breaker.succeeded().state(0.0) is BreakerState.CLOSED


def test_probes_of_a_dead_lane_become_rare_but_never_end() -> None:
    """The wait doubles up to half a minute: an hour of outage costs hardly two hundred requests."""
    breaker, now, probes = Breaker(), 0.0, 0
    while now < 3600:
        breaker = breaker.failed(now, jitter=0.99)
        now, probes = breaker.until, probes + 1
        assert breaker.until - now <= LONGEST_WAIT_S
    assert 120 <= probes <= 200


def test_a_few_failures_among_many_answers_open_nothing() -> None:
    """The window counts shares, not sums."""
    breaker = Breaker()
    for n in range(200):
        breaker = breaker.failed(n, jitter=0.5) if n % 4 == 3 else breaker.succeeded()
        assert breaker.opened == 0


def test_live_goes_first_then_retries_and_replays_at_most_a_fifth() -> None:
    """With all three due, twenty requests are twelve live, four retries and four replays."""
    turns, now, seen = Turns(), 0.0, []
    for _ in range(20):
        service = turns.choose([Service.LIVE, Service.RETRY, Service.REPLAY], now)
        assert service is not None
        seen.append(service)
        turns, now = turns.served(service, now, 1.0), now + 1.0
    assert seen.count(Service.REPLAY) <= 20 / REPLAY_SHARE
    assert seen.count(Service.RETRY) >= 4
    assert seen.count(Service.LIVE) >= 11


def test_a_replay_alone_still_leaves_four_fifths_of_the_pace_free() -> None:
    """So that its estimate holds and a live event finds room."""
    turns = Turns().served(Service.REPLAY, 0.0, 2.0)
    assert turns.choose([Service.REPLAY], 2.4) is None
    assert turns.choose([Service.REPLAY], 2.5) is Service.REPLAY
    assert turns.choose([Service.LIVE, Service.REPLAY], 1.0) is Service.LIVE
