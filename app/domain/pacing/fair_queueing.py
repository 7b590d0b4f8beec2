"""Whose turn it is within a lane: live first, then retries, and replays at most a fifth. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

LIVE_BEFORE_RETRY: Final = 3  # live requests that leave before one of retries, where both are due
REPLAY_SHARE: Final = 5  # every so many-th request of a lane may be one of replays


class WorkKind(StrEnum):
    """What a request carries. Replayed events travel as whole batches, or one by one as retries do."""

    LIVE = "live"
    RETRY = "retry"
    REPLAY = "replay"
    REPLAY_RETRY = "replay_retry"

    @property
    def is_replay(self) -> bool:
        """Tell what must not stand in the way of the rest."""
        return self in (WorkKind.REPLAY, WorkKind.REPLAY_RETRY)


@dataclass(frozen=True, slots=True)
class FairQueue:
    """How a lane was served last. `replay_at` is when the next replay may leave, on the monotonic clock."""

    since_retry: int = 0
    since_replay: int = REPLAY_SHARE
    replay_at: float = 0.0
    last_replay: WorkKind = WorkKind.REPLAY

    def choose(self, due: Collection[WorkKind], now: float) -> WorkKind | None:
        """Return what to send next of what is due; None where that is a replay whose time has not come."""
        replays = [one for one in (WorkKind.REPLAY, WorkKind.REPLAY_RETRY) if one in due]
        others = [one for one in (WorkKind.LIVE, WorkKind.RETRY) if one in due]
        if replays and now >= self.replay_at and (not others or self.since_replay >= REPLAY_SHARE - 1):
            # Whole batches and single events of a replay take turns.
            return next((one for one in replays if one is not self.last_replay), replays[0])
        if len(others) == 2:
            return WorkKind.RETRY if self.since_retry >= LIVE_BEFORE_RETRY else WorkKind.LIVE
        return others[0] if others else None

    def served(self, service: WorkKind, now: float, per_second: float) -> "FairQueue":
        """Return the turns after a request left; `per_second` is the lane's rate."""
        if service.is_replay:
            return replace(
                self, since_replay=0, replay_at=now + REPLAY_SHARE / per_second, last_replay=service
            )
        since_retry = 0 if service is WorkKind.RETRY else self.since_retry + 1
        return replace(self, since_retry=since_retry, since_replay=self.since_replay + 1)
