"""Status callbacks: an outbox of the final states of events, for the journey engine.

A row is written in the transaction that makes an event final, and deleted when the journey engine accepted
it. Every remaining row is read again, so a row that commits late is not missed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import PipelineConnection
from app.store.database import damage
from app.store.rows import read_row


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


@dataclass(frozen=True, slots=True)
class CallbackEvent:
    """A final state to report to the journey engine, and its time."""

    destination: DestinationNumber
    final: FinalBatch
    at: datetime


@dataclass(frozen=True, slots=True)
class DueCallback:
    """A due callback that this process has leased. `tries` includes the attempt that follows."""

    id: int
    made_at: datetime
    tries: int
    age: timedelta
    notices: tuple[CallbackEvent, ...]


async def note(
    connection: PipelineConnection, destination: DestinationNumber, finals: Sequence[FinalBatch]
) -> None:
    """Queue these final states in the caller's transaction, if callbacks are enabled for the destination."""
    if not finals:
        return
    # The places are passed as text, because the members of a nested Postgres array must have equal lengths.
    await connection.execute(
        """
        INSERT INTO callback_events (destination, batch, day, places, events, status, code, reason)
        SELECT t.destination, f.batch, f.day, f.places::smallint[], f.events, f.status, f.code, f.reason
        FROM callback_destinations t, unnest($2::bigint[], $3::date[], $4::text[], $5::smallint[], $6::text[],
          $7::text[], $8::text[]) AS f (batch, day, places, events, status, code, reason)
        WHERE t.destination = $1
        """,
        destination,
        [final.batch for final in finals],
        [final.day for final in finals],
        [None if final.places is None else "{" + ",".join(map(str, final.places)) + "}" for final in finals],
        [final.events for final in finals],
        [final.status for final in finals],
        [final.code for final in finals],
        [final.reason for final in finals],
    )


async def mark_failed(connection: PipelineConnection, destinations: Collection[DestinationNumber]) -> None:
    """Queue the final states of all events of these destinations that this transaction expired or discarded.

    The statement finds these events by their time, because now() is constant within a transaction.
    """
    await connection.execute(
        """
        INSERT INTO callback_events (destination, batch, day, places, events, status, code, reason)
        SELECT s.destination, s.batch, s.day, NULL, s.events,
          CASE s.disposition WHEN 'expired' THEN 'expired' ELSE 'dead' END, 'MISC_ERROR', s.reason
        FROM batch_states s JOIN callback_destinations t USING (destination)
        WHERE s.destination = ANY($1::int[]) AND s.settled_at = now() AND s.data_key IS NOT NULL
          AND s.disposition IN ('expired', 'discarded') AND s.events > 0
        UNION ALL
        SELECT e.destination, e.batch, e.day, array_agg(e.place ORDER BY e.place), count(*)::smallint,
          e.status, e.code, e.reason
        FROM exceptions e JOIN callback_destinations t USING (destination)
        WHERE e.destination = ANY($1::int[]) AND e.status IN ('expired', 'dead') AND e.changed_at = now()
        GROUP BY e.destination, e.batch, e.day, e.status, e.code, e.reason
        """,
        list(destinations),
    )


async def bundle(connection: PipelineConnection, *, most_events: int, most_callbacks: int) -> int:
    """Create a callback from the oldest queued final states, with at most `most_events` events.

    Return the number of final states in the callback. Create none while `most_callbacks` callbacks exist.
    """
    status: str = await connection.execute(
        """
        -- The oldest final states without a callback; none if enough callbacks exist.
        WITH free AS (SELECT id, events FROM callback_events WHERE callback IS NULL
            AND (SELECT count(*) FROM callbacks) < $2
          ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED),
        -- Running sum of their events.
        summed AS (SELECT id, events, sum(events) OVER (ORDER BY id) AS so_far FROM free),
        new_callback AS (INSERT INTO callbacks (tries) SELECT 0 WHERE EXISTS (SELECT FROM free) RETURNING id)
        -- The first is included even if it exceeds the limit.
        UPDATE callback_events n SET callback = new_callback.id FROM summed s, new_callback
        WHERE n.id = s.id AND (s.so_far <= $1 OR s.so_far = s.events)
        """,
        most_events,
        most_callbacks,
    )
    return int(status.rpartition(" ")[2])


async def claim(connection: PipelineConnection, *, lease: timedelta) -> DueCallback | None:
    """Lease the callback that has been due for longest; None if none is due."""
    row = await connection.fetchrow(
        """
        UPDATE callbacks SET leased_until = now() + $1::interval, tries = tries + 1
        WHERE id = (SELECT id FROM callbacks
          WHERE due_at <= now() AND coalesce(leased_until, due_at) <= now()
          ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, made_at, tries, now() - made_at AS age
        """,
        lease,
    )
    if row is None:
        return None
    rows = await connection.fetch(
        """
        SELECT destination, batch, day, places, events, status, code, reason, at FROM callback_events
        WHERE callback = $1 ORDER BY id
        """,
        row["id"],
    )
    notices = [read_row(CallbackEvent, event, final=read_row(FinalBatch, event)) for event in rows]
    return read_row(DueCallback, row, notices=notices)


async def acknowledge(connection: PipelineConnection, callback: int) -> None:
    """Delete a callback that the journey engine accepted, with its final states."""
    await connection.execute("DELETE FROM callbacks WHERE id = $1", callback)


async def reschedule(connection: PipelineConnection, callback: int, *, wait: timedelta, problem: str) -> None:
    """Make a callback due again after `wait`. `problem` is the code of its failure."""
    await connection.execute(
        """
        UPDATE callbacks SET due_at = now() + $2::interval, leased_until = NULL, problem = $3 WHERE id = $1
        """,
        callback,
        wait,
        problem,
    )


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """The data from which a callback's events get their ids and the ids of destinations and mappings.

    `excepted` has, by batch, the positions of the events that have their own row in `exceptions`.
    """

    shapes: dict[BatchId, bytes | None]
    excepted: dict[BatchId, frozenset[int]]
    destinations: dict[DestinationNumber, DestinationId]
    mappings: dict[MappingNumber, MappingId]


async def names(connection: PipelineConnection, events: Sequence[CallbackEvent]) -> NamedEvent:
    """Read the event metadata and the ids for these final states.

    In `shapes`, a batch whose partition was dropped has no entry, and an unreadable batch has None.
    """
    finals = [event.final for event in events]
    shapes = await damage.read_shapes_of(connection, {final.batch: final.day for final in finals})
    excepted = await connection.fetch(
        """
        SELECT batch, array_agg(place) AS places FROM exceptions
        WHERE batch = ANY($1::bigint[]) GROUP BY batch
        """,
        [final.batch for final in finals if final.places is None],
    )
    numbers = list({event.destination for event in events})
    destinations = await connection.fetch(
        "SELECT number, id FROM destinations WHERE number = ANY($1::int[])", numbers
    )
    mappings = await connection.fetch(
        """
        SELECT m.number, m.id FROM mappings m JOIN destinations d ON d.id = m.destination
        WHERE d.number = ANY($1::int[])
        """,
        numbers,
    )
    return NamedEvent(
        shapes=shapes,
        excepted={BatchId(row["batch"]): frozenset(row["places"]) for row in excepted},
        destinations={DestinationNumber(row["number"]): DestinationId(row["id"]) for row in destinations},
        mappings={MappingNumber(row["number"]): MappingId(row["id"]) for row in mappings},
    )


@dataclass(frozen=True, slots=True)
class CallbackStatus:
    """The callbacks of a destination. `waiting` counts events to report; `problem` is a failure's code."""

    enabled: bool
    waiting: int
    oldest: datetime | None
    problem: str | None


async def read_status(connection: PipelineConnection, number: DestinationNumber) -> CallbackStatus:
    """Return whether callbacks are enabled for a destination, and the events that wait to be reported."""
    row = await connection.fetchrow(
        """
        SELECT EXISTS (SELECT FROM callback_destinations WHERE destination = $1) AS enabled,
          coalesce(sum(n.events), 0)::bigint AS waiting, min(n.at) AS oldest, max(c.problem) AS problem
        FROM callback_events n LEFT JOIN callbacks c ON c.id = n.callback WHERE n.destination = $1
        """,
        number,
    )
    assert row is not None
    return read_row(CallbackStatus, row)


async def enable(connection: PipelineConnection, number: DestinationNumber, *, by: str) -> bool:
    """Enable callbacks for a destination. Return False if they were enabled before."""
    status: str = await connection.execute(
        "INSERT INTO callback_destinations (organisation_id, destination, by_actor) "
        "VALUES (acting_organisation(), $1, $2) ON CONFLICT DO NOTHING",
        number,
        by,
    )
    return status.endswith("1")


async def disable(connection: PipelineConnection, number: DestinationNumber) -> bool:
    """Disable callbacks and delete the queued final states. Return False if they were disabled before."""
    status: str = await connection.execute(
        "DELETE FROM callback_destinations WHERE organisation_id = acting_organisation() AND "
        "destination = $1",
        number,
    )
    await connection.execute("DELETE FROM callback_events WHERE destination = $1", number)
    return status.endswith("1")
