"""Use cases: figures of a destination's events by journey, node and cause, and the rejected events."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from app.admin.context import AppContext
from app.admin.destinations import reading_row
from app.admin.events.scan import BatchReader, exceptions_of, require_mapping
from app.admin.events.summary import status_and_reason
from app.domain.batch import read_shapes
from app.domain.destination import State
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes.status import AcceptedEventCounts, CountTotals, EventCounts, Status, tally
from app.store import PipelineConnection
from app.store.events import batches, failures, journey_figures, rejections

_BATCHES: Final = 200  # per query
_MOST_ROWS: Final = 120
_SECONDS: Final = 1.0  # of counting; at 5 million events it would take longer


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """The events of one node of a journey.

    Without ids, the figures are of all nodes after the first 1,000 of a day.
    """

    journey_id: str | None
    node_id: str | None
    counts: EventCounts


@dataclass(frozen=True, slots=True)
class JourneyFigures:
    """Figures by journey and node of the events since the start of a day (UTC), most events first."""

    items: Sequence[NodeFigures]
    since: datetime
    more: int  # number of rows left out


async def read_journey_figures(
    context: AppContext, destination_id: str, *, since: datetime
) -> JourneyFigures:
    """Return the figures by node from the day (UTC) of a time on. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        found = await journey_figures.by_node(connection, destination.number, since=since)
    rows = [NodeFigures(journey, node, tally(totals, State.ACTIVE)) for journey, node, totals in found]
    rows.sort(
        key=lambda row: (-row.counts.accepted - row.counts.rejected, row.journey_id or "", row.node_id or "")
    )
    start = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return JourneyFigures(rows[:_MOST_ROWS], start, max(0, len(rows) - _MOST_ROWS))


async def counts_of(
    connection: PipelineConnection, destination: batches.DestinationRef, wanted: EventQuery
) -> EventCounts:
    """Return the counts of a journey, a node, or a node of a journey."""
    found = await journey_figures.by_node(
        connection, destination.number, journey_id=wanted.journey_id, node_id=wanted.node_id
    )
    totals = CountTotals(*map(sum, zip(*(astuple(each) for _, _, each in found), strict=True)))
    return tally(totals, State(destination.state))


async def count_stored(
    connection: PipelineConnection,
    destination: batches.DestinationRef,
    wanted: EventQuery,
    *,
    seconds: float = _SECONDS,
) -> tuple[AcceptedEventCounts, datetime | None]:
    """Count the matching events by status, batch by batch from the newest on: executions have no counts.

    If that takes longer than `seconds`, the acceptance time of the oldest batch that was counted is returned
    too, else None. Journeys send the events of an execution within days, so most executions are complete.
    """
    statuses: Counter[Status] = Counter()
    reader = BatchReader(connection, [destination.number], wanted)
    below: BatchId | None = None
    back_to: datetime | None = None
    deadline = monotonic() + seconds
    while True:
        highest = None if below is None else BatchId(below - 1)
        newest, below = await reader.page(highest, limit=_BATCHES)
        if newest:
            back_to = newest[-1].accepted_at
        candidates = []
        for batch in newest:
            await asyncio.sleep(0)  # other requests of this process go on meanwhile
            if wanted.may_match(batch.accepted_at, batch.shapes):
                candidates.append(batch)
        exceptions = await exceptions_of(connection, candidates)
        for batch in candidates:
            of_batch = exceptions.get(batch.id, {})
            for event in filter(wanted.matches, read_shapes(batch.shapes) or ()):
                status, _ = status_and_reason(destination, batch, of_batch.get(event.place))
                statuses[status] += 1
        if below is None or monotonic() >= deadline:
            counts = {status.value: statuses[status] for status in Status}
            return AcceptedEventCounts(accepted=statuses.total(), **counts), back_to if below else None


async def list_failures(
    context: AppContext, destination_id: str, *, since: datetime | None = None
) -> list[tuple[failures.FailureGroup, batches.MappingRef | None]]:
    """Return the groups of dead and expired events accepted since a time, with the mapping of each.

    A group of several mappings has none. Raises Refusal (404).
    """
    async with reading_row(context, destination_id) as (connection, destination):
        mappings = await batches.mappings(connection, [destination.id])
        only = next(iter(mappings)) if len(mappings) == 1 else None
        groups = await failures.groups(connection, destination.number, since=since, only_mapping=only)
    return [(group, None if group.mapping is None else mappings.get(group.mapping)) for group in groups]


async def list_rejections(
    context: AppContext, destination_id: str, wanted: EventQuery, *, limit: int, below: int | None = None
) -> list[rejections.RejectionRecord]:
    """Return up to `limit` records of a destination, newest first. Raises Refusal (404, 422).

    With `below`, return only records with a lower id.
    """
    async with _reading(context, destination_id, wanted) as (connection, destination):
        return await rejections.newest(connection, [destination.number], wanted, limit=limit, below=below)


async def summarize_rejections(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> Sequence[rejections.RejectionSummary]:
    """Count rejected events by reason, mapping and source path. Raises Refusal (404, 422)."""
    async with _reading(context, destination_id, wanted) as (connection, destination):
        return await rejections.summary(connection, destination.number, wanted, days=context.rejection_days)


@asynccontextmanager
async def _reading(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> AsyncIterator[tuple[PipelineConnection, batches.DestinationRef]]:
    await context.intake.recorder.write()
    async with reading_row(context, destination_id) as (connection, destination):
        if wanted.mapping_id is not None:
            require_mapping(await batches.mappings(connection, [destination.id]), wanted.mapping_id)
        yield connection, destination
