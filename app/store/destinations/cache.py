"""Read the part of a destination that ingest caches: settings, published mappings and pinned names."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from app.domain.destination import DestinationSettings, RequestRate, State
from app.domain.ids import (
    AdvertiserId,
    DestinationId,
    DestinationNumber,
    LaneId,
    MappingId,
    MappingNumber,
    OrganisationId,
)
from app.store import PipelineConnection, read_row, read_sql, transposed

SQL: Final = read_sql(__file__)

NamedType = tuple[OrganisationId, AdvertiserId, str]
"""The key of a pinned event name: organisation, advertiser, event type."""


@dataclass(frozen=True, slots=True)
class MappingRow:
    """A mapping. Its published version and the version's document are None before the first publishing."""

    id: MappingId
    number: MappingNumber
    version: int | None
    document: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination at one configuration `version`. `pins` has the pinned event names by event type."""

    organisation: OrganisationId
    id: DestinationId
    number: DestinationNumber
    lane: LaneId
    version: int
    state: State
    signed_in: bool
    settings: DestinationSettings
    mappings: tuple[MappingRow, ...]
    pins: dict[str, str]


# The version of a destination `d` as processes cache it. A suspension changes only this version.
CACHED_VERSION: Final = "CASE WHEN d.suspended THEN -d.version ELSE d.version END"


async def load(
    connection: PipelineConnection, ids: Collection[DestinationId]
) -> dict[DestinationId, DestinationRow]:
    """Return the existing destinations among these ids, with their mappings and pins, from one snapshot."""
    rows = await connection.fetch(SQL["load"], list(ids))
    return {DestinationId(row["id"]): _destination_row(row) for row in rows}


def _destination_row(row: asyncpg.Record) -> DestinationRow:
    settings = read_row(DestinationSettings, row, rate_limit=read_row(RequestRate, row))
    return read_row(
        DestinationRow, row, version=row["cached_version"], settings=settings, json=["mappings", "pins"]
    )


async def pin_names(connection: PipelineConnection, names: dict[NamedType, str]) -> dict[NamedType, str]:
    """Pin a name for each event type that has none. Return the pinned name of every given event type.

    Ingest calls this when a mapping takes the event type from the event: the first stored event pins the
    name.
    """
    ordered = [(*event_type, name) for event_type, name in sorted(names.items())]
    await connection.execute(SQL["pin_names"], *transposed(ordered, 4))
    return await pinned_names(connection, names)


async def pinned_names(
    connection: PipelineConnection, event_types: Collection[NamedType]
) -> dict[NamedType, str]:
    """Return the pinned names of these event types."""
    rows = await connection.fetch(SQL["pinned_names"], *transposed(event_types, 3))
    return {(row["organisation_id"], row["advertiser_id"], row["event_type"]): row["name"] for row in rows}
