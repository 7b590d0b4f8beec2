"""Read the next due events one destination at a time, if a destination's page is damaged.

`app.store.lanes` reads all destinations in one statement, which then fails.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.ids import DestinationNumber, LaneId
from app.store import PipelineConnection, damage, transactions

_HEADS = """
    SELECT extract(epoch FROM live - clock_timestamp())::float8 AS live,
      extract(epoch FROM retry - clock_timestamp())::float8 AS retry,
      extract(epoch FROM replay - clock_timestamp())::float8 AS replay,
      extract(epoch FROM replay_retry - clock_timestamp())::float8 AS replay_retry,
      least(live, retry, replay, replay_retry) AS due_at
    FROM (SELECT
      (SELECT s.due_at FROM batch_states s WHERE s.destination = $1 AND s.queue = 0 AND s.settled_at IS NULL
        AND s.batch <> ALL($2::bigint[]) ORDER BY s.due_at LIMIT 1) AS live,
      (SELECT e.due_at FROM exceptions e WHERE e.destination = $1 AND e.queue = 0 AND e.status = 'retrying'
        AND NOT EXISTS (SELECT FROM unnest($3::bigint[], $4::smallint[]) AS f (batch, place)
          WHERE f.batch = e.batch AND f.place = e.place) ORDER BY e.due_at LIMIT 1) AS retry,
      (SELECT s.due_at FROM batch_states s WHERE s.destination = $1 AND s.queue = 2 AND s.settled_at IS NULL
        AND s.batch <> ALL($2::bigint[]) ORDER BY s.due_at LIMIT 1) AS replay,
      (SELECT e.due_at FROM exceptions e WHERE e.destination = $1 AND e.queue = 2 AND e.status = 'retrying'
        AND NOT EXISTS (SELECT FROM unnest($3::bigint[], $4::smallint[]) AS f (batch, place)
          WHERE f.batch = e.batch AND f.place = e.place) ORDER BY e.due_at LIMIT 1) AS replay_retry) heads
"""
_NOTHING: Mapping[str, Any] = dict.fromkeys(("live", "retry", "replay", "replay_retry", "due_at"))

# Condition on a destination `d`: Amazon does not know its endpoint, and a probe is due.
PROBE_DUE = """(d.state = 'needs_reconnect' AND d.sign_in_reason = 'endpoint_not_found'
            AND d.endpoint_probe_at <= clock_timestamp())"""


async def owed_around_damage(connection: PipelineConnection) -> dict[LaneId, datetime]:
    """Return when each lane next has due events. Unreadable events count as due now."""
    owed: dict[LaneId, datetime] = {}
    async with connection.transaction():
        now: datetime = await _begin(connection)
        for row in await connection.fetch("SELECT number, lane FROM destinations WHERE state = 'active'"):
            heads = await _heads(connection, row["number"], (), ())
            due_at = now if heads is None else heads["due_at"]
            if due_at is not None:
                owed[row["lane"]] = min(due_at, owed.get(row["lane"], due_at))
    return owed


async def poll_around_damage(
    connection: PipelineConnection,
    lane: LaneId,
    batches_in_flight: Sequence[int],
    exceptions_in_flight: Sequence[tuple[int, int]],
) -> tuple[list[dict[str, Any]], frozenset[DestinationNumber]]:
    """Return the rows of a lane's poll, and the destinations whose due events cannot be read."""
    rows: list[dict[str, Any]] = []
    damaged: set[DestinationNumber] = set()
    async with connection.transaction():
        await _begin(connection)
        for row in await connection.fetch(
            f"""
            SELECT l.erasures, d.organisation_id, d.number, d.id, d.requests_per_second, d.burst,
              d.state = 'active' AS is_active, {PROBE_DUE} AS is_probe
            FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND d.archived_at IS NULL
            WHERE l.id = $1 ORDER BY d.number
            """,
            lane,
        ):
            heads: Mapping[str, Any] | None = _NOTHING
            if row["is_active"] or row["is_probe"]:
                heads = await _heads(connection, row["number"], batches_in_flight, exceptions_in_flight)
            if heads is None:
                damaged.add(DestinationNumber(row["number"]))
            rows.append({**dict(row), **dict(heads or _NOTHING)})
    return rows, frozenset(damaged)


async def _begin(connection: PipelineConnection) -> datetime:
    # A sequential scan would meet the damaged page for every destination.
    await connection.execute("SET LOCAL enable_seqscan = off")
    return await transactions.started_at(connection)


async def _heads(
    connection: PipelineConnection,
    destination: DestinationNumber,
    batches_in_flight: Sequence[int],
    exceptions_in_flight: Sequence[tuple[int, int]],
) -> Mapping[str, Any] | None:
    """Return when each kind of request of a destination is due, or None if it cannot be read."""
    try:
        async with damage.savepoint(connection):
            heads = await connection.fetchrow(
                _HEADS,
                destination,
                list(batches_in_flight),
                [batch for batch, _ in exceptions_in_flight],
                [place for _, place in exceptions_in_flight],
            )
    except Exception as error:
        if not damage.is_damage(error):
            raise
        return None
    assert heads is not None
    return dict(heads)
