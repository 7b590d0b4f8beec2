"""Replays: queue failed and expired events again, and report the current status of these events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.domain.outcomes.failure_cause import NO_ANSWER
from app.store import PipelineConnection, batches, counts
from app.store.failures import CAUSE
from app.store.rows import read_row

QUEUE = batches.LOW


@dataclass(frozen=True, slots=True)
class ReplayFilter:
    """A filter of events with the status 'dead' or 'expired'. None means any.

    `since` and `until` limit the time of acceptance. `cause` is the digest of `failure_cause`. `selected`
    lists events by (batch, place); batches that were never sent then do not match.
    """

    status: str
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cause: str | None = None
    selected: Sequence[tuple[BatchId, int]] | None = None


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """The numbers of events that match a filter: all, and those that can be replayed (`ready`).

    The remaining events are too old for Amazon, or their data key was deleted (`forgotten`).
    """

    matched: int
    ready: int
    too_old: int
    forgotten: int


# The events that match a filter. `singles` has the events with a row in `exceptions`. `wholes` has the
# batches that were never sent. The disposition of a batch applies to its events without a row in
# `exceptions`.
_FOUND = f"""
  -- Exceptions.
  WITH singles AS (SELECT e.batch, e.place, e.event_at >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AND e.erased_at IS NULL AS has_key
    FROM exceptions e JOIN batch_states s ON s.batch = e.batch
    WHERE e.destination = $1 AND e.status = $2 AND ($6::text IS NULL OR e.reason = $6)
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4)
      AND ($9::text IS NULL OR {CAUSE} = $9)
      AND ($7::bigint[] IS NULL
        OR (e.batch, e.place) IN (SELECT * FROM unnest($7::bigint[], $8::smallint[])))),
  -- Batches that were never sent.
  wholes AS (SELECT s.batch, s.events, s.tries, s.last_event >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AS has_key
    FROM batch_states s
    WHERE s.destination = $1 AND s.events > 0 AND $7::bigint[] IS NULL
      -- The next line implies this condition, but the planner needs it to use the partial index.
      AND s.disposition IN ('discarded', 'expired')
      AND s.disposition = CASE $2::text WHEN 'dead' THEN 'discarded' WHEN 'expired' THEN 'expired' END
      AND ($6::text IS NULL OR s.reason = $6) AND ($9::text IS NULL OR $9 = '{NO_ANSWER}')
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4))
"""


def _with_replay(table: str) -> str:
    """Return SQL for the replay numbers of a row with the replay $11 added, limited to the latest thirty."""
    numbers = f"coalesce({table}.replays, '{{}}')"
    return f"({numbers} || $11::integer)[greatest(1, cardinality({numbers}) - 28):]"


async def begin(
    connection: PipelineConnection, id: str, number: DestinationNumber, wanted: ReplayFilter, *, by: str
) -> int:
    """Record a replay with its actor and its filter; return its number."""
    replay: int = await connection.fetchval(
        """
        INSERT INTO replays (organisation_id, id, destination, requested_by, status, reason, since, until)
        VALUES (acting_organisation(), $1, $2, $3, $4, $5, $6, $7) RETURNING number
        """,
        id,
        number,
        by,
        wanted.status,
        wanted.reason,
        wanted.since,
        wanted.until,
    )
    return replay


async def finish(connection: PipelineConnection, replay: int, replayed: int) -> None:
    """Record the number of events that a replay queued."""
    await connection.execute(
        "UPDATE replays SET replayed = $2 WHERE organisation_id = acting_organisation() AND number = $1",
        replay,
        replayed,
    )


async def count(
    connection: PipelineConnection, number: DestinationNumber, wanted: ReplayFilter, *, max_age: timedelta
) -> ReplayCount:
    """Return how many events match a filter."""
    row = await connection.fetchrow(
        f"""
        {_FOUND}
        SELECT coalesce(sum(n), 0)::bigint AS matched,
          coalesce(sum(n) FILTER (WHERE young AND has_key), 0)::bigint AS ready,
          coalesce(sum(n) FILTER (WHERE NOT young), 0)::bigint AS too_old,
          coalesce(sum(n) FILTER (WHERE young AND NOT has_key), 0)::bigint AS forgotten
        FROM (SELECT 1 AS n, young, has_key FROM singles
          UNION ALL SELECT events, young, has_key FROM wholes) AS either
        """,
        *_arguments(number, wanted, max_age),
    )
    assert row is not None
    return read_row(ReplayCount, row)


async def requeue(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: ReplayFilter,
    *,
    max_age: timedelta,
    most: int,
    replay: int,
) -> tuple[int, counts.CountDelta]:
    """Queue up to `most` matching events again, in order of acceptance.

    Return their number and the changes of the counts. Each event stores the number of this replay.
    """
    wholes = await connection.fetch(
        f"""
        {_FOUND},
        -- Batches that can be replayed. SKIP LOCKED leaves out those that another replay is queueing.
        free AS (SELECT s.batch, s.events FROM batch_states s JOIN wholes w USING (batch)
          WHERE w.young AND w.has_key ORDER BY s.batch FOR UPDATE OF s SKIP LOCKED),
        -- The running sum of their events in order of acceptance.
        summed AS (SELECT batch, sum(events) OVER (ORDER BY batch) AS so_far FROM free),
        -- The batches that fit into $10 events.
        selected AS (SELECT batch FROM summed WHERE so_far <= $10)
        UPDATE batch_states s SET disposition = NULL, settled_at = NULL, queue = {QUEUE}, due_at = now(),
          reason = 'replayed', replays = {_with_replay("s")}
        FROM selected t WHERE s.batch = t.batch AND s.settled_at IS NOT NULL
        RETURNING s.events, s.tries > 0 AS failing
        """,
        *_arguments(number, wanted, max_age),
        most,
        replay,
    )
    whole = sum(row["events"] for row in wholes)
    status: str = await connection.execute(
        f"""
        {_FOUND},
        -- The oldest events that can be replayed, without those that another replay is queueing.
        free AS (SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
          JOIN batch_states s ON s.batch = e.batch
          -- FOR SHARE keeps the key from being deleted.
          WHERE young AND has_key ORDER BY e.batch, e.place LIMIT $10
          FOR UPDATE OF e SKIP LOCKED FOR SHARE OF s SKIP LOCKED)
        UPDATE exceptions e SET status = 'retrying', queue = {QUEUE}, due_at = now(), send_group = NULL,
          tries = 0, reason = 'replayed', code = NULL,
          replays = {_with_replay("e")}, changed_at = now(), dismissed_at = NULL
        FROM free f WHERE e.batch = f.batch AND e.place = f.place AND e.status = $2
        """,
        *_arguments(number, wanted, max_age),
        most - whole,
        replay,
    )
    single = int(status.rpartition(" ")[2])
    delta = counts.CountDelta(retrying=single + sum(row["events"] for row in wholes if row["failing"]))
    setattr(delta, wanted.status, -(whole + single))
    return whole + single, delta


def _arguments(number: DestinationNumber, wanted: ReplayFilter, max_age: timedelta) -> tuple[object, ...]:
    batches_, places = None, None
    if wanted.selected is not None:
        batches_ = [batch for batch, _ in wanted.selected]
        places = [place for _, place in wanted.selected]
    return (
        number,
        wanted.status,
        wanted.since,
        wanted.until,
        max_age,
        wanted.reason,
        batches_,
        places,
        wanted.cause,
    )


async def lane_of(connection: PipelineConnection, number: DestinationNumber) -> LaneId:
    """Return the lane of a destination."""
    return LaneId(await connection.fetchval("SELECT lane FROM destinations WHERE number = $1", number))


async def dismiss(
    connection: PipelineConnection, number: DestinationNumber, wanted: ReplayFilter, *, dry_run: bool
) -> int:
    """Mark the matching dead letters as handled, and return their number. With `dry_run`, only count them."""
    arguments = _arguments(number, wanted, timedelta(0))
    matching = f"""
        {_FOUND}
        SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
        WHERE e.status = 'dead' AND e.dismissed_at IS NULL"""
    if dry_run:
        found: int = await connection.fetchval(f"SELECT count(*) FROM ({matching}) matching", *arguments)
        return found
    status: str = await connection.execute(
        f"UPDATE exceptions e SET dismissed_at = now() FROM ({matching}) m "
        "WHERE e.batch = m.batch AND e.place = m.place AND e.status = 'dead'",
        *arguments,
    )
    return int(status.rpartition(" ")[2])


async def dead_open(connection: PipelineConnection, number: DestinationNumber) -> int:
    """Return the number of dead letters that were neither replayed nor dismissed."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL",
        number,
    )
    return found


async def open_dead_letters(
    connection: PipelineConnection, number: DestinationNumber
) -> list[tuple[str, int]]:
    """Return (reason, number) of the dead letters neither replayed nor dismissed, most frequent first."""
    rows = await connection.fetch(
        "SELECT reason, count(*) AS n FROM exceptions "
        "WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL GROUP BY reason ORDER BY n DESC",
        number,
    )
    return [(row["reason"], row["n"]) for row in rows]


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """A replay, and the number of its events by their current status.

    Events whose partition was dropped are in none of these numbers.
    """

    number: int
    id: str
    requested_at: datetime
    requested_by: str
    status: str
    reason: str | None
    since: datetime | None
    until: datetime | None
    replayed: int
    waiting: int
    delivered: int
    dead: int
    expired: int
    erased: int


_BY_STATUS = ", ".join(
    f"coalesce(sum(e.n) FILTER (WHERE e.status = '{status}'), 0)::bigint AS {name}"
    for name, status in [
        ("waiting", "retrying"),
        *((s, s) for s in ("delivered", "dead", "expired", "erased")),
    ]
)
_REPLAY = "p.number, p.id, p.requested_at, p.requested_by, p.status, p.reason, p.since, p.until, p.replayed"


async def progress(
    connection: PipelineConnection,
    number: DestinationNumber,
    *,
    limit: int,
    below: int | None = None,
    id: str | None = None,
) -> list[ReplayProgress]:
    """Return replays of a destination, newest first.

    `below` limits them to smaller numbers, and `id` selects a single replay.
    """
    rows = await connection.fetch(
        f"""
        WITH page AS (
          -- The replays of this page.
          SELECT * FROM replays
          WHERE organisation_id = acting_organisation() AND destination = $1
            AND ($2::integer IS NULL OR number < $2) AND ($3::text IS NULL OR id = $3)
          ORDER BY number DESC LIMIT $4
        ), events AS (
          -- The events of these replays by status: first those with their own row, then the others by batch.
          SELECT p.number, e.status, count(*)::bigint AS n FROM page p JOIN exceptions e
            ON e.destination = $1 AND e.changed_at >= p.requested_at AND e.replays IS NOT NULL
              AND e.replays @> ARRAY[p.number]
          GROUP BY 1, 2
          UNION ALL
          SELECT p.number, CASE coalesce(s.disposition, 'open') WHEN 'open' THEN 'retrying'
            WHEN 'sent' THEN 'delivered' WHEN 'discarded' THEN 'dead' ELSE s.disposition END,
            sum(s.events)::bigint
          FROM page p JOIN batch_states s ON s.destination = $1 AND s.replays IS NOT NULL
            AND s.replays @> ARRAY[p.number]
          GROUP BY 1, 2
        )
        SELECT {_REPLAY}, {_BY_STATUS}
        FROM page p LEFT JOIN events e ON e.number = p.number
        GROUP BY {_REPLAY}
        ORDER BY p.number DESC
        """,
        number,
        below,
        id,
        limit,
    )
    return [read_row(ReplayProgress, row) for row in rows]


async def candidate_batches(
    connection: PipelineConnection, number: DestinationNumber, status: str, *, after: int, limit: int
) -> dict[BatchId, date]:
    """Return the day of each of the next `limit` batches after `after` with an exception of a status."""
    rows = await connection.fetch(
        "SELECT DISTINCT batch, day FROM exceptions WHERE destination = $1 AND status = $2 AND batch > $3 "
        "ORDER BY batch LIMIT $4",
        number,
        status,
        after,
        limit,
    )
    return {BatchId(row["batch"]): row["day"] for row in rows}
