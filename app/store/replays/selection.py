"""The events that a replay or a dismissal selects, how many can be replayed, and open dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.reasons import NO_ANSWER
from app.domain.outcomes.status import Status
from app.store import PipelineConnection, columns_of, fetch_map, fetch_only, fetch_scalar, read_sql
from app.store.events.failures import CAUSE

SQL: Final = read_sql(__file__)

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
FOUND = f"""
  -- Exceptions.
  WITH singles AS (SELECT e.batch, e.place, e.event_at >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AND e.erased_at IS NULL AS has_key
    FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
    WHERE e.destination = $1 AND e.status = ANY($2) AND e.day >= '2000-01-01'
      AND ($6::text IS NULL OR e.reason = $6)
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4)
      AND ($9::text IS NULL OR {CAUSE} = $9)
      AND ($10::boolean IS NULL OR (e.dismissed_at IS NOT NULL) = $10)
      -- An event that this replay queued can fail again before the replay ends.
      AND ($11::integer IS NULL
        OR NOT coalesce(e.replays, '{{}}') || coalesce(s.replays, '{{}}') @> ARRAY[$11])
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


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """The events of a destination that match a filter. `places` limits them to some single events.

    Events older than `max_age` cannot be replayed. Events that the `replay` has queued are left out.
    """

    number: DestinationNumber
    wanted: EventQuery
    places: Places | None
    max_age: timedelta = timedelta(0)
    replay: int | None = None

    @property
    def statuses(self) -> Sequence[Status]:
        """Return the statuses of the selected events."""
        return REPLAYABLE if self.wanted.status is None else (self.wanted.status,)

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return the parameters of `FOUND`."""
        wanted, chosen = self.wanted, self.places
        batches = None if chosen is None else [batch for batch, _ in chosen]
        places = None if chosen is None else [place for _, place in chosen]
        times = (wanted.since, wanted.until, self.max_age)
        rest = (wanted.reason, batches, places, wanted.cause, wanted.dismissed, self.replay)
        return (self.number, self.statuses, *times, *rest)


async def count(connection: PipelineConnection, selection: ReplaySelection) -> ReplayCount:
    """Return how many events are selected."""
    statement = f"""
        {FOUND}
        SELECT coalesce(sum(n), 0)::bigint AS matched,
          coalesce(sum(n) FILTER (WHERE young AND has_key), 0)::bigint AS ready,
          coalesce(sum(n) FILTER (WHERE NOT young), 0)::bigint AS too_old,
          coalesce(sum(n) FILTER (WHERE young AND NOT has_key), 0)::bigint AS forgotten
        FROM (SELECT 1 AS n, young, has_key FROM singles
          UNION ALL SELECT events, young, has_key FROM wholes) AS either
        """
    return await fetch_only(connection, ReplayCount, statement, *selection.arguments)


class UnsentEvent(NamedTuple):
    """A selected event that shares the status of its batch, which was never sent."""

    batch: BatchId
    place: int
    event_at: datetime
    mapping: int


async def unsent_batches(
    connection: PipelineConnection, selection: ReplaySelection, *, after: int, limit: int
) -> dict[BatchId, date]:
    """Return the days of the next `limit` selected batches after `after` that were never sent."""
    statement = (
        f"{FOUND} SELECT w.batch, s.day FROM wholes w JOIN batch_states s USING (batch) "
        "WHERE w.batch > $12 ORDER BY w.batch LIMIT $13"
    )
    return await fetch_map(connection, statement, *selection.arguments, after, limit)


async def count_unsent(
    connection: PipelineConnection, selection: ReplaySelection, events: Sequence[UnsentEvent]
) -> ReplayCount:
    """Return how many of these selected events are still part of their batches."""
    columns = columns_of(events, "batch", "place", "event_at")
    return await fetch_only(connection, ReplayCount, SQL["count_unsent"], *columns, selection.max_age)


async def separate(
    connection: PipelineConnection, selection: ReplaySelection, events: Sequence[UnsentEvent]
) -> None:
    """Give those of these selected events that can be replayed rows of their own, with their status."""
    columns = columns_of(events, "batch", "place", "event_at", "mapping")
    await connection.execute(SQL["separate"], selection.number, *columns, selection.max_age)


async def candidate_batches(
    connection: PipelineConnection, selection: ReplaySelection, *, after: int, limit: int
) -> dict[BatchId, date]:
    """Return the days of the next `limit` batches after `after` with an exception of a selected status."""
    arguments = (selection.number, selection.statuses, after, limit)
    return await fetch_map(connection, SQL["candidate_batches"], *arguments)


async def dismiss(
    connection: PipelineConnection, selection: ReplaySelection, *, by: str, dry_run: bool
) -> int:
    """Mark the selected open dead letters as handled by an actor, and return their number.

    With `dry_run`, only count them.
    """
    statement = f"""
        {FOUND}, matching AS (
          -- Open dead letters among the selected events.
          SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
          WHERE e.status = 'dead' AND e.dismissed_at IS NULL
        ), dismissed AS (
          -- A dry run changes nothing.
          UPDATE exceptions e SET dismissed_at = now(), dismissed_by = $12 FROM matching m
          WHERE NOT $13 AND e.batch = m.batch AND e.place = m.place AND e.status = 'dead' RETURNING 1
        )
        SELECT CASE WHEN $13 THEN (SELECT count(*) FROM matching) ELSE (SELECT count(*) FROM dismissed) END"""
    return await fetch_scalar(connection, int, statement, *selection.arguments, by, dry_run)


async def dead_open(connection: PipelineConnection, number: DestinationNumber) -> int:
    """Return the number of dead letters that were neither replayed nor dismissed."""
    return await fetch_scalar(connection, int, SQL["dead_open"], number)


async def open_dead_letters(
    connection: PipelineConnection, number: DestinationNumber
) -> list[tuple[str, int]]:
    """Return (reason, number) of the dead letters neither replayed nor dismissed, most frequent first."""
    return [(row["reason"], row["n"]) for row in await connection.fetch(SQL["open_dead_letters"], number)]
