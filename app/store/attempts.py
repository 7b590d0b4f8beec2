"""Attempts: one row per request to Amazon, committed before the request is sent.

Its result is written once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import Final

import asyncpg

from app.domain.ids import AttemptId, BatchId, DestinationNumber, LaneId
from app.domain.outcomes.outcome import SentRequest
from app.domain.strict_json import json_text
from app.store import PipelineConnection, execute, fetch_row, fetch_rows, fetch_scalar, read_sql
from app.store.counts import CountDelta
from app.store.lanes import LaneLease, StaleOwner

SQL: Final = read_sql(__file__)

RESPONSE_DAYS: Final = 7  # how long Amazon's responses are stored


@dataclass(frozen=True, slots=True)
class StartedAttempt:
    """A recorded attempt whose request may be sent after the commit."""

    id: AttemptId
    day: date


@dataclass(frozen=True, slots=True)
class UnsettledAttempt(StartedAttempt):
    """A started attempt without a result: its worker died, hangs, or is still sending.

    `places` are the positions of retried events within `batches`; None if complete batches were sent.
    """

    lane: LaneId
    destination: DestinationNumber
    batches: tuple[BatchId, ...]
    places: tuple[int, ...] | None
    age: timedelta


async def start(
    connection: PipelineConnection,
    lease: LaneLease,
    *,
    destination: DestinationNumber,
    worker: str,
    batches: Sequence[BatchId],
    places: Sequence[int] | None,
    events: int,
    generation: int,
    erasures: int,
    probe_again_in: float | None = None,
) -> StartedAttempt | None:
    """Record that a request will be sent, or return None when it must not be sent.

    It may be sent if this worker owns the lane, no erasure was requested since the batches were read, and the
    destination is active. With `probe_again_in`, a probe of the destination must be due instead of the
    destination being active. The next probe is then due after `probe_again_in` seconds. A pause or a takeover
    of the lane that commits later waits for this transaction and then sees the attempt.
    """
    content = (destination, worker, list(batches), places, events)
    request = (lease.id, lease.fence, *content, generation, erasures)
    if probe_again_in is None:
        return await fetch_row(connection, StartedAttempt, SQL["start"], *request)
    return await fetch_row(connection, StartedAttempt, SQL["start_probe"], *request, probe_again_in)


_RESULT: Final = attrgetter("outcome", "status", "request_id", "message", "duration_ms")


async def write_outcome(
    connection: PipelineConnection,
    started: StartedAttempt,
    lease: LaneLease,
    sent: SentRequest,
    *,
    delivered: int | None = None,
) -> bool:
    """Write the outcome of an attempt. `delivered` is the number of accepted events.

    Return False if an earlier call of this worker wrote it and got no reply to its commit. Raises StaleOwner.
    """
    attempt = (started.id, started.day, lease.id, lease.fence)
    if await execute(connection, SQL["write_outcome"], *attempt, *_RESULT(sent), delivered):
        if sent.response is not None:
            content = json_text(sent.response)
            await connection.execute(SQL["add_response"], started.id, started.day, content)
        return True
    if await connection.fetchval(SQL["find_outcome"], started.id, started.day, lease.fence) is None:
        raise StaleOwner
    return False


async def delete_responses(connection: PipelineConnection, *, limit: int) -> bool:
    """Delete up to `limit` of Amazon's responses that are too old. Return whether there was any."""
    return await execute(connection, SQL["delete_responses"], RESPONSE_DAYS, limit) > 0


async def write_delivered(
    connection: PipelineConnection,
    started: StartedAttempt,
    lease: LaneLease,
    sent: SentRequest,
    *,
    destination: DestinationNumber,
    batches: Sequence[BatchId],
    days: tuple[date, date],
    delta: CountDelta,
    writer: int,
) -> bool:
    """Record that every conversion of these batches was delivered: in the attempt, the states and the counts.

    `days` are the first and last day of the batches. Delivered and retrying events of `delta` are counted.
    Returns False and writes nothing when the lane has another owner or the attempt already has a result.
    """
    attempt = (started.id, started.day, lease.id, lease.fence)
    result = (sent.status, sent.request_id, sent.duration_ms)
    counted = (destination, writer, delta.delivered, delta.retrying)
    try:
        settled: bool = await connection.fetchval(
            SQL["write_delivered"], *attempt, *result, list(batches), *days, *counted
        )
    except asyncpg.DivisionByZeroError:
        raise AssertionError(f"not all of {len(batches)} batches of a request were open") from None
    return settled


async def unsettled(
    connection: PipelineConnection, lanes: Sequence[LaneId], *, older_than: timedelta | None = None
) -> list[UnsettledAttempt]:
    """Return the attempts of these lanes that have no result yet, with their age on the database's clock.

    With `older_than`, return only those that are older.
    """
    return await fetch_rows(connection, UnsettledAttempt, SQL["unsettled"], list(lanes), older_than)


async def any_in_flight(
    connection: PipelineConnection, destination: DestinationNumber, *, younger_than: timedelta
) -> bool:
    """Return whether a destination has an unsettled attempt that started less than `younger_than` ago."""
    return await fetch_scalar(connection, bool, SQL["any_in_flight"], destination, younger_than)
