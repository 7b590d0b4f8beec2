"""Detect that the database refuses every statement. Pure: times are arguments.

Lasting refusals without a success between them mean that this process cannot do its work. A process that is
not ready may get no work, so a successful probe clears its refusals. When refusals return after a probe, the
next probe counts later, so that readiness does not flap.
"""

from dataclasses import dataclass, replace

LASTING_S = 5.0  # refusals without a success between them are lasting when they span this long
MIN_REFUSALS = 3  # and are at least this many
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refusals since the last success. Times are monotonic seconds of one process."""

    number: int = 0
    first: float = 0.0
    last: float = 0.0
    lasting_from: float | None = None
    hold: float = 0.0  # how long after `lasting_from` a probe does not count

    def refused(self, now: float) -> "Refusals":
        """Return the refusals with one more, at `now`."""
        refusals = replace(self, number=self.number + 1, first=self.first if self.number else now, last=now)
        if (
            refusals.lasting_from is None
            and refusals.number >= MIN_REFUSALS
            and now - refusals.first >= LASTING_S
        ):
            return replace(refusals, lasting_from=now)
        return refusals

    def probed(self) -> "Refusals":
        """Return the state after a successful probe: no refusals, and a longer hold for the next ones."""
        return Refusals(hold=min(LONGEST_HOLD_S, max(FIRST_HOLD_S, self.hold * 2)))

    @property
    def are_lasting(self) -> bool:
        """Return whether every statement has been refused for some time."""
        return self.lasting_from is not None

    def may_probe(self, now: float) -> bool:
        """Return whether a probe may clear the refusals now."""
        return self.lasting_from is not None and now >= self.lasting_from + self.hold


NONE = Refusals()
