"""Shadows: at most one for each destination, with a snapshot of a draft and the counts of its comparison."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationNumber, MappingId, MappingNumber
from app.domain.match_quality.shadow import ShadowCounts
from app.store import PipelineConnection
from app.store.mappings import Document
from app.store.rows import read_row
from app.store.statements import execute

_COUNTS = (
    "s.events, s.same, s.different, s.newly_rejected, s.newly_accepted, s.skipped, s.fields::text AS fields"
)


def _counts(row: Any) -> ShadowCounts:
    return ShadowCounts(
        row["events"],
        row["same"],
        row["different"],
        row["newly_rejected"],
        row["newly_accepted"],
        row["skipped"],
        msgspec.json.decode(row["fields"], type=dict[str, list[int]]),
    )


@dataclass(frozen=True, slots=True)
class StoredShadow:
    """The shadow of a mapping, whether it still runs, and its results."""

    share: float
    started_by: str
    started_at: datetime
    ends_at: datetime
    is_running: bool
    counts: ShadowCounts


async def start(
    connection: AsyncConnection,
    destination: DestinationNumber,
    mapping: MappingNumber,
    document: Document,
    *,
    share: float,
    minutes: int,
    by: str,
) -> None:
    """Start a shadow. It replaces the earlier one of the destination."""
    await execute(
        connection,
        """
        INSERT INTO shadows (destination, mapping, document, share, started_by, ends_at)
        SELECT number, :mapping, CAST(:document AS jsonb), :share, :by,
          now() + make_interval(mins => :minutes)
        FROM destinations WHERE number = :destination AND organisation_id = acting_organisation()
        ON CONFLICT (destination) DO UPDATE SET mapping = excluded.mapping, document = excluded.document,
          share = excluded.share, started_by = excluded.started_by, started_at = now(),
          ends_at = excluded.ends_at, events = 0, same = 0, different = 0, newly_rejected = 0,
          newly_accepted = 0, skipped = 0, fields = '{}'
        """,
        destination=destination,
        mapping=mapping,
        document=msgspec.json.Encoder(decimal_format="number").encode(document).decode(),
        share=share,
        by=by,
        minutes=minutes,
    )


async def end(connection: AsyncConnection, destination: DestinationNumber, mapping: MappingNumber) -> bool:
    """End the running shadow of a mapping. Return whether there was one."""
    rows = await connection.execute(
        text(
            "UPDATE shadows SET ends_at = now() WHERE destination = :destination AND mapping = :mapping "
            "AND ends_at > now() AND EXISTS (SELECT FROM destinations d WHERE d.number = :destination "
            "AND d.organisation_id = acting_organisation()) RETURNING 1"
        ),
        {"destination": destination, "mapping": mapping},
    )
    return rows.first() is not None


async def find(
    connection: AsyncConnection, destination: DestinationNumber, mapping: MappingNumber
) -> StoredShadow | None:
    """Return the newest shadow of a mapping, unless another one of its destination replaced it."""
    rows = await connection.execute(
        text(
            "SELECT s.share, s.started_by, s.started_at, s.ends_at, "
            f"s.ends_at > now() AS is_running, {_COUNTS} FROM shadows s "
            "JOIN destinations d ON d.number = s.destination "
            "WHERE s.destination = :destination AND s.mapping = :mapping "
            "AND d.organisation_id = acting_organisation()"
        ),
        {"destination": destination, "mapping": mapping},
    )
    row = rows.mappings().first()
    if row is None:
        return None
    return StoredShadow(
        float(row["share"]),
        row["started_by"],
        row["started_at"],
        row["ends_at"],
        row["is_running"],
        _counts(row),
    )


@dataclass(frozen=True, slots=True)
class RunningShadow:
    """A shadow that processes take part in. `started_at` tells it from an earlier one."""

    destination: DestinationNumber
    mapping: MappingNumber
    mapping_id: MappingId
    document: Document
    share: float
    started_at: datetime


async def running(connection: PipelineConnection) -> list[RunningShadow]:
    """Return the running shadows of all organisations."""
    rows = await connection.fetch(
        """
        SELECT s.destination, s.mapping, m.id AS mapping_id, s.document::text AS document, s.share,
          s.started_at
        FROM shadows s JOIN mappings m ON m.number = s.mapping WHERE s.ends_at > now()
        """
    )
    return [read_row(RunningShadow, row, document=json.loads(row["document"])) for row in rows]


async def add(
    connection: PipelineConnection,
    destination: DestinationNumber,
    started_at: datetime,
    counts: ShadowCounts,
) -> None:
    """Add the results of a process to a shadow, unless another one replaced it."""
    row = await connection.fetchrow(
        f"SELECT {_COUNTS} FROM shadows s WHERE destination = $1 AND started_at = $2 FOR UPDATE",
        destination,
        started_at,
    )
    if row is None:
        return
    total = _counts(row)
    total.merge(counts)
    await connection.execute(
        """
        UPDATE shadows SET events = $2, same = $3, different = $4, newly_rejected = $5, newly_accepted = $6,
          skipped = $7, fields = $8::jsonb WHERE destination = $1
        """,
        destination,
        total.events,
        total.same,
        total.different,
        total.newly_rejected,
        total.newly_accepted,
        total.skipped,
        msgspec.json.encode(total.fields).decode(),
    )
