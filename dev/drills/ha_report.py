"""Judge the rounds of `drill ha`: when no post was accepted, how much of that was Patroni's, and what was lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SERVICE_S: Final = 3.0
"""So long after a server accepts writes, the service must answer 202 again."""
NOTICED_S: Final = 1.0
"""A shorter time without a success is no gap: a post under load takes some tenths of a second."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without a success, on one clock."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Round:
    """What a round measured. `is_manual`: an operator had to do more than restore what the fault took. `limit_s` is the longest time without a 202 that the fault may cause, if any."""

    fault: str
    posts: Sequence[Gap]
    writes: Sequence[Gap]
    accepted: int
    lost: int
    other_bytes: int
    repeats: int
    is_manual: bool
    limit_s: float | None
    may_lose: bool = False

    @property
    def without_202_s(self) -> float:
        """Return the longest time without a 202."""
        return max((gap.seconds for gap in self.posts), default=0.0)

    @property
    def without_writes_s(self) -> float:
        """Return the longest time in which no server accepted writes: Patroni's part."""
        return max((gap.seconds for gap in self.writes), default=0.0)

    @property
    def lag_s(self) -> float:
        """Return the longest time from a server that accepts writes to the first 202: the service's part."""
        return max((_lag(gap, self.writes) for gap in self.posts), default=0.0)

    def problems(self) -> list[str]:
        """Return a sentence for each target that this round missed."""
        found = []
        if not self.accepted:
            found.append("no event was accepted")
        if self.lost and not self.may_lose:
            found.append(f"{self.lost} acknowledged events were lost")
        if self.may_lose and not self.lost:
            found.append("the control lost nothing, so the other rounds prove nothing")
        if self.other_bytes:
            found.append(f"{self.other_bytes} events were repeated with other bytes")
        if self.is_manual:
            found.append("an operator had to repair it")
        if self.lag_s > SERVICE_S:
            found.append(f"202 came {self.lag_s:.1f} s after a server accepted writes")
        if self.limit_s is not None and self.without_202_s > self.limit_s:
            found.append(f"{self.without_202_s:.1f} s without a 202 are more than {self.limit_s:.0f}")
        return [f"{self.fault}: {problem}" for problem in found]


def gaps(successes: Sequence[float], start: float, end: float) -> list[Gap]:
    """Return the times between `start` and `end` in which nothing succeeded for NOTICED_S."""
    times = [start, *sorted(time for time in successes if start < time < end), end]
    return [Gap(before, after) for before, after in pairwise(times) if after - before >= NOTICED_S]


def _lag(gap: Gap, writes: Sequence[Gap]) -> float:
    """Return how much of a gap of the posts came after a server accepted writes (again).

    A post may be accepted shortly before the first write of the drill: then nothing came after it.
    """
    ends = [
        min(write.end, gap.end)
        for write in writes
        if gap.start - NOTICED_S < write.end <= gap.end + NOTICED_S and write.start <= gap.end - NOTICED_S
    ]
    return gap.end - max([gap.start, *ends])


def table(rounds: Sequence[Round]) -> str:
    """Return the Markdown table of the rounds."""
    lines = [
        "| fault | seconds without a 202 | until a server accepts writes (Patroni) | from then to a 202 (service) | acknowledged | lost | other bytes | sent again, same bytes | manual steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.fault} | {each.without_202_s:.1f} | {each.without_writes_s:.1f} | {each.lag_s:.1f} | {each.accepted:,} "
        f"| {each.lost:,} | {each.other_bytes} | {each.repeats:,} | {int(each.is_manual)} |"
        for each in rounds
    ]
    return "\n".join(lines)
