"""A lane as its owner knows it: fence, lease, pace, and what is in flight."""

from dataclasses import dataclass, field

from app.domain.ids import DestinationNumber, LaneId, ParcelId
from app.domain.pacing import Limit, Pace
from app.store.lanes import Held

IN_FLIGHT_CAP = 8  # requests of one lane that may be under way at once, once it has proved well


@dataclass(slots=True, eq=False)
class Lane:
    """One owned lane. `owned_until` and all other times are seconds on this process's monotonic clock.

    `owned_until` was taken before the lease was asked for, so that it never outlives the database's own.
    """

    held: Held
    owned_until: float
    limit: Limit
    pace: Pace
    parcels_in_flight: set[ParcelId] = field(default_factory=set)
    exceptions_in_flight: set[tuple[ParcelId, int]] = field(default_factory=set)
    requests: int = 0
    claiming: bool = False
    announced: int = 0  # events that notices spoke of since the last claim
    wake_at: float | None = None
    served: dict[DestinationNumber, float] = field(default_factory=dict)
    retry_next: bool = False
    given_up: bool = False

    @property
    def id(self) -> LaneId:
        """Return the lane's id."""
        return self.held.id

    @property
    def fence(self) -> int:
        """Return the number that every write of ours must name."""
        return self.held.fence

    def may_claim(self) -> bool:
        """Tell whether another request may be prepared now, pace aside."""
        return not self.claiming and not self.given_up and self.requests < self.pace.in_flight_limit

    def wake(self, at: float) -> None:
        """Ask to be looked at no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at
