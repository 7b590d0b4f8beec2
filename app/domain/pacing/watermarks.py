"""Low watermarks: where a lane's scan for due batches starts in the index of batches.

A Postgres index keeps an entry for each settled batch until a vacuum removes the entry. An old snapshot
stops the vacuum. A scan from the start of the index then reads all these entries, which took 76 ms after
100,000 small batches. So a lane starts each scan of a queue at a watermark: the due time of the first open
batch that its last claim found there. A transaction that commits late may add a batch below the watermark. So
a poll scans from the start from time to time. The longer such a full scan takes, the less often it happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from app.domain.ids import DestinationNumber

FULL_SCAN_EVERY_S: Final = 1.0  # if a full scan takes almost no time
FULL_SCAN_SHARE: Final = 20  # the time between full scans is at least this many times their duration
LONGEST_REST_S: Final = 60.0  # the longest time between full scans, even if a scan met a database hang

Key = tuple[DestinationNumber, int]  # a destination and one of its queues of complete batches


@dataclass(slots=True)
class Watermarks:
    """Where the scans of a lane may start. `due_at` holds times of the database.

    Other times are monotonic seconds.
    """

    due_at: Mapping[Key, datetime] = field(default_factory=dict)
    full_scan_at: float = 0.0

    def usable(self, now: float) -> Mapping[Key, datetime]:
        """Return the watermarks for a scan at `now`. They are empty if a full scan is due."""
        return {} if now >= self.full_scan_at else self.due_at

    def note_poll(self, started_at: float, ended_at: float) -> None:
        """Note the times of a scan. A full scan determines when the next full scan is due."""
        if started_at >= self.full_scan_at:
            rest = min(max(FULL_SCAN_EVERY_S, FULL_SCAN_SHARE * (ended_at - started_at)), LONGEST_REST_S)
            self.full_scan_at = ended_at + rest

    def advance(self, key: Key, due_at: datetime) -> None:
        """Start the next scan of a queue at `due_at`: its first open batch is due then.

        Batches in flight are not open.
        """
        self.due_at = {**self.due_at, key: due_at}

    def reset(self) -> None:
        """Drop the watermarks, because a batch in flight became open again with its old due time."""
        self.due_at, self.full_scan_at = {}, 0.0
