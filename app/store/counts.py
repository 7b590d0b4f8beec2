"""Counts per destination, day and writer: deltas written in the transaction that makes them true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection


@dataclass(slots=True)
class CountDelta:
    """How much one transaction moves the counts of one destination; `retrying` goes up and down."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    retrying: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    erased: int = 0


@dataclass(slots=True)
class IngestCounts:
    """How much a flush moves the counts of one destination. It moves no others: each costs, even by zero."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


Moved = Mapping[DestinationNumber, CountDelta] | Mapping[DestinationNumber, IngestCounts]


def columns(kind: type[CountDelta] | type[IngestCounts]) -> Sequence[str]:
    """Return the columns that a kind of delta moves."""
    return tuple(field.name for field in fields(kind))


def adding(kind: type[CountDelta] | type[IngestCounts], *, first: int = 1) -> str:
    """Return the statement that adds such deltas; its parameters, those of `moves`, begin at `first`."""
    names = columns(kind)
    numbers = range(first + 2, first + 2 + len(names))
    return f"""
        INSERT INTO counts AS c (destination, day, writer, {", ".join(names)})
        SELECT d.destination, (now() AT TIME ZONE 'UTC')::date, ${first},
          {", ".join(f"d.{name}" for name in names)}
        FROM unnest(${first + 1}::int[], {", ".join(f"${n}::bigint[]" for n in numbers)})
          AS d (destination, {", ".join(names)})
        -- In order of destination, so that two writers who share a row never wait in a circle.
        ORDER BY d.destination
        ON CONFLICT (destination, day, writer) DO UPDATE
        SET {", ".join(f"{name} = c.{name} + excluded.{name}" for name in names)}
    """


def moves(kind: type[CountDelta] | type[IngestCounts], writer: int, deltas: Moved) -> list[Any]:
    """Return the parameters of `adding`: the writer, the destinations that move, and a list a column."""
    values = _VALUES[kind]
    moved = {number: row for number, delta in deltas.items() if any(row := values(delta))}
    lists = [list(column) for column in zip(*moved.values(), strict=True)]
    return [writer, list(moved), *(lists or [[] for _ in columns(kind)])]


_VALUES = {kind: attrgetter(*columns(kind)) for kind in (CountDelta, IngestCounts)}
_ADD = {kind: adding(kind) for kind in (CountDelta, IngestCounts)}


async def add(connection: PipelineConnection, writer: int, deltas: Moved) -> None:
    """Add these deltas under `writer` (0 to 32767), a number that few processes share."""
    of_one_kind: list[CountDelta | IngestCounts] = list(deltas.values())
    if of_one_kind:
        kind = type(of_one_kind[0])
        arguments = moves(kind, writer, deltas)
        if arguments[1]:
            await connection.execute(_ADD[kind], *arguments)


def _listed(tally: Mapping[tuple[DestinationNumber, str, str], int]) -> list[list[Any]]:
    # In order of the keys, so that two writers who share rows never wait in a circle.
    rows = [(*key, number) for key, number in sorted(tally.items())]
    return [list(column) for column in zip(*rows, strict=True)]


async def add_rejections(
    connection: PipelineConnection,
    writer: int,
    rejected: Mapping[tuple[DestinationNumber, str, str], int],
) -> None:
    """Add to the tally of rejections at the door; keys are (destination, code, reason)."""
    if not rejected:
        return
    await connection.execute(
        """
        INSERT INTO rejections AS r (destination, day, writer, code, reason, rejected)
        SELECT x.destination, (now() AT TIME ZONE 'UTC')::date, $1, x.code, x.reason, x.rejected
        FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[]) AS x (destination, code, reason,
          rejected)
        ON CONFLICT (destination, day, writer, code, reason)
        DO UPDATE SET rejected = r.rejected + excluded.rejected, last_at = now()
        """,
        writer,
        *_listed(rejected),
    )


async def add_consent_stops(
    connection: PipelineConnection,
    writer: int,
    stopped: Mapping[tuple[DestinationNumber, str, str], int],
) -> None:
    """Add to the tally of events that the consent gate stopped; keys are (destination, reason, basis)."""
    if not stopped:
        return
    await connection.execute(
        """
        INSERT INTO consent_stops AS s (destination, day, writer, reason, basis, events)
        SELECT x.destination, (now() AT TIME ZONE 'UTC')::date, $1, x.reason, x.basis, x.events
        FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[]) AS x (destination, reason, basis,
          events)
        ON CONFLICT (destination, day, writer, reason, basis)
        DO UPDATE SET events = s.events + excluded.events
        """,
        writer,
        *_listed(stopped),
    )


@dataclass(frozen=True, slots=True)
class ConsentStops:
    """How many events the gate stopped for one reason on one basis; `basis` is None where none was kept."""

    reason: str
    basis: str | None
    events: int


async def consent_stops(connection: PipelineConnection, destination: DestinationNumber) -> list[ConsentStops]:
    """Return what the consent gate stopped of a destination, most first; in sum its rejections."""
    rows = await connection.fetch(
        """
        WITH by_basis AS (
          SELECT reason, basis, sum(events)::bigint AS events FROM consent_stops WHERE destination = $1
          GROUP BY reason, basis
        ), by_reason AS (
          SELECT reason, sum(rejected)::bigint AS events FROM rejections
          WHERE destination = $1 AND code = 'CONSENT_NOT_PROVIDED' GROUP BY reason
        )
        SELECT reason, basis, events FROM by_basis
        UNION ALL
        -- What was stopped before the basis was counted has none, and is not lost for that.
        SELECT reason, NULL, rest FROM by_reason r CROSS JOIN LATERAL (
          SELECT (r.events - coalesce(sum(b.events), 0))::bigint AS rest FROM by_basis b
          WHERE b.reason = r.reason
        ) x WHERE rest > 0
        ORDER BY events DESC, reason, basis
        """,
        destination,
    )
    return [ConsentStops(**dict(row)) for row in rows]
