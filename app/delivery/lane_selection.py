"""Which of a lane's queues has its turn."""

from collections.abc import Sequence

from app.delivery.lane import POLL_EVERY_S, Lane
from app.domain.pacing.fair_queueing import WorkKind
from app.store import lanes


def choose(
    lane: Lane, queues: Sequence[lanes.DestinationQueue], now: float
) -> tuple[lanes.DestinationQueue, WorkKind, bool] | None:
    """Choose what kind of request has its turn, and of which destination: the one served longest ago.

    The last of the three tells whether something else is due as well. Sets the next look where something
    is due soon; what is due later, the poll finds in time. `now` is on this process's monotonic clock.
    """
    due_in = {queue.number: lane.due_in(queue, now) for queue in queues}
    dues = [when for of_queue in due_in.values() for when in of_queue.values()]
    if not dues:
        return None
    if (soonest := min(dues)) > 0:
        if soonest <= POLL_EVERY_S:
            lane.wake(now + soonest)
        return None
    due = [service for of_queue in due_in.values() for service, when in of_queue.items() if when <= 0]
    service = lane.turns.choose(set(due), now)
    if service is None:
        lane.wake(lane.turns.replay_at)
        return None
    ready = [queue for queue in queues if due_in[queue.number].get(service, 1.0) <= 0]
    chosen = min(ready, key=lambda one: lane.served.get(one.number, float("-inf")))
    return chosen, service, len(due) > 1
