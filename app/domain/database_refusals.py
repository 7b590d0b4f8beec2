"""Whether the database refuses all that is asked of it, judged by results. Pure: times are arguments.

One refused statement says little. Refusals that last, with no success between them, say that this process
cannot do its work. A process that is not ready may get no work to succeed with, so a probe can clear it; a
probe that was wrong is trusted later and later, so that readiness does not flap.
"""

from dataclasses import dataclass, replace

LASTING_S = 5.0  # refusals without a success between them last when they span this long
FEWEST = 3  # and are at least so many
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refusals since the last success. Times are monotonic seconds of one process."""

    number: int = 0
    first: float = 0.0
    last: float = 0.0
    lasting_from: float | None = None
    hold: float = 0.0  # how long a probe is not trusted after refusals began to last

    def refused(self, now: float) -> "Refusals":
        """Return these with one more, at `now`."""
        more = replace(self, number=self.number + 1, first=self.first if self.number else now, last=now)
        if more.lasting_from is None and more.number >= FEWEST and now - more.first >= LASTING_S:
            return replace(more, lasting_from=now)
        return more

    def probed(self) -> "Refusals":
        """Return what remains after a probe succeeded: a longer hold, should they begin to last again."""
        return Refusals(hold=min(LONGEST_HOLD_S, max(FIRST_HOLD_S, self.hold * 2)))

    @property
    def are_lasting(self) -> bool:
        """Tell whether everything has been refused for some time."""
        return self.lasting_from is not None

    def may_probe(self, now: float) -> bool:
        """Tell whether a probe may clear them now."""
        return self.lasting_from is not None and now >= self.lasting_from + self.hold


NONE = Refusals()
