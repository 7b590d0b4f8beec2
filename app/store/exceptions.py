"""Exceptions: one row for each conversion whose state differs from its batch, such as a retry."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Final

from app.domain.ids import AttemptId, BatchId, DestinationNumber
from app.store import PipelineConnection, columns_of, fetch_rows, read_sql, transposed

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class ExceptionChange:
    """An exception to write. It is due again after `wait`; `wait` is None for a final status.

    With `answers_attempt`, reason, code and message come from Amazon's reply to this conversion. A `mapping`
    of None leaves the stored mapping unchanged.
    """

    batch: BatchId
    place: int
    day: date
    status: str
    event_at: datetime
    reason: str
    code: str | None = None
    mapping: int | None = None
    wait: timedelta | None = None
    send_group: int | None = None
    costs_try: bool = False
    amazon_code: str | None = None
    amazon_message: str | None = None
    answers_attempt: bool = False


@dataclass(frozen=True, slots=True)
class DueException:
    """A conversion that is retried separately from its batch."""

    batch: BatchId
    place: int
    day: date
    tries: int
    send_group: int | None
    event_at: datetime


async def write(
    connection: PipelineConnection,
    destination: DestinationNumber,
    attempt: AttemptId | None,
    written: Sequence[ExceptionChange],
    *,
    queue: int = 0,
) -> None:
    """Insert or update these exceptions.

    A new exception is put in `queue`; an existing one keeps its queue. If Amazon's reply to `attempt` had a
    result for the conversion, the result is added to its item outcomes. Only the first outcome and the latest
    thirty are stored.
    """
    if not written:
        return
    columns = columns_of(written, *(field.name for field in fields(ExceptionChange)))
    await connection.execute(SQL["write"], destination, attempt, queue, *columns)


async def due(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    queue: int,
    in_flight: Sequence[tuple[BatchId, int]],
    max_events: int,
) -> list[DueException]:
    """Return the due conversions for one retry request, without those in flight.

    Either all belong to one send group, or none belongs to a group. A send group is half of a request that
    Amazon refused.
    """
    arguments = (destination, *transposed(in_flight, 2), max_events, queue)
    return await fetch_rows(connection, DueException, SQL["due"], *arguments)


async def lock_retrying(
    connection: PipelineConnection, conversions: Sequence[tuple[BatchId, int]]
) -> set[tuple[BatchId, int]]:
    """Lock those of these conversions, given as (batch, place), that are still retrying. Return them."""
    if not conversions:
        return set()
    rows = await connection.fetch(SQL["lock_retrying"], *transposed(conversions, 2))
    return {(BatchId(row["batch"]), row["place"]) for row in rows}


async def places(connection: PipelineConnection, batch: BatchId) -> set[int]:
    """Return the positions in a batch that have an exception."""
    rows = await connection.fetch("SELECT place FROM exceptions WHERE batch = $1", batch)
    return {row["place"] for row in rows}


async def requeue(
    connection: PipelineConnection, places: Sequence[tuple[BatchId, int]], *, wait: timedelta, reason: str
) -> None:
    """Make retrying conversions due again after `wait`, because the outcome of their request is unknown.

    They keep their send group.
    """
    await connection.execute(SQL["requeue"], *transposed(places, 2), wait, reason)


async def expire(
    connection: PipelineConnection, *, older_than: timedelta, limit: int
) -> list[DestinationNumber]:
    """Expire retrying conversions that are older than `older_than`. Return the destination of each."""
    rows = await connection.fetch(SQL["expire"], older_than, limit)
    return [DestinationNumber(row["destination"]) for row in rows]
