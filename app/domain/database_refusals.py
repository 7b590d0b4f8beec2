"""Detect that the database refuses every statement of a process, so that the process reports not ready.

A process that is not ready gets no requests, so no successful statement can show that the database works
again. A probe of the database therefore ends the state. But a probe writes other rows than a real statement:
after a probe, the next real statement decides. If it is refused, the state is lasting again at once and the
next probe comes later, so that readiness does not flap.
"""

from dataclasses import dataclass, replace

# Refusals without a success between them are lasting if they span this long and are at least this many.
LASTING_S = 5.0
MIN_REFUSALS = 3
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refusals since the last success. Times are monotonic seconds of one process."""

    number: int = 0
    first: float = 0.0
    lasting_from: float | None = None
    hold: float = 0.0  # no probe for this many seconds after `lasting_from`

    def refused(self, now: float) -> "Refusals":
        """Return the state after one more refusal."""
        first = self.first if self.number else now
        is_lasting = self.hold > 0 or (self.number + 1 >= MIN_REFUSALS and now - first >= LASTING_S)
        lasting_from = now if self.lasting_from is None and is_lasting else self.lasting_from
        return replace(self, number=self.number + 1, first=first, lasting_from=lasting_from)

    def probed(self) -> "Refusals":
        """Return the state after a successful probe: no refusals, and a longer hold for the next refusals."""
        return Refusals(hold=min(LONGEST_HOLD_S, max(FIRST_HOLD_S, self.hold * 2)))

    @property
    def are_lasting(self) -> bool:
        """Whether every statement has been refused for some time."""
        return self.lasting_from is not None

    def may_probe(self, now: float) -> bool:
        return self.lasting_from is not None and now >= self.lasting_from + self.hold


NONE = Refusals()
