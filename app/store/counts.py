"""Counts of events per destination, day and writer. A transaction that changes events adds its deltas.

`CountWriter` says where a process adds them, and whether it queues final states as callbacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, fetch_rows, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)

WRITERS: Final = 64


@dataclass(slots=True)
class CountWriter:
    """How a process writes counts and final states."""

    number: int  # identifies the rows of this process in the counts
    callbacks_enabled: bool = False  # queue the final states as callbacks to the journey engine

    def change_rows(self) -> None:
        """Write other rows of the counts from now on, because another session locked a row."""
        self.number = (self.number + 1) % WRITERS


@dataclass(slots=True)
class IngestCounts:
    """The changes of a flush to the counts of one destination. Each further field would slow every flush."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass(slots=True)
class CountDelta(IngestCounts):
    """The changes of one transaction to the counts of one destination. They may be negative."""

    retrying: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    erased: int = 0


_values = attrgetter(*(field.name for field in fields(CountDelta)))


async def add(
    connection: PipelineConnection, writer: int, deltas: Mapping[DestinationNumber, CountDelta]
) -> None:
    """Add these deltas to the rows of a writer, without those that change nothing.

    `writer` is a number that each process chooses. Processes with different numbers add to different rows, so
    they do not wait for each other's row locks.
    """
    changed = {number: row for number, delta in deltas.items() if any(row := _values(delta))}
    if changed:
        columns = [list(column) for column in zip(*changed.values(), strict=True)]
        await connection.execute(SQL["add"], writer, list(changed), *columns)


RejectionKey = tuple[DestinationNumber, str, str, int, str]
"""Destination, code, reason, number of the mapping (0 if none) and path in the event ('' if none)."""


def _listed(tally: Mapping[Any, int]) -> list[list[Any]]:
    # In order of the keys, so that writers that share rows cannot deadlock.
    rows = [(*key, number) for key, number in sorted(tally.items())]
    return [list(column) for column in zip(*rows, strict=True)]


async def add_rejections(
    connection: PipelineConnection, writer: int, rejected: Mapping[RejectionKey, int]
) -> datetime | None:
    """Add these numbers of events that were rejected on receipt. Return the time that they are counted at."""
    if not rejected:
        return None
    return await fetch_scalar(connection, datetime, SQL["add_rejections"], writer, *_listed(rejected))


async def add_consent_stops(
    connection: PipelineConnection, writer: int, stopped: Mapping[tuple[DestinationNumber, str, str], int]
) -> None:
    """Add these numbers of events that the consent check rejected, by (destination, reason, legal basis)."""
    if not stopped:
        return
    await connection.execute(SQL["add_consent_stops"], writer, *_listed(stopped))


@dataclass(frozen=True, slots=True)
class ConsentStops:
    """Events that the consent check rejected for one reason. `basis` is the legal basis, if known."""

    reason: str
    basis: str | None
    events: int


async def consent_stops(connection: PipelineConnection, destination: DestinationNumber) -> list[ConsentStops]:
    """Return the events that the consent check rejected, by reason and legal basis, most frequent first.

    Together they are all rejections with the code CONSENT_NOT_PROVIDED.
    """
    return await fetch_rows(connection, ConsentStops, SQL["consent_stops"], destination)
