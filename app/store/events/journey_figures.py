"""Count events by journey node and status.

The database counts accepted events: triggers on `batch_states` and `exceptions` add each change of a status,
in the transaction that makes it (migration 0010). A flush adds rejected events and duplicates. The day of a
figure is the day (UTC) on which the event was accepted, rejected or answered as a duplicate.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

from app.domain.ids import DestinationNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection, fetch_scalar, read_row, read_sql, transposed

SQL: Final = read_sql(__file__)

MOST_NODES: Final = 1_000  # per destination and day, because callers choose the ids
OTHER: Final = 1_001  # the number under which all further nodes of a day are counted
NO_EVENT: Final = 0  # at a place of a batch that has no event


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
    rows = await connection.fetch(SQL["register"], *transposed(sorted(nodes), 3), MOST_NODES)
    numbers: dict[JourneyNode, int] = {}
    for row in rows:
        if row["number"] is not None:
            numbers[row["destination"], row["journey_id"], row["node_id"]] = row["number"]
    full = frozenset(row["destination"] for row in rows if row["is_full"])
    return NodeNumbers(rows[0]["day"], numbers, full)


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
    await connection.execute(SQL["add"], *transposed(rows, 4))


async def by_node(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    since: datetime | None = None,
    journey_id: str | None = None,
    node_id: str | None = None,
) -> list[tuple[str | None, str | None, CountTotals]]:
    """Return (journey id, node id, figures) of each node, from the day (UTC) of `since` on.

    The rest of the days with more than 1,000 nodes has no ids.
    """
    rows = await connection.fetch(SQL["by_node"], destination, since, journey_id, node_id)
    return [(row["journey_id"], row["node_id"], read_row(CountTotals, row)) for row in rows]


async def fold(connection: PipelineConnection, *, limit: int) -> int:
    """Merge rows of days before today into one row for each node. Return the number of merged rows.

    Rows that another session has locked are left for the next call.
    """
    return await fetch_scalar(connection, int, SQL["fold"], limit)
