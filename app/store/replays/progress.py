"""The progress of replays: the present status of their events."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from asyncpg import Record
from pydantic import ConfigDict, Field

from app.domain.event import JourneySelection
from app.domain.ids import DestinationNumber
from app.store import INTERNAL, PipelineConnection, read_row, read_sql

SQL: Final = read_sql(__file__)


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
    requested_by: Annotated[str, Field(description="The id of a key, or the name of a person and their key.")]
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


def _progress(row: Record) -> ReplayProgress:
    selection: dict[str, object] = json.loads(row["selection"])  # `EventQuery.document`
    included = selection.get("dismissed") is not False
    return read_row(ReplayProgress, {**row, **selection}, include_dismissed=included)
