"""Replays: queue failed and expired events again, and report the current status of these events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, NamedTuple

from asyncpg import Record
from pydantic import ConfigDict, Field

from app.domain.event import JourneySelection
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.domain.outcomes.failure_cause import NO_ANSWER
from app.domain.outcomes.status import Status
from app.store import PipelineConnection, batches, counts
from app.store.events.failures import CAUSE
from app.store.rows import read_row

QUEUE = batches.LOW


Places = Sequence[tuple[BatchId, int]]
"""Selected events by batch and place."""

REPLAYABLE = (Status.DEAD, Status.EXPIRED)


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
    WHERE e.destination = $1 AND e.status = ANY($2) AND ($6::text IS NULL OR e.reason = $6)
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4)
      AND ($9::text IS NULL OR {CAUSE} = $9)
      AND ($10::boolean IS NULL OR (e.dismissed_at IS NOT NULL) = $10)
      AND ($7::bigint[] IS NULL
        OR (e.batch, e.place) IN (SELECT * FROM unnest($7::bigint[], $8::smallint[])))),
  -- Batches that were never sent.
  wholes AS (SELECT s.batch, s.events, s.tries, s.last_event >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AS has_key
    FROM batch_states s
    WHERE s.destination = $1 AND s.events > 0 AND $7::bigint[] IS NULL
      -- The next line implies this condition, but the planner needs it to use the partial index.
      AND s.disposition IN ('discarded', 'expired')
      AND CASE s.disposition WHEN 'discarded' THEN 'dead' ELSE 'expired' END = ANY($2::text[])
      AND $10::boolean IS NOT TRUE  -- only single events can be dismissed
      AND ($6::text IS NULL OR s.reason = $6) AND ($9::text IS NULL OR $9 = '{NO_ANSWER}')
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4))
"""


def _with_replay(table: str) -> str:
    """Return SQL for the replay numbers of a row with the replay $12 added, limited to the latest thirty."""
    numbers = f"coalesce({table}.replays, '{{}}')"
    return f"({numbers} || $12::integer)[greatest(1, cardinality({numbers}) - 28):]"


async def begin(
    connection: PipelineConnection, id: str, number: DestinationNumber, wanted: EventQuery, *, by: str
) -> int:
    """Record a replay with its actor and its selection; return its number."""
    replay: int = await connection.fetchval(
        """
        INSERT INTO replays (organisation_id, id, destination, requested_by, selection)
        VALUES (acting_organisation(), $1, $2, $3, $4::text::jsonb) RETURNING number
        """,
        id,
        number,
        by,
        json.dumps(wanted.document),
    )
    return replay


async def count(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: EventQuery,
    places: Places | None,
    *,
    max_age: timedelta,
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
        *_arguments(number, wanted, places, max_age),
    )
    assert row is not None
    return read_row(ReplayCount, row)


class UnsentEvent(NamedTuple):
    """A selected event that shares the status of its batch, which was never sent."""

    batch: BatchId
    place: int
    event_at: datetime
    mapping: int


async def unsent_batches(
    connection: PipelineConnection, number: DestinationNumber, wanted: EventQuery, *, after: int, limit: int
) -> dict[BatchId, date]:
    """Return the days of the next `limit` batches after `after` that were never sent and match a filter."""
    rows = await connection.fetch(
        f"{_FOUND} SELECT w.batch, s.day FROM wholes w JOIN batch_states s USING (batch) "
        "WHERE w.batch > $11 ORDER BY w.batch LIMIT $12",
        *_arguments(number, wanted, None, timedelta(0)),
        after,
        limit,
    )
    return {BatchId(row["batch"]): row["day"] for row in rows}


async def count_unsent(
    connection: PipelineConnection, events: Sequence[UnsentEvent], *, max_age: timedelta
) -> ReplayCount:
    """Return how many of these events are still part of their batches."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS matched, count(*) FILTER (WHERE young AND has_key) AS ready,
          count(*) FILTER (WHERE NOT young) AS too_old,
          count(*) FILTER (WHERE young AND NOT has_key) AS forgotten
        FROM (SELECT g.event_at >= now() - $4::interval AS young, s.data_key IS NOT NULL AS has_key
          FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[]) AS g (batch, place, event_at)
          JOIN batch_states s ON s.batch = g.batch AND s.disposition IN ('discarded', 'expired')
          WHERE NOT EXISTS (SELECT FROM exceptions e WHERE e.batch = g.batch AND e.place = g.place)) found
        """,
        [event.batch for event in events],
        [event.place for event in events],
        [event.event_at for event in events],
        max_age,
    )
    assert row is not None
    return read_row(ReplayCount, row)


async def separate(
    connection: PipelineConnection,
    number: DestinationNumber,
    events: Sequence[UnsentEvent],
    *,
    max_age: timedelta,
) -> None:
    """Give the events that can be replayed rows of their own, with the status that they have."""
    await connection.execute(
        """
        WITH given AS (
          -- The events to separate.
          SELECT * FROM unnest($2::bigint[], $3::smallint[], $4::timestamptz[], $5::integer[])
            AS g (batch, place, event_at, mapping)
        ), locked AS (
          -- Their batches. The lock keeps an erasure from changing them meanwhile.
          SELECT batch, day, reason, settled_at, disposition FROM batch_states
          WHERE batch = ANY($2) AND destination = $1 AND disposition IN ('discarded', 'expired')
            AND data_key IS NOT NULL
          ORDER BY batch FOR UPDATE
        ), added AS (
          -- Their own rows.
          INSERT INTO exceptions (batch, place, day, destination, mapping, status, event_at, reason,
            changed_at)
          SELECT g.batch, g.place, l.day, $1, g.mapping,
            CASE l.disposition WHEN 'discarded' THEN 'dead' ELSE l.disposition END, g.event_at,
            coalesce(l.reason, l.disposition), l.settled_at
          FROM given g JOIN locked l USING (batch) WHERE g.event_at >= now() - $6::interval
          ON CONFLICT DO NOTHING RETURNING batch, place
        ), moved AS (
          -- The events that left each batch.
          SELECT batch, count(*) AS events, array_agg(place) AS places FROM added GROUP BY batch
        )
        UPDATE batch_states s SET events = s.events - m.events,
          -- The figures of journeys count events that left their batch by their own rows.
          nodes = (SELECT array_agg(CASE WHEN position - 1 = ANY(m.places) THEN -abs(node) ELSE node END
            ORDER BY position) FROM unnest(CASE WHEN cardinality(s.nodes) = 1 AND s.events > 1
              THEN array_fill(s.nodes[1], ARRAY[s.events::integer]) ELSE s.nodes END)
            WITH ORDINALITY AS n (node, position))
        FROM moved m WHERE s.batch = m.batch
        """,
        number,
        [event.batch for event in events],
        [event.place for event in events],
        [event.event_at for event in events],
        [event.mapping for event in events],
        max_age,
    )


async def requeue(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: EventQuery,
    places: Places | None,
    *,
    max_age: timedelta,
    most: int,
    replay: int,
) -> tuple[int, counts.CountDelta]:
    """Queue up to `most` matching events again, in order of acceptance.

    Return their number and the changes of the counts. Each event stores the number of this replay, whose
    record counts it.
    """
    wholes = await connection.fetch(
        f"""
        {_FOUND},
        -- Batches that can be replayed. SKIP LOCKED leaves out those that another replay is queueing.
        free AS (SELECT s.batch, s.events FROM batch_states s JOIN wholes w USING (batch)
          WHERE w.young AND w.has_key ORDER BY s.batch FOR UPDATE OF s SKIP LOCKED),
        -- The running sum of their events in order of acceptance.
        summed AS (SELECT batch, sum(events) OVER (ORDER BY batch) AS so_far FROM free),
        -- The batches that fit into $11 events.
        selected AS (SELECT s.batch, s.disposition FROM summed JOIN batch_states s USING (batch)
          WHERE so_far <= $11)
        UPDATE batch_states s SET disposition = NULL, settled_at = NULL, queue = {QUEUE}, due_at = now(),
          reason = 'replayed', replays = {_with_replay("s")}
        FROM selected t WHERE s.batch = t.batch AND s.settled_at IS NOT NULL
        RETURNING s.events, s.tries > 0 AS failing, t.disposition
        """,
        *_arguments(number, wanted, places, max_age),
        most,
        replay,
    )
    whole = sum(row["events"] for row in wholes)
    rows = await connection.fetch(
        f"""
        {_FOUND},
        -- The oldest events that can be replayed, without those that another replay is queueing.
        free AS (SELECT e.batch, e.place, e.status FROM exceptions e JOIN singles USING (batch, place)
          JOIN batch_states s ON s.batch = e.batch
          -- FOR SHARE keeps the key from being deleted.
          WHERE young AND has_key ORDER BY e.batch, e.place LIMIT $11
          FOR UPDATE OF e SKIP LOCKED FOR SHARE OF s SKIP LOCKED),
        queued AS (UPDATE exceptions e SET status = 'retrying', queue = {QUEUE}, due_at = now(),
          send_group = NULL, tries = 0, reason = 'replayed', code = NULL,
          replays = {_with_replay("e")}, changed_at = now(), dismissed_at = NULL, dismissed_by = NULL
        FROM free f WHERE e.batch = f.batch AND e.place = f.place AND e.status = ANY($2)
        RETURNING f.status)
        SELECT status, count(*) AS events FROM queued GROUP BY status
        """,
        *_arguments(number, wanted, places, max_age),
        most - whole,
        replay,
    )
    delta = counts.CountDelta(
        retrying=sum(row["events"] for row in rows) + sum(row["events"] for row in wholes if row["failing"]),
        dead=-sum(row["events"] for row in wholes if row["disposition"] == "discarded"),
        expired=-sum(row["events"] for row in wholes if row["disposition"] == "expired"),
    )
    for row in rows:
        setattr(delta, row["status"], getattr(delta, row["status"]) - row["events"])
    replayed = -(delta.dead + delta.expired)
    await connection.execute(
        "UPDATE replays SET replayed = replayed + $2 "
        "WHERE organisation_id = acting_organisation() AND number = $1",
        replay,
        replayed,
    )
    return replayed, delta


def _arguments(
    number: DestinationNumber, wanted: EventQuery, places: Places | None, max_age: timedelta
) -> tuple[object, ...]:
    return (
        number,
        REPLAYABLE if wanted.status is None else [wanted.status],
        wanted.since,
        wanted.until,
        max_age,
        wanted.reason,
        None if places is None else [batch for batch, _ in places],
        None if places is None else [place for _, place in places],
        wanted.cause,
        wanted.dismissed,
    )


async def lane_of(connection: PipelineConnection, number: DestinationNumber) -> LaneId:
    """Return the lane of a destination."""
    return LaneId(await connection.fetchval("SELECT lane FROM destinations WHERE number = $1", number))


async def dismiss(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: EventQuery,
    places: Places | None,
    *,
    by: str,
    dry_run: bool,
) -> int:
    """Mark the matching open dead letters as handled by an actor, and return their number.

    With `dry_run`, only count them.
    """
    arguments = _arguments(number, wanted, places, timedelta(0))
    matching = f"""
        {_FOUND}
        SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
        WHERE e.status = 'dead' AND e.dismissed_at IS NULL"""
    if dry_run:
        found: int = await connection.fetchval(f"SELECT count(*) FROM ({matching}) matching", *arguments)
        return found
    status: str = await connection.execute(
        f"UPDATE exceptions e SET dismissed_at = now(), dismissed_by = $11 FROM ({matching}) m "
        "WHERE e.batch = m.batch AND e.place = m.place AND e.status = 'dead'",
        *arguments,
        by,
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
class SelectedIds:
    """The event ids of a selection."""

    count: int
    sha256: Annotated[str, Field(description="Of the sorted ids, joined by LF.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayProgress(JourneySelection):
    """A replay with its selection, and the number of its events by their current status.

    Events whose stored data was deleted are in none of these numbers.
    """

    __pydantic_config__ = ConfigDict(json_schema_serialization_defaults_required=True)

    replay_id: Annotated[str, Field(examples=["rpl_0a1b2c3d4e5f6a7b8c9d"])]
    requested_at: datetime
    requested_by: Annotated[str, Field(description="The id of the key that requested it.")]
    status: Annotated[str | None, Field(examples=["dead"], description="Null: dead and expired events.")] = (
        None
    )
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    event_ids: SelectedIds | None = None
    mapping_id: str | None = None
    event_type: str | None = None
    cause: Annotated[
        str | None, Field(description="The cause of a group on the console's page of failures.")
    ] = None
    include_dismissed: Annotated[bool, Field(description="Whether dismissed dead letters were replayed too.")]
    replayed: int
    waiting: int
    delivered: int
    dead: int
    expired: int
    erased: int


class StoredReplay(NamedTuple):
    """A replay with its number, which grows with each replay."""

    number: int
    progress: ReplayProgress


_BY_STATUS = ", ".join(
    f"coalesce(sum(e.n) FILTER (WHERE e.status = '{status}'), 0)::bigint AS {name}"
    for name, status in [
        ("waiting", "retrying"),
        *((s, s) for s in ("delivered", "dead", "expired", "erased")),
    ]
)
_REPLAY = "p.number, p.id, p.requested_at, p.requested_by, p.replayed"


async def progress(
    connection: PipelineConnection,
    number: DestinationNumber,
    *,
    limit: int,
    below: int | None = None,
    id: str | None = None,
) -> list[StoredReplay]:
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
        SELECT {_REPLAY}, p.selection::text AS selection, {_BY_STATUS}
        FROM page p LEFT JOIN events e ON e.number = p.number
        GROUP BY {_REPLAY}, p.selection
        ORDER BY p.number DESC
        """,
        number,
        below,
        id,
        limit,
    )
    return [StoredReplay(row["number"], _progress(row)) for row in rows]


def _progress(row: Record) -> ReplayProgress:
    selection: dict[str, object] = json.loads(row["selection"])  # `EventQuery.document`
    included = selection.get("dismissed") is not False
    return read_row(ReplayProgress, row, **selection, replay_id=row["id"], include_dismissed=included)


async def candidate_batches(
    connection: PipelineConnection,
    number: DestinationNumber,
    statuses: Sequence[str],
    *,
    after: int,
    limit: int,
) -> dict[BatchId, date]:
    """Return the days of the next `limit` batches after `after` with an exception of these statuses."""
    rows = await connection.fetch(
        "SELECT DISTINCT batch, day FROM exceptions "
        "WHERE destination = $1 AND status = ANY($2) AND batch > $3 ORDER BY batch LIMIT $4",
        number,
        statuses,
        after,
        limit,
    )
    return {BatchId(row["batch"]): row["day"] for row in rows}
