"""A lane's laws: what a 429 teaches, what many failures close, and whose turn it is."""

import random

import pytest

from app.domain.breaking import LONGEST_WAIT_S, Breaker, BreakerState
from app.domain.learning import BELOW, Learned
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


@pytest.mark.parametrize("limit", [3.0, 8.0, 10.0])
@pytest.mark.parametrize("burst", [1, 5])
@pytest.mark.parametrize("seed", range(5))
def test_ten_seconds_after_a_hidden_limit_is_met_most_of_it_is_used(
    limit: float, burst: int, seed: int
) -> None:
    """At least 85 % of it over the next minute; looking for more costs a 429 or two every nine seconds."""
    stand = Stand(limit=limit, burst=burst, retry_after=None, seed=seed)
    stand.run(10)
    after = stand.run(60)
    assert sum(taken for _, taken in after) >= 0.85 * limit * 60
    assert sum(not taken for _, taken in after) <= (7 if burst == 1 else 14)


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_that_rises_is_found_within_twenty_seconds(seed: int) -> None:
    """From 3 to 8: a lane tries now and then whether more is taken, and then grows quickly."""
    stand = Stand(limit=3, burst=1, retry_after=None, seed=seed)
    stand.run(30)
    stand.limit = 8
    stand.run(20)
    after = stand.run(40)
    assert sum(taken for _, taken in after) >= 0.85 * 8 * 40


@pytest.mark.parametrize("retry_after", [1.0, 3.0])
def test_nothing_leaves_inside_a_window(retry_after: float) -> None:
    """However often a 429 comes."""
    log = Stand(limit=2, burst=1, retry_after=retry_after, seed=1).run(120)
    refused = [moment for moment, taken in log if not taken]
    assert refused
    assert not any(0 < moment - one < retry_after for moment, _ in log for one in refused)


def test_a_rate_at_the_configured_limit_is_no_longer_learned() -> None:
    """Everything that may be asked for is taken: the limit holds again, with its burst."""
    learned = Learned(rate=9.9, ceiling=5.0, grown_at=0.0)
    assert learned.taken(1.0, 10.0) == Learned()


def test_several_429s_of_one_moment_teach_once() -> None:
    """Those that left before the first lesson do not halve the rate again."""
    first = Learned().throttled(10.0, sent_at=9.9, limit=20)
    assert first.throttled(10.05, sent_at=9.95, limit=20) == first


def test_a_successor_holds_the_rate_that_was_kept() -> None:
    """It begins where its predecessor was, not at the configured limit."""
    kept = Learned.kept(3.0, now=100.0)
    assert kept.rate == 3.0
    assert kept.taken(100.3, 20).rate == 3.0
    assert Pace(learned=kept).allowed(Limit(20, 5)) == Limit(3.0, 1)
    assert kept.ceiling == 3.0 / BELOW


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
