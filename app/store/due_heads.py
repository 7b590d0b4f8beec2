"""Read when the next events of each destination are due, with one statement per destination.

`app.store.lanes` reads many destinations in one statement. If a page is damaged, that statement fails. The
functions of this module then replace it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.ids import DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import WorkKind
from app.store import PipelineConnection, transactions
from app.store.database import damage


def heads(destination: str, *, since_live: str = "'-infinity'", since_replay: str = "'-infinity'") -> str:
    """Return SQL for one row with the time at which each kind of work of a destination is next due.

    Each time costs one index probe. The parameters are the batches in flight ($2), and the batches and places
    of exceptions in flight ($3, $4). Batches due before the watermarks `since_live` and `since_replay` are
    not searched.
    """

    def batch(queue: int, since: str) -> str:
        return f"""(SELECT s.due_at FROM batch_states s WHERE s.destination = {destination}
            AND s.queue = {queue} AND s.settled_at IS NULL
            AND s.due_at >= {since} AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1)"""

    def exception(queue: int) -> str:
        return f"""(SELECT e.due_at FROM exceptions e WHERE e.destination = {destination}
            AND e.queue = {queue} AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place) WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1)"""

    return f"""SELECT {batch(0, since_live)} AS live, {exception(0)} AS retry,
        {batch(2, since_replay)} AS replay, {exception(2)} AS replay_retry"""


# The seconds until each time of a row `q` of `heads`.
SECONDS_LEFT = ", ".join(
    f"extract(epoch FROM q.{kind} - clock_timestamp())::float8 AS {kind}" for kind in WorkKind
)
_HEADS = f"""
    SELECT {SECONDS_LEFT}, least(live, retry, replay, replay_retry) AS due_at FROM ({heads("$1")}) q
"""
_NOTHING: Mapping[str, Any] = dict.fromkeys((*WorkKind, "due_at"))

# Whether the next probe of a destination `d` is due. `d` waits because Amazon does not know its endpoint.
PROBE_DUE = """(d.state = 'needs_reconnect' AND d.sign_in_reason = 'endpoint_not_found'
            AND d.endpoint_probe_at <= clock_timestamp())"""
# Whether the rate limit of a destination `d` holds for its lane. A draft, for example, limits no other
# destination.
IS_LIMITING = f"(d.state IN ('connected', 'active') OR {PROBE_DUE})"
# What the poll of a lane `l` reads, with a row for each of its destinations `d`.
POLL_COLUMNS = f"""l.erasures, elsewhere.rates AS rates_elsewhere, d.number, d.id, d.requests_per_second,
          d.burst, d.state = 'active' AS is_active, {PROBE_DUE} AS is_probe"""
POLL_TABLES = f"""lanes l CROSS JOIN LATERAL (
          -- The rates of other organisations that Amazon limits on this account: with a 429 within a minute.
          -- A lane with a longer Retry-After sends nothing, so it needs no share.
          SELECT coalesce(array_agg(o.learned_rate), '{{}}') AS rates FROM lanes o
          WHERE o.region = l.region AND o.advertiser_id = l.advertiser_id AND o.id <> l.id
            AND o.learned_rate IS NOT NULL
            AND abs(extract(epoch FROM o.blocked_until - clock_timestamp())) < 60
            AND EXISTS (SELECT FROM destinations s WHERE s.lane = o.id AND s.state = 'active')) elsewhere
        -- LEFT JOIN: a lane without connected destinations still has its number of erasures.
        LEFT JOIN destinations d ON d.lane = l.id AND {IS_LIMITING}"""


async def owed_around_damage(connection: PipelineConnection) -> dict[LaneId, datetime]:
    """Return the time at which each lane next has due events. Unreadable events count as due now."""
    owed: dict[LaneId, datetime] = {}
    async with connection.transaction():
        now: datetime = await _begin(connection)
        for row in await connection.fetch("SELECT number, lane FROM destinations WHERE state = 'active'"):
            found = await _heads(connection, row["number"], (), ())
            due_at = now if found is None else found["due_at"]
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
            f"SELECT {POLL_COLUMNS} FROM {POLL_TABLES} WHERE l.id = $1 ORDER BY d.number", lane
        ):
            found: Mapping[str, Any] | None = _NOTHING
            if row["is_active"] or row["is_probe"]:
                found = await _heads(connection, row["number"], batches_in_flight, exceptions_in_flight)
            if found is None:
                damaged.add(DestinationNumber(row["number"]))
            rows.append({**row, **(found or _NOTHING)})
    return rows, frozenset(damaged)


async def _begin(connection: PipelineConnection) -> datetime:
    # A sequential scan for any destination would meet the damaged page.
    await connection.execute("SET LOCAL enable_seqscan = off")
    return await transactions.started_at(connection)


async def _heads(
    connection: PipelineConnection,
    destination: DestinationNumber,
    batches_in_flight: Sequence[int],
    exceptions_in_flight: Sequence[tuple[int, int]],
) -> Mapping[str, Any] | None:
    """Return the row of `_HEADS` for a destination, or None if its events cannot be read."""
    with damage.suppressed():
        async with damage.savepoint(connection):
            found = await connection.fetchrow(
                _HEADS,
                destination,
                list(batches_in_flight),
                [batch for batch, _ in exceptions_in_flight],
                [place for _, place in exceptions_in_flight],
            )
        assert found is not None
        return dict(found)
    return None
