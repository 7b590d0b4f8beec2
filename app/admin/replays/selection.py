"""Find the events of a replay or a dismissal by event id, journey, node, execution, mapping or event type."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import Final

from app.admin.events.scan import require_mapping
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event import event_key
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.store import PipelineConnection, ledger
from app.store.database import damage
from app.store.destinations.destinations import Destination
from app.store.events import batches
from app.store.replays import selection
from app.store.replays.selection import ReplaySelection, UnsentEvent

_BATCHES: Final = 200  # of one query
_MOST_NOT_FOUND: Final = 100  # event ids in a response
NOT_FOUND: Final = "Ids of `event_ids` that no event of the destination has, at most 100."
_KEYS: Final = 5_000  # of one query; computing them takes 5 ms


@dataclass(frozen=True, slots=True)
class SelectedEvents:
    """The events of a selection.

    `unsent` are those that share the status of their batch. `not_found` are up to 100 event ids that no event
    has.
    """

    selection: ReplaySelection
    unsent: list[UnsentEvent]
    not_found: tuple[str, ...]


async def selected(
    connection: PipelineConnection,
    destination: Destination,
    wanted: EventQuery,
    max_age: timedelta = timedelta(0),
) -> SelectedEvents:
    """Find the selected events. Raises Refusal (422) for an unknown mapping."""
    found = ReplaySelection(destination.number, wanted, None, max_age)
    if wanted.event_ids is None and wanted.mapping_id is None and not wanted.members:
        return SelectedEvents(found, [], ())
    mappings = await batches.mappings(connection, [destination.id])
    require_mapping(mappings, wanted.mapping_id)
    allowed = {
        key: mapping.id for key, mapping in mappings.items() if wanted.mapping_id in (None, mapping.id)
    }
    named: set[tuple[BatchId, int]] | None = None
    not_found: dict[str, None] = {}
    if wanted.event_ids is not None:
        not_found = dict.fromkeys(wanted.event_ids)
        keys = (
            (event_key(destination.id, mapping, event), event)
            for event in wanted.event_ids
            for mapping in allowed.values()
        )
        generation = await ledger.current_generation(connection)
        named = set()
        while some := dict(islice(keys, _KEYS)):
            for key, row in (await ledger.find(connection, generation, list(some))).items():
                named.add((row.batch, row.place))
                not_found.pop(some[key], None)

    def matches(batch: BatchId, shape: EventMetadata) -> bool:
        return (
            shape.mapping in allowed
            and wanted.matches(shape)
            and (named is None or (batch, shape.place) in named)
        )

    only = None if named is None else {batch for batch, _ in named}
    unsent = [
        UnsentEvent(batch, shape.place, shape.event_at, shape.mapping)
        async for batch, shape in _events(selection.unsent_batches, connection, found, only)
        if matches(batch, shape)
    ]
    places = named
    if wanted.members or places is None:
        places = {(event.batch, event.place) for event in unsent}
        async for batch, shape in _events(selection.candidate_batches, connection, found, only):
            if matches(batch, shape):
                places.add((batch, shape.place))
    exact = replace(found, places=sorted(places))
    return SelectedEvents(exact, unsent, tuple(islice(not_found, _MOST_NOT_FOUND)))


async def _events(
    read: Callable[..., Awaitable[dict[BatchId, date]]],
    connection: PipelineConnection,
    found: ReplaySelection,
    only: set[BatchId] | None,
) -> AsyncIterator[tuple[BatchId, EventMetadata]]:
    """Yield the metadata of the events that may match, from the batches that `read` returns in pages.

    `only` limits the batches.
    """
    after = 0
    while page := await read(connection, found, after=after, limit=_BATCHES):
        after = max(page)
        days = {batch: day for batch, day in page.items() if only is None or batch in only}
        for batch, shapes in (await damage.read_shapes_of(connection, days)).items():
            await asyncio.sleep(0)  # other requests of this process go on meanwhile
            if found.wanted.may_contain(shapes):
                for shape in read_shapes(shapes) or ():
                    yield batch, shape
