"""How much waits, and since when, over all destinations: for the gauges of a worker."""

from dataclasses import dataclass

from app.store import PipelineConnection


@dataclass(frozen=True, slots=True)
class WaitingCounts:
    """Events that wait for Amazon in destinations of one state; `age_s` is the oldest one's."""

    state: str
    failing: bool
    events: int
    age_s: float


async def read(connection: PipelineConnection) -> list[WaitingCounts]:
    """Return what waits, by the destination's state and whether a first attempt failed.

    It reads the index of what is open, so its cost grows with what waits; the caller bounds its time.
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
