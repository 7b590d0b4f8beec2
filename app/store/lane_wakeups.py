"""Tell workers through Postgres' LISTEN and NOTIFY which lanes have new events."""

from app.domain.ids import LaneId
from app.store import PipelineConnection

WAITING_CHANNEL = "batches_waiting"  # NOTIFY channel: '<lane>:<events>' separated by commas


async def notify(connection: PipelineConnection, waiting: dict[LaneId, int]) -> None:
    """Notify all workers of new events by lane. If a notification is lost, the next poll finds the events."""
    parts = [f"{lane}:{events}" for lane, events in waiting.items()]
    # Postgres limits a payload to 8,000 bytes. 400 parts of at most 18 characters fit.
    for start in range(0, len(parts), 400):
        await connection.execute(
            "SELECT pg_notify($1, $2)", WAITING_CHANNEL, ",".join(parts[start : start + 400])
        )


def read_notification(payload: str) -> dict[LaneId, int]:
    """Return the numbers of new events by lane from a notification. Malformed parts are ignored."""
    waiting: dict[LaneId, int] = {}
    for part in payload.split(","):
        lane, _, events = part.partition(":")
        if lane.isdecimal() and events.isdecimal():
            waiting[LaneId(int(lane))] = int(events)
    return waiting
