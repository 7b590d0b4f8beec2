"""Timeouts of delivery and limits of its requests in flight, derived from a few settings. Pure.

All times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

MIN_IN_FLIGHT: Final = 4  # with fewer, one lane could use half of a worker's requests


@dataclass(frozen=True, slots=True)
class Times:
    """How long a lease of a lane is valid without renewal, and the timeout of a request to Amazon."""

    lease: float = 60.0
    request: float = 25.0

    @property
    def renew_every(self) -> float:
        """Return the interval of renewals: a sixth of the lease, so that single failures do no harm."""
        return self.lease / 6

    @property
    def silent_after(self) -> float:
        """How long a worker's database session may be silent before other workers end it.

        Its lanes are then free before their lease ends. A healthy worker queries every second.
        """
        return self.lease - self.renew_every

    @property
    def least(self) -> float:
        """The time that must remain of a lease to start a request."""
        return self.request / 5

    @property
    def settled_within(self) -> float:
        """Return after how many seconds an attempt has certainly ended, even without a known result."""
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
    """The number of a worker's requests to Amazon in flight: in total, in one region and in one lane.

    `failing` counts the requests of all lanes whose last request failed or that are slow.
    """

    total: int
    region: int
    lane: int
    failing: int


@dataclass(frozen=True)
class Capacity:
    """The limits of a worker's requests in flight. `total` is the setting MAX_REQUESTS_IN_FLIGHT."""

    total: int = 32

    @cached_property
    def lane(self) -> int:
        """Return the most requests of a lane: half of the requests of its region."""
        return self.region // 2

    @cached_property
    def region(self) -> int:
        """Return the most requests of a region: three quarters, so that other regions always have some.

        The region needs a connection for each of them.
        """
        return self.total - self.total // 4

    @property
    def failing(self) -> int:
        """Return the most requests of all failing and slow lanes: their next requests may take as long."""
        return self.total // 2

    def admits(self, now: InFlight, *, is_failing: bool) -> bool:
        """Return whether a lane may start another request.

        A lane may start a request only if it has fewer requests in flight than its region has free. So one
        hanging lane uses half of the region. Two hanging lanes use three quarters together, and a third lane
        can still send.
        """
        free = min(self.total - now.total, self.region - now.region)
        return now.lane < min(free, self.lane) and not (is_failing and now.failing >= self.failing)

    def problems(self, connections: float) -> Iterator[str]:
        """Yield a sentence if a region can have fewer connections than requests."""
        if connections < self.region:
            yield (
                f"{self.total} needs {self.region} connections a region; there are {connections:g}, "
                "and requests would wait for a connection while their deadline runs."
            )


TIMES: Final = Times()
LONGEST_LEASE_S: Final = 10 * TIMES.lease  # room for workers with other times, as of another release
CAPACITY: Final = Capacity()


def fair_share(lanes: int, workers: int) -> int:
    """Return how many lanes each live worker may own: an equal part, rounded up."""
    return -(-lanes // max(1, workers))


def may_acquire(owned: int, share: int, *, is_lapsed: bool) -> bool:
    """Return whether a worker with `owned` lanes may acquire a free lane.

    Up to its fair share, a worker may acquire any free lane. Any worker may acquire a lane whose lease has
    expired (`is_lapsed`): the owner hangs, but still counts as a live worker.
    """
    return owned < share or is_lapsed
