"""Read waiting events, their ages, and the rates of destinations, for the metrics of a process."""

from dataclasses import dataclass
from datetime import timedelta

from app.store import PipelineConnection
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class WaitingCounts:
    """Waiting events of a destination, either with a failed request (`failing`) or without."""

    destination: str
    state: str
    failing: bool
    events: int
    age_s: float  # of the oldest of these events


async def read(connection: PipelineConnection) -> list[WaitingCounts]:
    """Return two counts for each destination: waiting events with a failed request, and without.

    The cost grows with the number of waiting batches, so the caller limits the time.
    """
    rows = await connection.fetch(
        """
        SELECT d.id AS destination, d.state, w.failing, sum(w.events)::bigint AS events,
          greatest(extract(epoch FROM now() - min(w.since)), 0)::float8 AS age_s
        FROM (
          SELECT destination, tries > 0 AS failing, sum(events) AS events, min(accepted_at) AS since
          FROM batch_states WHERE settled_at IS NULL AND events > 0 GROUP BY 1, 2
          UNION ALL
          SELECT e.destination, true, count(*), min(s.accepted_at)
          FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
          WHERE e.status = 'retrying' GROUP BY 1
        ) w JOIN destinations d ON d.number = w.destination GROUP BY 1, 2, 3
        """
    )
    return [read_row(WaitingCounts, row) for row in rows]


@dataclass(frozen=True, slots=True)
class DestinationPace:
    """The rate, the circuit breaker and the remaining token life of an active destination.

    `rate` is in requests per second. `token_left_s` is None without waiting events.
    """

    destination: str
    rate: float
    breaker_open: bool
    token_left_s: float | None


async def paces(connection: PipelineConnection) -> list[DestinationPace]:
    """Return the rate, breaker and token of each active destination."""
    rows = await connection.fetch(
        """
        SELECT d.id AS destination,
          -- The learned rate is never above the configured limit of the lane.
          least(d.requests_per_second, l.learned_rate)::float8 AS rate,
          l.breaker <> 'closed' AS breaker_open,
          -- An idle destination keeps an expired token until it sends again.
          CASE WHEN EXISTS (
            SELECT FROM batch_states b
            WHERE b.settled_at IS NULL AND b.destination = d.number AND b.queue = 0)
          THEN extract(epoch FROM s.access_until - now())::float8 END AS token_left_s
        FROM destinations d JOIN lanes l ON l.id = d.lane LEFT JOIN sign_ins s ON s.destination = d.id
        WHERE d.state = 'active'
        """
    )
    return [read_row(DestinationPace, row) for row in rows]


async def longest_waits(connection: PipelineConnection) -> dict[str, timedelta]:
    """Return how long the first due live batch of each active destination has waited, by destination id.

    It costs one index probe per destination and partition, regardless of the backlog.
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
