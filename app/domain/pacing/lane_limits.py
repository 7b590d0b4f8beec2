"""Timeouts, shares and in-flight limits of delivery, derived from a few settings and checked at start.

Pure. All times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIN_IN_FLIGHT: Final = 4  # with fewer, the share of one lane would be half of the worker's requests


@dataclass(frozen=True, slots=True)
class Times:
    """The lease of a lane without renewal (`lease`), and the timeout of a request to Amazon (`request`)."""

    lease: float = 60.0
    request: float = 25.0

    @property
    def renew_every(self) -> float:
        """Return the renewal interval: a sixth of the lease, which tolerates single failures."""
        return self.lease / 6

    @property
    def silent_after(self) -> float:
        """Return how long a worker's session may be silent before other workers end it.

        A worker queries every second. Shorter than the lease, so that the lanes are free when the lease ends.
        """
        return self.lease - self.renew_every

    @property
    def least(self) -> float:
        """Return the minimum remaining time of a lease for starting a request."""
        return self.request / 5

    @property
    def settled_within(self) -> float:
        """Return after how many seconds an attempt without a result must have ended."""
        return self.request + self.least

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between these times."""
        if self.lease - 2 * self.renew_every <= self.request:
            yield (
                f"A lane's lease of {self.lease:g} s is too short for requests of {self.request:g} s: after "
                f"a failed renewal no request could start. Make the lease at least twice as long as a "
                f"request."
            )


@dataclass(frozen=True, slots=True)
class InFlight:
    """The requests to Amazon in flight in a worker when another one is about to start.

    `failing` counts those of lanes whose last request failed.
    """

    total: int
    region: int
    lane: int
    failing: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """The limits of a worker's requests in flight: `total` (MAX_REQUESTS_IN_FLIGHT) and its shares."""

    total: int = 16

    @property
    def lane(self) -> int:
        """Return the share of one lane: half of its region's, less while other lanes use theirs."""
        return self.region // 2

    @property
    def region(self) -> int:
        """Return the share of one region: three quarters, so that other regions always have some."""
        return self.total - self.total // 4

    @property
    def failing(self) -> int:
        """Return the share of all lanes whose last request failed: they may hang again."""
        return self.total // 2

    @property
    def connections(self) -> int:
        """Return how many connections a region needs: one for each request that may start there."""
        return self.region

    def admits(self, now: InFlight, *, is_failing: bool) -> bool:
        """Return whether a lane may start another request.

        A lane may use at most half of the region's free requests: one hanging lane uses a half, two use three
        quarters together, and a third still has some.
        """
        free = min(self.total - now.total, self.region - now.region)
        return now.lane < min(free, self.lane) and not (is_failing and now.failing >= self.failing)

    def problems(self, connections: float | None = None) -> Iterator[str]:
        """Yield a sentence for each contradiction between these limits and a region's connections."""
        if self.total < MIN_IN_FLIGHT:
            yield (
                f"must be {MIN_IN_FLIGHT} or more, so that an advertiser with hanging requests does not "
                f"block others."
            )
        if connections is not None and connections < self.connections:
            yield (
                f"{self.total} needs {self.connections} connections a region; there are {connections:g},  "
                f"and requests would wait for a connection while their deadline runs."
            )


TIMES: Final = Times()
CAPACITY: Final = Capacity()


def fair_share(lanes: int, workers: int) -> int:
    """Return the number of lanes that each live worker may own."""
    return -(-lanes // max(1, workers))


def may_acquire(owned: int, share: int, *, is_lapsed: bool) -> bool:
    """Return whether a free lane may be acquired: up to the fair share, or above it if its lease has expired.

    An expired lease means that its owner hangs. The owner may still count as a live worker, but its lanes
    must move.
    """
    return owned < share or is_lapsed
