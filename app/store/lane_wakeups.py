"""Wake the owners of lanes with waiting events through Postgres' LISTEN and NOTIFY."""

from app.domain.ids import LaneId
from app.store import PipelineConnection

WAITING_CHANNEL = "batches_waiting"  # NOTIFY channel: '<lane>:<events>' separated by commas


async def notify(connection: PipelineConnection, waiting: dict[LaneId, int]) -> None:
    """Notify all workers of waiting events. A lost notification delays events until the next poll."""
    parts = [f"{lane}:{events}" for lane, events in waiting.items()]
    # A payload is limited to 8,000 bytes; 400 lanes of at most 18 characters fit.
    for start in range(0, len(parts), 400):
        await connection.execute(
            "SELECT pg_notify($1, $2)", WAITING_CHANNEL, ",".join(parts[start : start + 400])
        )


def read_notification(payload: str) -> dict[LaneId, int]:
    """Return the lanes and events of a notification; malformed entries are ignored."""
    waiting: dict[LaneId, int] = {}
    for part in payload.split(","):
        lane, _, events = part.partition(":")
        if lane.isdecimal() and events.isdecimal():
            waiting[LaneId(int(lane))] = int(events)
    return waiting
