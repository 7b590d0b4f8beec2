"""Timeouts of delivery, limits of requests in flight, and the division of lanes among workers.

All times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIN_IN_FLIGHT: Final = 4  # with fewer, one lane could use half of a worker's requests


@dataclass(frozen=True, slots=True)
class Times:
    """`lease` is the duration of a lane's lease without renewal, `request` the timeout of a request."""

    lease: float = 60.0
    request: float = 25.0

    @property
    def renew_every(self) -> float:
        """The interval in which a worker renews its leases. A single failed renewal ends no lease."""
        return self.lease / 6

    @property
    def silent_after(self) -> float:
        """How long a worker's database session may be silent before other workers end it.

        A worker queries every second. The time is shorter than the lease, so that the session has ended when
        other workers take over the lanes.
        """
        return self.lease - self.renew_every

    @property
    def least(self) -> float:
        """The time that must remain of a lease to start a request."""
        return self.request / 5

    @property
    def settled_within(self) -> float:
        """The time after which an attempt has ended, even if it has no result."""
        return self.request + self.least

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between these times."""
        if self.lease - 2 * self.renew_every <= self.request:
            yield (
                f"A lane's lease of {self.lease:g} s is too short for requests of {self.request:g} s: after "
                "a failed renewal no request could start. Make the lease at least twice as long as a request."
            )


@dataclass(frozen=True, slots=True)
class InFlight:
    """A worker's requests to Amazon in flight: in total, and in the region and lane of the next request.

    `failing` counts the requests of all lanes whose last request failed.
    """

    total: int
    region: int
    lane: int
    failing: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """The limits of a worker's requests in flight. `total` is the setting MAX_REQUESTS_IN_FLIGHT."""

    total: int = 16

    @property
    def lane(self) -> int:
        """The most requests of one lane: half of its region's. `admits` allows fewer if others are busy."""
        return self.region // 2

    @property
    def region(self) -> int:
        """The most requests of one region: three quarters, so that other regions always have some.

        A region needs a connection for each of them.
        """
        return self.total - self.total // 4

    @property
    def failing(self) -> int:
        """The most requests of all lanes whose last request failed: the next may hang until its timeout."""
        return self.total // 2

    def admits(self, now: InFlight, *, is_failing: bool) -> bool:
        """Return whether a lane may start another request.

        A lane may start no request if it has as many in flight as are still free in its region. So one
        hanging lane uses half of the region's requests, two lanes use three quarters, and a third lane still
        has some.
        """
        free = min(self.total - now.total, self.region - now.region)
        return now.lane < min(free, self.lane) and not (is_failing and now.failing >= self.failing)

    def problems(self, connections: float | None = None) -> Iterator[str]:
        """Yield a sentence for each contradiction. `connections` is how many a region can have."""
        if self.total < MIN_IN_FLIGHT:
            yield (
                f"must be {MIN_IN_FLIGHT} or more, so that an advertiser with hanging requests does not "
                "block others."
            )
        if connections is not None and connections < self.region:
            yield (
                f"{self.total} needs {self.region} connections a region; there are {connections:g}, "
                "and requests would wait for a connection while their deadline runs."
            )


TIMES: Final = Times()
CAPACITY: Final = Capacity()


def fair_share(lanes: int, workers: int) -> int:
    """Return how many lanes each live worker may own: an equal part, rounded up."""
    return -(-lanes // max(1, workers))


def may_acquire(owned: int, share: int, *, is_lapsed: bool) -> bool:
    """Return whether a worker that owns `owned` lanes may acquire one more.

    A worker may exceed its fair share for a lane whose lease expired (`is_lapsed`): the owner of the lane
    hangs, although it may still count as a live worker.
    """
    return owned < share or is_lapsed
