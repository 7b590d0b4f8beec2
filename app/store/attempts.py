"""Attempts: one row per request to Amazon, committed before the request is sent.

Its result is written once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from app.domain.ids import AttemptId, BatchId, DestinationNumber, LaneId
from app.store import PipelineConnection
from app.store.due_heads import PROBE_DUE
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class StartedAttempt:
    """A recorded attempt whose request may be sent after the commit."""

    id: AttemptId
    day: date


@dataclass(frozen=True, slots=True)
class UnsettledAttempt:
    """A started attempt without a result: its worker died, hangs, or is still sending.

    `places` are the positions of retried events within `batches`; None if complete batches were sent.
    """

    id: AttemptId
    day: date
    destination: DestinationNumber
    batches: tuple[BatchId, ...]
    places: tuple[int, ...] | None
    age: timedelta


# Each sign-in has a generation number. The token of an earlier sign-in must not be used.
_IS_ACTIVE = """SELECT d.number FROM destinations d JOIN sign_ins s ON s.destination = d.id
          WHERE d.number = $3 AND d.state = 'active' AND s.generation = $8 FOR SHARE OF d"""
# Setting the time of the next probe in this statement lets only one worker send a probe.
_IS_PROBED = f"""UPDATE destinations d SET endpoint_probe_at = clock_timestamp()
            + make_interval(secs => $10::float8)
          FROM sign_ins s, lane WHERE s.destination = d.id AND d.number = $3 AND {PROBE_DUE}
            AND s.generation = $8 RETURNING d.number"""
_START = """
    -- The lane, if it is ours and no erasure was requested since the batches were read.
    WITH lane AS (SELECT id FROM lanes WHERE id = $1 AND fence = $2
      AND leased_until > clock_timestamp() AND erasures = $9 FOR KEY SHARE),
    -- The destination, if it may send (_IS_ACTIVE or _IS_PROBED).
    ready AS ({ready})
    INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, places, events, generation)
    SELECT nextval('attempt_ids'), (now() AT TIME ZONE 'UTC')::date, lane.id, ready.number, $2, $4,
      $5, $6, $7, $8
    FROM lane, ready RETURNING id, day
"""


async def start(
    connection: PipelineConnection,
    *,
    lane: LaneId,
    fence: int,
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
    row = await connection.fetchrow(
        _START.format(ready=_IS_ACTIVE if probe_again_in is None else _IS_PROBED),
        lane,
        fence,
        destination,
        worker,
        list(batches),
        None if places is None else list(places),
        events,
        generation,
        erasures,
        *(() if probe_again_in is None else (probe_again_in,)),
    )
    return None if row is None else StartedAttempt(AttemptId(row["id"]), row["day"])


class OutcomeWrite(StrEnum):
    """Whether this worker wrote the outcome of an attempt."""

    NOW = "now"  # written by this call
    BEFORE = "before"  # written by an earlier call of this worker, which got no reply to its commit
    STALE = "stale"  # not written, because the lane has another owner


async def write_outcome(
    connection: PipelineConnection,
    started: StartedAttempt,
    *,
    lane: LaneId,
    fence: int,
    outcome: str,
    http_status: int | None = None,
    request_id: str | None = None,
    message: str | None = None,
    duration_ms: int | None = None,
    delivered: int | None = None,
) -> OutcomeWrite:
    """Write the outcome of an attempt unless it has one. `delivered` is the number of accepted events."""
    status = await connection.execute(
        """
        UPDATE attempts SET settled_at = clock_timestamp(), outcome = $5, http_status = $6, request_id = $7,
          message = $8, duration_ms = $9, delivered = $10
        WHERE id = $1 AND day = $2 AND settled_at IS NULL
        AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE)
        """,
        started.id,
        started.day,
        lane,
        fence,
        outcome,
        http_status,
        request_id,
        message,
        duration_ms,
        delivered,
    )
    if status == "UPDATE 1":
        return OutcomeWrite.NOW
    before = await connection.fetchval(
        """
        SELECT true FROM attempts a JOIN lanes l ON l.id = a.lane
        WHERE a.id = $1 AND a.day = $2 AND a.settled_at IS NOT NULL AND l.fence = $3
        """,
        started.id,
        started.day,
        fence,
    )
    return OutcomeWrite.BEFORE if before else OutcomeWrite.STALE


async def unsettled(connection: PipelineConnection, lane: LaneId) -> list[UnsettledAttempt]:
    """Return the attempts of a lane that have no result yet, with their age on the database's clock."""
    rows = await connection.fetch(
        """
        SELECT id, day, destination, batches, places, clock_timestamp() - started_at AS age
        FROM attempts WHERE lane = $1 AND settled_at IS NULL ORDER BY id
        """,
        lane,
    )
    return [read_row(UnsettledAttempt, row) for row in rows]


async def overdue(
    connection: PipelineConnection, lanes: Sequence[LaneId], *, older_than: timedelta
) -> list[tuple[LaneId, UnsettledAttempt]]:
    """Return the unsettled attempts of these lanes that are older than `older_than`, each with its lane."""
    rows = await connection.fetch(
        """
        SELECT lane, id, day, destination, batches, places, clock_timestamp() - started_at AS age
          FROM attempts
        WHERE lane = ANY($1::int[]) AND settled_at IS NULL AND started_at < clock_timestamp() - $2::interval
        """,
        list(lanes),
        older_than,
    )
    return [(LaneId(row["lane"]), read_row(UnsettledAttempt, row)) for row in rows]


async def any_in_flight(
    connection: PipelineConnection, destination: DestinationNumber, *, younger_than: timedelta
) -> bool:
    """Return whether a destination has an unsettled attempt that started less than `younger_than` ago."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM destinations d JOIN attempts a ON a.lane = d.lane
          AND a.destination = d.number
        WHERE d.number = $1 AND a.settled_at IS NULL AND a.started_at > clock_timestamp() - $2::interval)
        """,
        destination,
        younger_than,
    )
    return found
