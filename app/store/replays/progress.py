"""The progress of replays: the present status of their events."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, NamedTuple

from asyncpg import Record
from pydantic import ConfigDict, Field

from app.domain.event import JourneySelection
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.rows import read_row


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
