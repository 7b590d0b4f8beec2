"""Weighted fair queueing of the live events, retries and replays of a lane. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

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
