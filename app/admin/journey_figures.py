"""Use case: the events of a destination by journey and node, counted from the newest stored batches."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import find_visible_row, status_and_reason
from app.domain.batch import read_shapes
from app.domain.ids import BatchId
from app.domain.outcomes.status import Status
from app.store import event_history, journey_counts

_BATCHES: Final = 25  # of one query
_MAX_SECONDS: Final = 0.08
_MOST_ROWS: Final = 200

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

    `back_to` is the earliest acceptance that was counted, None if everything since `since` was.
    """

    items: Sequence[NodeFigures]
    events: int
    back_to: datetime | None
    more: int  # number of rows left out


async def read_journey_figures(
    context: AppContext, caller: Caller, destination_id: str, *, since: datetime
) -> JourneyFigures:
    """Count accepted events since a time, as far back as the time limit allows. Raises Refusal (404).

    Rejected events are counted per day (UTC).
    """
    await context.write_rejections()
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        rejected = await journey_counts.rejected_by_node(connection, destination.number, since=since)
        counts: dict[NodeKey, Counter[Status]] = {}
        deadline = monotonic() + _MAX_SECONDS
        before: BatchId | None = None
        back_to: datetime | None = None
        while True:
            batches = await event_history.newest(
                connection, destination.number, wanted=None, before=before, limit=_BATCHES
            )
            exceptions = await event_history.exceptions_by_batch(
                connection, [destination.number], [batch.id for batch in batches]
            )
            for batch in (batch for batch in batches if batch.accepted_at >= since):
                of_batch = exceptions.get(batch.id, {})
                for shape in read_shapes(batch.shapes) or ():
                    key = (shape.journey_id or "", shape.node_id or "")
                    status, _ = status_and_reason(destination, batch, of_batch.get(shape.place))
                    counts.setdefault(key, Counter())[status] += 1
            if len(batches) < _BATCHES or all(batch.accepted_at < since for batch in batches):
                back_to = None
                break
            back_to = batches[-1].accepted_at
            if monotonic() > deadline:
                break
            before = BatchId(batches[-1].id - 1)
    rows = [
        node_figures(key, counts.get(key, Counter()), rejected.get(key, 0)) for key in {*counts, *rejected}
    ]
    rows.sort(key=lambda row: (-(row.accepted + row.rejected), row.journey_id, row.node_id))
    events = sum(counter.total() for counter in counts.values())
    return JourneyFigures(rows[:_MOST_ROWS], events, back_to, max(0, len(rows) - _MOST_ROWS))


def node_figures(key: NodeKey, statuses: Counter[Status], rejected: int) -> NodeFigures:
    """Return the figures of a node from its events by status. Expired events count as dead here."""
    waiting = (Status.QUEUED, Status.RETRYING, Status.HELD, Status.PARKED)
    return NodeFigures(
        journey_id=key[0],
        node_id=key[1],
        accepted=statuses.total(),
        rejected=rejected,
        delivered=statuses[Status.DELIVERED],
        dead=statuses[Status.DEAD] + statuses[Status.EXPIRED],
        waiting=sum(statuses[status] for status in waiting),
    )
