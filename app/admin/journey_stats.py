"""Counts of the events of one journey or node: the numbers that a journey canvas shows.

They are counted from the stored batches, so they stay exact after replays and erasures while the batches are
stored. Rejected events leave no batch: they have counters.
"""

from app.admin.event_list import EventFilter, status_and_reason
from app.domain.batch import read_shapes
from app.domain.ids import BatchId
from app.domain.outcomes.status import Status
from app.store import PipelineConnection, event_history, journey_counts
from app.store.event_history import DestinationRef

_BATCHES = 200  # of one query


async def journey_counts_of(
    connection: PipelineConnection,
    destination: DestinationRef,
    *,
    journey_id: str | None,
    node_id: str | None,
) -> dict[str, int]:
    """Return the counts of a journey, a node, or a node of a journey, in the form of the statistics."""
    wanted = EventFilter(journey_id=journey_id, node_id=node_id)
    statuses = dict.fromkeys(Status, 0)
    before: BatchId | None = None
    while True:
        batches = await event_history.newest(
            connection, destination.number, wanted=None, before=before, limit=_BATCHES
        )
        candidates = [batch for batch in batches if wanted.may_match(batch.shapes)]
        exceptions = await event_history.exceptions_by_batch(
            connection, [destination.number], [batch.id for batch in candidates]
        )
        for batch in candidates:
            of_batch = exceptions.get(batch.id, {})
            for shape in read_shapes(batch.shapes) or ():
                if wanted.matches(shape):
                    status, _ = status_and_reason(destination, batch, of_batch.get(shape.place))
                    statuses[status] += 1
        if len(batches) < _BATCHES:
            break
        before = BatchId(batches[-1].id - 1)
    rejected = await journey_counts.rejected(
        connection, destination.number, journey_id=journey_id, node_id=node_id
    )
    return {
        "accepted": sum(statuses.values()),
        "duplicates": 0,
        "rejected": rejected,
        **{status.value: number for status, number in statuses.items()},
    }
