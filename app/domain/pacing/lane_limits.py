"""Timeouts of delivery, and the number of lanes that a worker may own. Pure.

All times are seconds.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Times:
    """How long a lease of a lane is valid without renewal, and the timeout of a request to Amazon.

    A lease outlasts a request by two renewals: otherwise no request could start after a failed renewal.
    """

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


TIMES: Final = Times()
LONGEST_LEASE_S: Final = 10 * TIMES.lease  # room for workers with other times, as of another release


def fair_share(lanes: int, workers: int) -> int:
    """Return how many lanes each live worker may own: an equal part, rounded up."""
    return -(-lanes // max(1, workers))


def may_acquire(owned: int, share: int, *, is_lapsed: bool) -> bool:
    """Return whether a worker with `owned` lanes may acquire a free lane.

    Up to its fair share, a worker may acquire any free lane. Any worker may acquire a lane whose lease has
    expired (`is_lapsed`): the owner hangs, but still counts as a live worker.
    """
    return owned < share or is_lapsed
