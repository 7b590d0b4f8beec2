"""Limit a process to a part of the CPU time of a core, by pauses between pieces of work.

It is a token bucket of CPU seconds: elapsed time adds `part` of a second per second, used CPU time is
subtracted. In a fully used process, new work waits in every queue on its way. In a process with free time,
most queues are empty.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class DutyCycle:
    """A token bucket of CPU time for one process. Both clocks are in seconds, from any start."""

    part: float
    most_saved_s: float
    most_owed_s: float
    elapsed_s: float  # of the last reading
    cpu_s: float  # of the last reading
    balance_s: float = 0.0  # CPU time that may be used now; negative if too much was used

    def pause_s(self, elapsed_s: float, cpu_s: float) -> float:
        """Return how long to pause at these times of the two clocks; 0.0 without a debt."""
        earned = (elapsed_s - self.elapsed_s) * self.part
        balance = self.balance_s + earned - (cpu_s - self.cpu_s)
        self.balance_s = min(self.most_saved_s, max(-self.most_owed_s, balance))
        self.elapsed_s, self.cpu_s = elapsed_s, cpu_s
        return max(0.0, -self.balance_s / self.part)
