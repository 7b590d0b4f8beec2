"""Record a replay and queue its events again."""

import json
from typing import Final

from app.domain.event_query import EventQuery
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, batches, counts, fetch_scalar, read_sql
from app.store.replays.selection import FOUND, ReplaySelection

SQL: Final = read_sql(__file__)

QUEUE = batches.LOW
_MOST_MADE_DUE: Final = 5_000  # batches, and single events; further ones stay due as before


def _with_replay(table: str) -> str:
    """Return SQL for the replay numbers of a row with the replay $12 added, limited to the latest thirty."""
    numbers = f"coalesce({table}.replays, '{{}}')"
    return f"({numbers} || $12::integer)[greatest(1, cardinality({numbers}) - 28):]"


async def begin(
    connection: PipelineConnection, id: str, number: DestinationNumber, wanted: EventQuery, *, by: str
) -> int:
    """Record a replay with its actor and its selection; return its number."""
    return await fetch_scalar(connection, int, SQL["begin"], id, number, by, json.dumps(wanted.document))


async def requeue(
    connection: PipelineConnection, selection: ReplaySelection, *, most: int, replay: int
) -> tuple[int, counts.CountDelta]:
    """Queue up to `most` selected events again, in order of acceptance.

    Return their number and the changes of the counts. Each event stores the number of this replay, whose
    record counts it.
    """
    wholes = await connection.fetch(
        f"""
        {FOUND},
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
        *selection.arguments,
        most,
        replay,
    )
    whole = sum(row["events"] for row in wholes)
    rows = await connection.fetch(
        f"""
        {FOUND},
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
        *selection.arguments,
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
    await connection.execute(SQL["requeue"], replay, replayed)
    return replayed, delta


async def make_due(connection: PipelineConnection, number: DestinationNumber) -> None:
    """Make events that wait for their next attempt due now, and the probe of the endpoint."""
    await connection.execute(SQL["make_batches_due"], number, _MOST_MADE_DUE)
    await connection.execute(SQL["make_exceptions_due"], number, _MOST_MADE_DUE)
    await connection.execute(SQL["make_probe_due"], number)
