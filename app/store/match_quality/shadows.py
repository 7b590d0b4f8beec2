"""Shadows: at most one for each destination, with a snapshot of a draft and the counts of its comparison."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationNumber, MappingId, MappingNumber
from app.domain.observed.differences import ShadowCounts
from app.domain.strict_json import json_text
from app.store import PipelineConnection, Row, read_row, read_sql
from app.store.mappings import Document
from app.store.statements import execute, read_one

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class StoredShadow:
    """The shadow of a mapping, whether it still runs, and its results."""

    share: float
    started_by: str
    started_at: datetime
    ends_at: datetime
    is_running: bool
    counts: ShadowCounts


def _read(row: Row) -> StoredShadow:
    counts = read_row(ShadowCounts, row, json=["fields"])
    return read_row(StoredShadow, row, counts=counts)


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
    await execute(connection, SQL["start"], destination, mapping, json_text(document), share, by, minutes)


async def end(connection: AsyncConnection, destination: DestinationNumber, mapping: MappingNumber) -> bool:
    """End the running shadow of a mapping. Return whether there was one."""
    return await execute(connection, SQL["end"], destination, mapping) == 1


async def find(
    connection: AsyncConnection, destination: DestinationNumber, mapping: MappingNumber
) -> StoredShadow | None:
    """Return the newest shadow of a mapping, unless another one of its destination replaced it."""
    return await read_one(connection, _read, SQL["find"], destination, mapping)


@dataclass(frozen=True, slots=True)
class RunningShadow:
    """A shadow that processes take part in. `started_at` tells it from an earlier one.

    `document` is the draft, or None for a shadow that the reader knows.
    """

    destination: DestinationNumber
    mapping: MappingNumber
    mapping_id: MappingId
    document: Document | None
    share: float
    started_at: datetime


async def running(connection: PipelineConnection, known: Iterable[datetime]) -> list[RunningShadow]:
    """Return the running shadows of all organisations. `known` are the starts of those already read."""
    rows = await connection.fetch(SQL["running"], list(known))
    return [read_row(RunningShadow, row, json=["document"]) for row in rows]


_RESULTS: Final = attrgetter("events", "same", "different", "newly_rejected", "newly_accepted", "skipped")


async def add(
    connection: PipelineConnection, destination: DestinationNumber, started_at: datetime, counts: ShadowCounts
) -> None:
    """Add the results of a process to a shadow, unless another one replaced it."""
    fields = json_text(counts.fields)
    await connection.execute(SQL["add"], destination, started_at, *_RESULTS(counts), fields)
