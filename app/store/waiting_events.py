"""How many events wait, and for how long, over all destinations: for the gauges of a worker."""

from dataclasses import dataclass
from datetime import timedelta

from app.store import PipelineConnection


@dataclass(frozen=True, slots=True)
class WaitingCounts:
    """Events waiting for Amazon in destinations of one state; `age_s` is that of the oldest."""

    state: str
    failing: bool
    events: int
    age_s: float


async def read(connection: PipelineConnection) -> list[WaitingCounts]:
    """Return waiting events by the destination's state and whether a first attempt failed.

    It reads the index of open batches, so its cost grows with what waits; the caller limits its time.
    """
    rows = await connection.fetch(
        """
        SELECT d.state, w.failing, sum(w.events)::bigint AS events,
          greatest(extract(epoch FROM now() - min(w.since)), 0)::float8 AS age_s
        FROM (
          SELECT destination, tries > 0 AS failing, sum(events) AS events, min(accepted_at) AS since
          FROM batch_states WHERE settled_at IS NULL AND events > 0 GROUP BY 1, 2
          UNION ALL
          SELECT e.destination, true, count(*), min(s.accepted_at)
          FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
          WHERE e.status = 'retrying' GROUP BY 1
        ) w JOIN destinations d ON d.number = w.destination GROUP BY 1, 2
        """
    )
    return [WaitingCounts(**dict(row)) for row in rows]


async def longest_waits(connection: PipelineConnection) -> dict[str, timedelta]:
    """Return how long the oldest live batch of each sendable destination has waited, by destination.

    One index probe per destination and day, however much waits.
    """
    rows = await connection.fetch(
        """
        SELECT d.id, now() - front.accepted_at AS waited
        FROM destinations d, LATERAL (
          SELECT accepted_at FROM batch_states
          WHERE settled_at IS NULL AND destination = d.number AND queue = 0
          ORDER BY due_at LIMIT 1) front
        WHERE d.state = 'active'
        """
    )
    return {row["id"]: row["waited"] for row in rows}
