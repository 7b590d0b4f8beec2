"""Times, shares and in-flight limits of delivery: derived from the few that are chosen, checked at start.

Pure. All times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LEAST_IN_FLIGHT: Final = 4  # with fewer, half of a worker's requests and one advertiser's share are the same


@dataclass(frozen=True, slots=True)
class Times:
    """How long a lane stays with a worker that does not renew (`lease`), and a request to Amazon may take."""

    lease: float = 60.0
    request: float = 25.0

    @property
    def renew_every(self) -> float:
        """Return how often leases are renewed: six times a lease, so that single failures do no harm."""
        return self.lease / 6

    @property
    def silent_after(self) -> float:
        """Return how long a worker's session may say nothing before other workers end it.

        A worker speaks every second. Shorter than the lease, so that its lanes are free when that ends.
        """
        return self.lease - self.renew_every

    @property
    def least(self) -> float:
        """Return the time that must be left for a request: with less it is not begun."""
        return self.request / 5

    @property
    def settled_within(self) -> float:
        """Return after which time a started attempt without a result is over, whoever sent it."""
        return self.request + self.least

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each way in which these times contradict each other."""
        if self.lease - 2 * self.renew_every <= self.request:
            yield (
                f"A lane's lease of {self.lease:g} s is too short for requests of {self.request:g} s: after "
                "a failed renewal no request could be begun. Make the lease twice as long as a request."
            )


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many requests to Amazon are under way in a worker when another one is about to begin.

    `failing` counts those of lanes whose last request failed.
    """

    total: int
    region: int
    lane: int
    failing: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many requests to Amazon a worker has under way: `total` (MAX_REQUESTS_IN_FLIGHT) and its shares."""

    total: int = 16

    @property
    def lane(self) -> int:
        """Return the share of one lane: half of its region's, and less while others use theirs."""
        return self.region // 2

    @property
    def region(self) -> int:
        """Return the share of one region: three quarters, so that another one always finds room."""
        return self.total - self.total // 4

    @property
    def failing(self) -> int:
        """Return the share of all lanes together whose last request failed: they may hang again."""
        return self.total // 2

    @property
    def connections(self) -> int:
        """Return how many connections a region needs: one for each request that may begin there."""
        return self.region

    def admits(self, now: InFlight, *, is_failing: bool) -> bool:
        """Tell whether a lane may begin another request.

        A lane may hold no more than what it leaves free in its region. So one that hangs takes a half, two
        take three quarters together, and some room stays for the next.
        """
        free = min(self.total - now.total, self.region - now.region)
        return now.lane < min(free, self.lane) and not (is_failing and now.failing >= self.failing)

    def problems(self, connections: float | None = None) -> Iterator[str]:
        """Yield a sentence for each way in which these numbers, and a region's connections, do not fit."""
        if self.total < LEAST_IN_FLIGHT:
            yield (
                f"must be {LEAST_IN_FLIGHT} or more, so that an advertiser whose requests hang leaves room "
                "for others."
            )
        if connections is not None and connections < self.connections:
            yield (
                f"{self.total} needs {self.connections} connections a region; there are {connections:g}, and "
                "requests would wait for one with their time running."
            )


TIMES: Final = Times()
CAPACITY: Final = Capacity()


def fair_share(lanes: int, workers: int) -> int:
    """Return how many of these lanes each of the living workers may own."""
    return -(-lanes // max(1, workers))


def may_take(owned: int, share: int, *, is_lapsed: bool) -> bool:
    """Tell whether a free lane may be taken: up to the fair share, or beyond it where its lease lapsed.

    A lapsed lease means that its owner hangs. Whoever is counted among the living, the lane must move.
    """
    return owned < share or is_lapsed
