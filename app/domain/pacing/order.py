"""Which request comes next, and whether it may start. Pure.

**Kinds of work** (`FairQueue`): weighted fair queueing of live events, retries and replays.

**Small requests** (`Turns`, ADR 0050): a request costs the same CPU whether it carries one event or 500, so
*small* requests are limited: those with fewer than `FULL` events. A lane sends at most one in a merge window.
All workers together send about `SMALL_PER_S`: if their lanes need more, each small request waits for its
turn, at most `LONGEST_TURN` windows. A full request never waits.

**Low watermarks** (`Watermarks`, ADR 0020): where a lane's scan for due batches starts in the index of
batches. A Postgres index keeps an entry for each settled batch until a vacuum removes the entry. An old
snapshot stops the vacuum. A scan from the start of the index then reads all these entries, which took 76 ms
after 100,000 small batches. So a lane starts each scan of a queue at a watermark: the due time of the first
open batch that its last claim found there. A transaction that commits late may add a batch below the
watermark. So a poll scans from the start from time to time. The longer such a full scan takes, the less often
it happens.

**Requests in flight** (`Capacity`): how many a worker may have, in total, in one region and in one lane.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from app.domain.ids import DestinationNumber

LIVE_PER_RETRY: Final = 3  # live requests per retry request, if both are due
REPLAY_SHARE: Final = 5  # of this many requests of a lane, at most one is a replay


class WorkKind(StrEnum):
    """The kind of work in a request. LIVE and REPLAY carry complete batches; retries carry single events."""

    LIVE = "live"
    RETRY = "retry"
    REPLAY = "replay"
    REPLAY_RETRY = "replay_retry"


REPLAYS: Final = (WorkKind.REPLAY, WorkKind.REPLAY_RETRY)  # have a low priority


@dataclass(frozen=True, slots=True)
class FairQueue:
    """The last requests of a lane. The next replay may be sent at `replay_at`, in monotonic seconds."""

    since_retry: int = 0
    since_replay: int = REPLAY_SHARE
    replay_at: float = 0.0
    last_replay: WorkKind = WorkKind.REPLAY

    def choose(self, due: Collection[WorkKind], now: float) -> WorkKind | None:
        """Return the kind of work to send next, or None if nothing may be sent before `replay_at`."""
        replays = [kind for kind in REPLAYS if kind in due]
        others = [kind for kind in (WorkKind.LIVE, WorkKind.RETRY) if kind in due]
        if replays and now >= self.replay_at and (not others or self.since_replay >= REPLAY_SHARE - 1):
            # Complete batches and single events of a replay alternate.
            return next((kind for kind in replays if kind is not self.last_replay), replays[0])
        if len(others) == 2:
            return WorkKind.RETRY if self.since_retry >= LIVE_PER_RETRY else WorkKind.LIVE
        return others[0] if others else None

    def served(self, kind: WorkKind, now: float, per_second: float) -> "FairQueue":
        """Return the state after a request was sent. `per_second` is the lane's rate of requests."""
        if kind in REPLAYS:
            return replace(self, since_replay=0, replay_at=now + REPLAY_SHARE / per_second, last_replay=kind)
        since_retry = 0 if kind is WorkKind.RETRY else self.since_retry + 1
        return replace(self, since_retry=since_retry, since_replay=self.since_replay + 1)


FULL: Final = 500  # events of a full request
SMALL_PER_S: Final = 10.0  # 3 % of a core of worker and Postgres, at 3 ms a request
LONGEST_TURN: Final = 50  # windows: 10 s with the default


@dataclass(slots=True)
class Turns:
    """The turns of the small requests of one worker. `workers` share the turns of all workers.

    `window` is the merge window in seconds. The next turn begins at `next_at`, on a monotonic clock.
    """

    window: float = 0.0
    workers: int = 1
    next_at: float = float("-inf")

    def take(self, now: float) -> float:
        """Take the next turn, and return when it begins."""
        begins = min(max(now, self.next_at), now + LONGEST_TURN * self.window)
        self.next_at = begins + self.workers / SMALL_PER_S
        return begins

    def give_back(self) -> None:
        """Leave a turn to another lane, because the request became full before its turn began."""
        self.next_at -= self.workers / SMALL_PER_S


FULL_SCAN_EVERY_S: Final = 1.0  # if a full scan takes almost no time
FULL_SCAN_SHARE: Final = 20  # the time between full scans is at least this many times their duration
LONGEST_REST_S: Final = 60.0  # the longest time between full scans, even if a scan met a database hang

QueueKey = tuple[DestinationNumber, int]  # a destination and one of its queues of complete batches


@dataclass(slots=True)
class Watermarks:
    """Where the scans of a lane may start. `due_at` holds times of the database.

    Other times are monotonic seconds.
    """

    due_at: Mapping[QueueKey, datetime] = field(default_factory=dict)
    full_scan_at: float = 0.0

    def usable(self, now: float) -> Mapping[QueueKey, datetime]:
        """Return the watermarks for a scan at `now`. They are empty if a full scan is due."""
        return {} if now >= self.full_scan_at else self.due_at

    def note_poll(self, started_at: float, ended_at: float) -> None:
        """Note the times of a scan. A full scan determines when the next full scan is due."""
        if started_at >= self.full_scan_at:
            rest = min(max(FULL_SCAN_EVERY_S, FULL_SCAN_SHARE * (ended_at - started_at)), LONGEST_REST_S)
            self.full_scan_at = ended_at + rest

    def advance(self, key: QueueKey, due_at: datetime) -> None:
        """Start the next scan of a queue at `due_at`: its first open batch is due then.

        Batches in flight are not open.
        """
        self.due_at = {**self.due_at, key: due_at}

    def reset(self) -> None:
        """Drop the watermarks, because a batch in flight became open again with its old due time."""
        self.due_at, self.full_scan_at = {}, 0.0


MIN_IN_FLIGHT: Final = 4  # with fewer, one lane could use half of a worker's requests


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

    def admits(self, *, total: int, region: int, lane: int, failing: int, is_failing: bool) -> bool:
        """Return whether a lane may start another request beside those in flight.

        Those are counted in total, in the lane's region and in the lane. `failing` counts those of all lanes
        whose last request failed or that are slow. `is_failing` says whether this lane is one of them.

        A lane may start a request only if it has fewer requests in flight than its region has free. So one
        hanging lane uses half of the region. Two hanging lanes use three quarters together, and a third lane
        can still send.
        """
        free = min(self.total - total, self.region - region)
        return lane < min(free, self.lane) and not (is_failing and failing >= self.failing)


CAPACITY: Final = Capacity()
