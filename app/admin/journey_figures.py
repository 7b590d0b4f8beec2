"""Use cases: the events of a destination by journey and node, counted from its stored batches.

The counts stay exact after replays and erasures, as long as the batches are stored. Rejected events and
duplicates are in no batch: separate counters count them.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final, TypeVar

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import find_visible_row, status_and_reason
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes.status import WAITING, Status
from app.store import PipelineConnection, event_history, journey_counts
from app.store.event_history import DestinationRef

# Batches per query, without and with a time limit. Between small queries a count can stop in time.
_BATCHES, _BATCHES_IN_TIME = 200, 25
_MAX_SECONDS: Final = 0.06
_MOST_ROWS: Final = 120

NodeKey = tuple[str, str]
"""The id of a journey and of a node; '' for none."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """The events of one node of a journey. `waiting` counts accepted events that are not final."""

    journey_id: str
    node_id: str
    accepted: int
    rejected: int
    delivered: int
    dead: int
    waiting: int


@dataclass(frozen=True, slots=True)
class JourneyFigures:
    """Figures by journey and node, most events first.

    `back_to` is the earliest counted time of acceptance, None if all events of the range were counted.
    """

    items: Sequence[NodeFigures]
    events: int
    back_to: datetime | None
    more: int  # number of rows left out


async def read_journey_figures(
    context: AppContext, caller: Caller, destination_id: str, *, since: datetime
) -> JourneyFigures:
    """Count the events of a destination since a time, by journey and node. Raises Refusal (404).

    Accepted events are counted from the newest batch on. After `_MAX_SECONDS` the count stops, and `back_to`
    is the earliest counted time of acceptance. Rejected events are counted per day (UTC).
    """
    await context.write_rejections()
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        rejected = await journey_counts.rejected_by_node(connection, destination.number, since=since)
        counts, back_to = await _count(
            connection,
            destination,
            EventQuery(since=since),
            lambda event: (event.journey_id or "", event.node_id or ""),
            max_seconds=_MAX_SECONDS,
        )
    rows = [
        node_figures(key, counts.get(key, Counter()), rejected.get(key, 0)) for key in {*counts, *rejected}
    ]
    rows.sort(key=lambda row: (-(row.accepted + row.rejected), row.journey_id, row.node_id))
    events = sum(counter.total() for counter in counts.values())
    return JourneyFigures(rows[:_MOST_ROWS], events, back_to, max(0, len(rows) - _MOST_ROWS))


def node_figures(key: NodeKey, statuses: Counter[Status], rejected: int) -> NodeFigures:
    """Return the figures of a node from its events by status. Expired events count as dead here."""
    return NodeFigures(
        journey_id=key[0],
        node_id=key[1],
        accepted=statuses.total(),
        rejected=rejected,
        delivered=statuses[Status.DELIVERED],
        dead=statuses[Status.DEAD] + statuses[Status.EXPIRED],
        waiting=sum(statuses[status] for status in WAITING),
    )


async def journey_counts_of(
    connection: PipelineConnection,
    destination: DestinationRef,
    *,
    journey_id: str | None,
    node_id: str | None,
) -> dict[str, int]:
    """Return the counts of a journey, a node, or a node of a journey, in the form of the statistics."""
    wanted = EventQuery(journey_id=journey_id, node_id=node_id)
    counts, _ = await _count(connection, destination, wanted, lambda _: None)
    statuses = counts.get(None, Counter())
    others = await journey_counts.read(connection, destination.number, journey_id=journey_id, node_id=node_id)
    return {
        "accepted": statuses.total(),
        "duplicates": others.duplicates,
        "rejected": others.rejected,
        **{status.value: statuses[status] for status in Status},
    }


Key = TypeVar("Key", bound=Hashable)


async def _count(
    connection: PipelineConnection,
    destination: DestinationRef,
    wanted: EventQuery,
    key_of: Callable[[EventMetadata], Key],
    *,
    max_seconds: float | None = None,
) -> tuple[dict[Key, Counter[Status]], datetime | None]:
    """Count the matching events by key and status, batch by batch from the newest on.

    Also return the earliest counted time of acceptance, None if all events were counted.
    """
    counts: dict[Key, Counter[Status]] = {}
    deadline = math.inf if max_seconds is None else monotonic() + max_seconds
    most = _BATCHES if max_seconds is None else _BATCHES_IN_TIME
    before: BatchId | None = None
    back_to: datetime | None = None
    while True:
        batches = await event_history.newest(
            connection, destination.number, wanted=None, before=before, limit=most
        )
        recent = [batch for batch in batches if wanted.since is None or batch.accepted_at >= wanted.since]
        candidates = []
        for batch in recent:
            await asyncio.sleep(0)  # other requests of this process go on meanwhile
            if wanted.may_match(batch.accepted_at, batch.shapes):
                candidates.append(batch)
        exceptions = await event_history.exceptions_by_batch(
            connection, [destination.number], [batch.id for batch in candidates]
        )
        for batch in candidates:
            if back_to is not None and monotonic() > deadline:
                return counts, back_to
            await asyncio.sleep(0)
            of_batch = exceptions.get(batch.id, {})
            # Events without an exception share the status of the batch.
            usual, _ = status_and_reason(destination, batch, None)
            for event in filter(wanted.matches, read_shapes(batch.shapes) or ()):
                exception = of_batch.get(event.place)
                status = usual if exception is None else status_and_reason(destination, batch, exception)[0]
                counts.setdefault(key_of(event), Counter())[status] += 1
            back_to = batch.accepted_at
        if len(batches) < most or not recent:
            return counts, None
        before = BatchId(batches[-1].id - 1)
