"""Status callbacks: an outbox of the final states of events, for the journey engine.

A row is written in the transaction that makes an event final, and deleted when the journey engine accepted
it. Every remaining row is read again, so a row that commits late is not missed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from pydantic import ConfigDict

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import PipelineConnection, columns_of, execute, fetch_map, fetch_only, fetch_rows, read_sql
from app.store.database import damage

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class FinalBatch:
    """Events of one batch that became final in the same way.

    `places` are their positions in the batch; None stands for all events that have no row in `exceptions`.
    """

    batch: BatchId
    day: date
    places: tuple[int, ...] | None
    events: int
    status: str
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent(FinalBatch):
    """A final state to report to the journey engine, and its time."""

    destination: DestinationNumber
    at: datetime


@dataclass(frozen=True, slots=True)
class DueCallback:
    """A due callback that this process has leased. `tries` includes the attempt that follows.

    In `shapes`, a batch whose partition was dropped has no entry, and an unreadable batch has None.
    `excepted` has, by batch, the positions of the events that have their own row in `exceptions`.
    """

    id: int
    made_at: datetime
    tries: int
    age: timedelta
    finals: Sequence[CallbackEvent]
    shapes: dict[BatchId, bytes | None]
    excepted: dict[BatchId, list[int]]
    destinations: dict[DestinationNumber, DestinationId]
    mappings: dict[MappingNumber, MappingId]


async def note(
    connection: PipelineConnection, destination: DestinationNumber, finals: Sequence[FinalBatch]
) -> None:
    """Queue these final states in the caller's transaction, if callbacks are enabled for the destination."""
    if not finals:
        return
    # The places are passed as text, because the members of a nested Postgres array must have equal lengths.
    places = [None if final.places is None else f"{{{','.join(map(str, final.places))}}}" for final in finals]
    batches, days, *states = columns_of(finals, "batch", "day", "events", "status", "code", "reason")
    await connection.execute(SQL["note"], destination, batches, days, places, *states)


async def mark_failed(connection: PipelineConnection, destinations: Collection[DestinationNumber]) -> None:
    """Queue the final states of all events of these destinations that this transaction expired or discarded.

    The statement finds these events by their time, because now() is constant within a transaction.
    """
    await connection.execute(SQL["mark_failed"], list(destinations))


async def bundle(connection: PipelineConnection, *, most_events: int, most_callbacks: int) -> int:
    """Create a callback from the oldest queued final states, with at most `most_events` events.

    Return the number of final states in the callback. Create none while `most_callbacks` callbacks exist.
    """
    return await execute(connection, SQL["bundle"], most_events, most_callbacks)


async def claim(connection: PipelineConnection, *, lease: timedelta) -> DueCallback | None:
    """Lease the callback that has been due for longest, and read its events; None if none is due."""
    row = await connection.fetchrow(SQL["claim"], lease)
    if row is None:
        return None
    finals = await fetch_rows(connection, CallbackEvent, SQL["events_of_callback"], row["id"])
    numbers = list({final.destination for final in finals})
    unlisted = [final.batch for final in finals if final.places is None]
    return DueCallback(
        id=row["id"],
        made_at=row["made_at"],
        tries=row["tries"],
        age=row["age"],
        finals=finals,
        shapes=await damage.read_shapes_of(connection, {final.batch: final.day for final in finals}),
        excepted=await fetch_map(connection, SQL["excepted_places"], unlisted),
        destinations=await fetch_map(connection, SQL["destinations_of"], numbers),
        mappings=await fetch_map(connection, SQL["mappings_of"], numbers),
    )


async def acknowledge(connection: PipelineConnection, callback: int) -> None:
    """Delete a callback that the journey engine accepted, with its final states."""
    await connection.execute("DELETE FROM callbacks WHERE id = $1", callback)


async def reschedule(connection: PipelineConnection, callback: int, *, wait: timedelta, problem: str) -> None:
    """Make a callback due again after `wait`. `problem` is the code of its failure."""
    await connection.execute(SQL["reschedule"], callback, wait, problem)


@dataclass(frozen=True, slots=True)
class CallbackStatus:
    """The status callbacks of a destination."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    enabled: bool
    configured: bool
    """STATUS_CALLBACK_URL is set; without it no callback is sent."""
    waiting: int
    """Final states that the journey engine has not acknowledged yet."""
    oldest_waiting: datetime | None
    problem: str | None
    """Code of the last failure, such as `status_500`."""


async def read_status(
    connection: PipelineConnection, number: DestinationNumber, *, configured: bool
) -> CallbackStatus:
    """Return whether callbacks are enabled for a destination, and the events that wait to be reported."""
    return await fetch_only(connection, CallbackStatus, SQL["read_status"], number, configured)


async def enable(connection: PipelineConnection, number: DestinationNumber, *, by: str) -> bool:
    """Enable callbacks for a destination. Return False if they were enabled before."""
    return await execute(connection, SQL["enable"], number, by) == 1


async def disable(connection: PipelineConnection, number: DestinationNumber) -> bool:
    """Disable callbacks and delete the queued final states. Return False if they were disabled before."""
    disabled = await execute(connection, SQL["disable"], number)
    await connection.execute("DELETE FROM callback_events WHERE destination = $1", number)
    return disabled == 1
