"""Replays, and retries of waiting events now.

Record a replay, queue events again, make waiting events due, read the present status of a replay's events.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from app.domain.event import JourneySelection
from app.domain.event_query import EventQuery
from app.domain.ids import DestinationNumber
from app.store import INTERNAL, PipelineConnection, Row, batches, counts, fetch_scalar, read_row, read_sql
from app.store.replays.selection import FOUND, ReplaySelection

SQL: Final = read_sql(__file__)

QUEUE = batches.LOW
_MOST_MADE_DUE: Final = 5_000  # batches, and single events; further ones stay due as before


def _with_replay(table: str) -> str:
    """Return SQL for the replay numbers of a row with the replay $11 added, limited to the latest thirty."""
    numbers = f"coalesce({table}.replays, '{{}}')"
    return f"({numbers} || $11::integer)[greatest(1, cardinality({numbers}) - 28):]"


async def begin(
    connection: PipelineConnection, id: str, number: DestinationNumber, wanted: EventQuery, *, by: str
) -> int:
    """Record a replay with its actor and its selection; return its number."""
    return await fetch_scalar(connection, int, SQL["begin"], id, number, by, json.dumps(wanted.document))


async def requeue(
    connection: PipelineConnection, selection: ReplaySelection, *, most: int
) -> tuple[int, counts.CountDelta]:
    """Queue up to `most` selected events again, in order of acceptance.

    Return their number and the changes of the counts. Each event stores the number of the selection's replay,
    whose record counts it.
    """
    statement = f"""
        {FOUND},
        -- Batches that can be replayed. SKIP LOCKED leaves out those that another replay is queueing.
        free AS (SELECT s.batch, s.events FROM batch_states s JOIN wholes w USING (batch)
          -- An erasure may have left no event since, and the data key may have been deleted.
          WHERE w.young AND w.has_key AND s.events > 0 AND s.data_key IS NOT NULL
          ORDER BY s.batch FOR UPDATE OF s SKIP LOCKED),
        -- The running sum of their events in order of acceptance.
        summed AS (SELECT batch, sum(events) OVER (ORDER BY batch) AS so_far FROM free),
        -- The batches that fit into $12 events.
        selected AS (SELECT s.batch, s.disposition FROM summed JOIN batch_states s USING (batch)
          WHERE so_far <= $12)
        UPDATE batch_states s SET disposition = NULL, settled_at = NULL, queue = {QUEUE}, due_at = now(),
          reason = 'replayed', replays = {_with_replay("s")}
        FROM selected t WHERE s.batch = t.batch AND s.settled_at IS NOT NULL
        RETURNING s.events, s.tries > 0 AS failing, t.disposition
        """
    wholes = await connection.fetch(statement, *selection.arguments, most)
    whole = sum(row["events"] for row in wholes)
    statement = f"""
        {FOUND},
        -- The oldest events that can be replayed, without those that another replay is queueing.
        free AS (SELECT e.batch, e.place, e.status FROM exceptions e JOIN singles USING (batch, place)
          JOIN batch_states s ON s.batch = e.batch
          -- FOR SHARE keeps an erasure from rewriting the batch, and its data key from being deleted.
          WHERE young AND has_key AND s.data_key IS NOT NULL ORDER BY e.batch, e.place LIMIT $12
          FOR UPDATE OF e SKIP LOCKED FOR SHARE OF s SKIP LOCKED),
        queued AS (UPDATE exceptions e SET status = 'retrying', queue = {QUEUE}, due_at = now(),
          send_group = NULL, tries = 0, reason = 'replayed', code = NULL,
          replays = {_with_replay("e")}, changed_at = now(), dismissed_at = NULL, dismissed_by = NULL
        FROM free f WHERE e.batch = f.batch AND e.place = f.place AND e.status = ANY($2)
        RETURNING f.status)
        SELECT status, count(*) AS events FROM queued GROUP BY status
        """
    rows = await connection.fetch(statement, *selection.arguments, most - whole)
    delta = counts.CountDelta(
        retrying=sum(row["events"] for row in rows) + sum(row["events"] for row in wholes if row["failing"]),
        dead=-sum(row["events"] for row in wholes if row["disposition"] == "discarded"),
        expired=-sum(row["events"] for row in wholes if row["disposition"] == "expired"),
    )
    for row in rows:
        setattr(delta, row["status"], getattr(delta, row["status"]) - row["events"])
    replayed = -(delta.dead + delta.expired)
    await connection.execute(SQL["requeue"], selection.replay, replayed)
    return replayed, delta


async def make_due(connection: PipelineConnection, number: DestinationNumber) -> None:
    """Make events that wait for their next attempt due now, and the probe of the endpoint."""
    await connection.execute(SQL["make_batches_due"], number, _MOST_MADE_DUE)
    await connection.execute(SQL["make_exceptions_due"], number, _MOST_MADE_DUE)
    await connection.execute(SQL["make_probe_due"], number)


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

    __pydantic_config__ = ConfigDict(
        json_schema_serialization_defaults_required=True, use_attribute_docstrings=True
    )

    replay_id: Annotated[str, Field(examples=["rpl_0a1b2c3d4e5f6a7b8c9d"])]
    requested_at: datetime
    requested_by: str
    """The id of a key, or the name of a person and their key."""
    status: Annotated[str | None, Field(examples=["dead"])] = None
    """Null: dead and expired events."""
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    event_ids: SelectedIds | None = None
    mapping_id: str | None = None
    event_type: str | None = None
    cause: str | None = None
    """The cause of a group on the console's page of failures."""
    include_dismissed: bool
    """Whether dismissed dead letters were replayed too."""
    replayed: int
    waiting: int
    delivered: int
    dead: int
    expired: int
    erased: int
    number: Annotated[int, INTERNAL]  # grows with each replay


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
    return [_progress(row) for row in await connection.fetch(SQL["progress"], number, below, id, limit)]


def _progress(row: Row) -> ReplayProgress:
    selection: dict[str, object] = json.loads(row["selection"])  # `EventQuery.document`
    included = selection.get("dismissed") is not False
    return read_row(ReplayProgress, {**row, **selection}, include_dismissed=included)
