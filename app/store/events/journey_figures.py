"""Count events by journey node and status.

The database counts accepted events: triggers on `batch_states` and `exceptions` add each change of a status,
in the transaction that makes it (migration 0010). A flush adds rejected events and duplicates. The day of a
figure is the day (UTC) on which the event was accepted, rejected or answered as a duplicate.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Final, NamedTuple

from app.domain.ids import DestinationNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection
from app.store.rows import read_row

MOST_NODES: Final = 1_000  # per destination and day, because callers choose the ids
OTHER: Final = 1_001  # the number under which all further nodes of a day are counted


JourneyNode = tuple[DestinationNumber, str, str]
"""A destination, the id of a journey and the id of its node. An id is '' if an event has none."""


@dataclass(frozen=True, slots=True)
class NodeNumbers:
    """The numbers of journey nodes on a day. Destinations in `full` give no numbers to further nodes."""

    day: date
    numbers: dict[JourneyNode, int]
    full: frozenset[DestinationNumber]


async def register(connection: PipelineConnection, nodes: Collection[JourneyNode]) -> NodeNumbers:
    """Return the numbers of these nodes today. New nodes get a number while the day has fewer than 1,000.

    A number can be missing if another session took it meanwhile: call again.
    """
    rows = await connection.fetch(
        f"""
        WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day),
        -- The wanted nodes with their numbers, and the highest number of their destination.
        wanted AS (
          SELECT w.*, t.day, n.number, coalesce((SELECT max(number) FROM journey_nodes h
            WHERE h.destination = w.destination AND h.day = t.day), 0) AS highest
          FROM unnest($1::integer[], $2::text[], $3::text[]) AS w (destination, journey_id, node_id)
          CROSS JOIN today t LEFT JOIN journey_nodes n ON n.destination = w.destination AND n.day = t.day
            AND n.journey_id = w.journey_id AND n.node_id = w.node_id
        ), added AS (
          -- New nodes, in order, so that two sessions cannot deadlock.
          INSERT INTO journey_nodes (destination, day, number, journey_id, node_id)
          SELECT * FROM (SELECT destination, day,
              highest + row_number() OVER (PARTITION BY destination ORDER BY journey_id, node_id) AS number,
              journey_id, node_id
            FROM wanted WHERE number IS NULL) new
          WHERE number <= {MOST_NODES} ORDER BY destination, number
          ON CONFLICT DO NOTHING RETURNING destination, journey_id, node_id, number
        )
        SELECT w.day, w.destination, w.journey_id, w.node_id, coalesce(w.number, a.number) AS number,
          w.highest >= {MOST_NODES} AS is_full
        FROM wanted w LEFT JOIN added a USING (destination, journey_id, node_id)
        UNION ALL SELECT day, NULL, NULL, NULL, NULL, NULL FROM today
        """,
        *(list(column) for column in zip(*sorted(nodes), strict=True)) if nodes else ([], [], []),
    )
    numbers = {
        (row["destination"], row["journey_id"], row["node_id"]): row["number"]
        for row in rows
        if row["number"] is not None
    }
    return NodeNumbers(
        rows[0]["day"], numbers, frozenset(row["destination"] for row in rows if row["is_full"])
    )


class UnstoredEvents(NamedTuple):
    """The numbers of a node's events that are in no batch."""

    rejected: int
    duplicates: int


async def add(
    connection: PipelineConnection, figures: Mapping[tuple[DestinationNumber, int], UnstoredEvents]
) -> None:
    """Add rejected events and duplicates, by destination and number of the node."""
    if not figures:
        return
    rows = [(*key, *added) for key, added in sorted(figures.items())]
    await connection.execute(
        """
        INSERT INTO journey_figures AS f (destination, day, node, writer, rejected, duplicates)
        SELECT x.destination, (now() AT TIME ZONE 'UTC')::date, x.node, pg_backend_pid(),
          x.rejected, x.duplicates
        FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[])
          AS x (destination, node, rejected, duplicates)
        ON CONFLICT (destination, day, node, writer) DO UPDATE
        SET rejected = f.rejected + excluded.rejected, duplicates = f.duplicates + excluded.duplicates
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


_SUMS: Final = ", ".join(
    f"coalesce(sum(f.{each.name}), 0)::bigint AS {each.name}" for each in fields(CountTotals)
)
_FIGURES: Final = """
    FROM journey_figures f LEFT JOIN journey_nodes n
      ON n.destination = f.destination AND n.day = f.day AND n.number = f.node
    WHERE f.destination = $1
"""


async def totals(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    journey_id: str | None,
    node_id: str | None,
) -> CountTotals:
    """Return the figures of a journey, of a node, or of a node of a journey."""
    row = await connection.fetchrow(
        f"SELECT {_SUMS} {_FIGURES} AND ($2::text IS NULL OR n.journey_id = $2) "
        "AND ($3::text IS NULL OR n.node_id = $3)",
        destination,
        journey_id,
        node_id,
    )
    assert row is not None
    return read_row(CountTotals, row)


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """The figures of a node. Without ids it is the rest of the days with more than 1,000 nodes."""

    journey_id: str | None
    node_id: str | None
    totals: CountTotals


async def by_node(
    connection: PipelineConnection, destination: DestinationNumber, *, since: datetime
) -> list[NodeTotals]:
    """Return the figures of each node from the day (UTC) of `since` on."""
    rows = await connection.fetch(
        f"SELECT n.journey_id, n.node_id, {_SUMS} {_FIGURES} "
        "AND f.day >= ($2::timestamptz AT TIME ZONE 'UTC')::date GROUP BY 1, 2",
        destination,
        since,
    )
    return [NodeTotals(row["journey_id"], row["node_id"], read_row(CountTotals, row)) for row in rows]


async def fold(connection: PipelineConnection, *, limit: int) -> int:
    """Merge rows of days before today into one row for each node. Return the number of merged rows.

    Rows that another session has locked are left for the next call.
    """
    merged: int = await connection.fetchval(
        """
        WITH split AS (
          -- Nodes with rows of several sessions, or of one that may have ended.
          SELECT destination, day, node FROM journey_figures
          WHERE day < (now() AT TIME ZONE 'UTC')::date AND writer <> 0 LIMIT $1
        ), taken AS (
          -- Their rows, without those that a session is changing.
          SELECT f.ctid, f.* FROM journey_figures f JOIN split USING (destination, day, node)
          WHERE writer <> 0 FOR UPDATE OF f SKIP LOCKED
        ), gone AS (
          -- Each is deleted and added to the row 0 of its node.
          DELETE FROM journey_figures f USING taken t WHERE f.ctid = t.ctid RETURNING f.*
        ), merged AS (
          -- No session has the number 0.
          INSERT INTO journey_figures AS f (destination, day, node, writer, accepted, duplicates, rejected,
            retrying, delivered, dead, expired, erased)
          SELECT destination, day, node, 0, sum(accepted), sum(duplicates), sum(rejected), sum(retrying),
            sum(delivered), sum(dead), sum(expired), sum(erased)
          FROM gone GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
          ON CONFLICT (destination, day, node, writer) DO UPDATE
          SET accepted = f.accepted + excluded.accepted,
            duplicates = f.duplicates + excluded.duplicates, rejected = f.rejected + excluded.rejected,
            retrying = f.retrying + excluded.retrying, delivered = f.delivered + excluded.delivered,
            dead = f.dead + excluded.dead, expired = f.expired + excluded.expired,
            erased = f.erased + excluded.erased
        )
        SELECT count(*) FROM gone
        """,
        limit,
    )
    return merged
