"""Where to begin looking for what is due: past what is settled, but never for long. Pure.

An index keeps an entry for each batch that was settled until a vacuum removes it, and no vacuum may while
anybody holds an old snapshot open. A look from the start then walks over all of them: 76 ms after 100,000
lone batches. So a lane remembers, for each of its queues, when the batch that it found last was due, and
begins there. What commits late may lie before it: now and then a look begins at the start, more rarely the
longer such a look takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from app.domain.ids import DestinationNumber

EVERY_S: Final = 1.0  # a look from the start, where it costs nothing to speak of
SHARE: Final = 20  # looks from the start take at most one part in so many of the time
LONGEST_REST_S: Final = 60.0  # a look that hung with its database says nothing about the next one

Key = tuple[DestinationNumber, int]  # a destination and one of its queues of whole batches


@dataclass(frozen=True, slots=True)
class Watermarks:
    """What a lane may skip. Times in seconds are monotonic; `known` holds the database's."""

    known: Mapping[Key, datetime] = field(default_factory=dict)
    from_start_at: float = 0.0

    def at(self, now: float) -> Mapping[Key, datetime]:
        """Return what may be relied on now: nothing, where a look from the start has its turn."""
        return {} if now >= self.from_start_at else self.known

    def looked(self, began: float, ended: float) -> "Watermarks":
        """Return the floors after a look; one that began at the start says when the next must."""
        if began < self.from_start_at:
            return self
        rest = min(max(EVERY_S, SHARE * (ended - began)), LONGEST_REST_S)
        return replace(self, from_start_at=ended + rest)

    def found(self, key: Key, due_at: datetime) -> "Watermarks":
        """Return the floors after a queue's first open batch, none under way, was due at `due_at`."""
        return replace(self, known={**self.known, key: due_at})

    def forgotten(self) -> "Watermarks":
        """Return no floors: something that was under way is open again, as due as it was."""
        return Watermarks()
