"""Select the queue of a lane that is served next."""

from collections.abc import Sequence

from app.delivery.lane import POLL_EVERY_S, Lane
from app.domain.pacing.fair_queueing import WorkKind
from app.store import lanes


def select(
    lane: Lane, queues: Sequence[lanes.DestinationQueue], now: float
) -> tuple[lanes.DestinationQueue, WorkKind, bool] | None:
    """Return the queue and the kind of request to send next, and whether other events are due too.

    The destination that was served longest ago comes first. Returns None if nothing is due. If events become
    due before the next poll, the lane is woken for them.
    """
    due_in = {queue.number: lane.due_in(queue, now) for queue in queues}
    waits = [seconds for by_kind in due_in.values() for seconds in by_kind.values()]
    if not waits:
        return None
    if (soonest := min(waits)) > 0:
        if soonest <= POLL_EVERY_S:
            lane.wake(now + soonest)
        return None
    due = [kind for by_kind in due_in.values() for kind, seconds in by_kind.items() if seconds <= 0]
    kind = lane.fair_queue.choose(set(due), now)
    if kind is None:
        lane.wake(lane.fair_queue.replay_at)
        return None
    ready = [queue for queue in queues if due_in[queue.number].get(kind, 1.0) <= 0]
    selected = min(ready, key=lambda queue: lane.served_at.get(queue.number, float("-inf")))
    return selected, kind, len(due) > 1
