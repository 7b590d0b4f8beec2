"""Use case: read the history of one event from the ledger, its batch and the recorded rejections."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from app.admin import ErrorCode, Refusal
from app.admin.context import AppContext
from app.admin.events.description import EventRows, accepted_history, duplicate_history, rejected_history
from app.admin.events.search import find_visible_row
from app.admin.events.summary import EventHistory, EventLocation, mapping_of
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event import event_key
from app.domain.event_query import EventQuery
from app.store import PipelineConnection, ledger
from app.store.events import attempts, batches, rejections
from app.store.events.attempts import MappedDuplicate
from app.store.events.batches import BatchRow, DestinationRef, Mappings
from app.store.ledger import LedgerRow

ATTEMPT: Final = "att"  # the kind of the ids of attempts
_MOST_REJECTIONS = 50  # of one event

_DROPPED = "The event was accepted, but its history was deleted after the retention period."
_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)


async def read_event_history(
    context: AppContext, destination_id: str, event_id: str, mapping_id: str | None
) -> EventHistory:
    """Return the history of an event. Raises Refusal: 404, or 409 if several mappings accepted this id."""
    await context.intake.recorder.write()
    async with context.snapshot() as connection:
        destination = await find_visible_row(connection, context.caller, destination_id)
        mappings = await batches.mappings(connection, [destination.id])
        keys = {
            event_key(destination.id, mapping.id, event_id): mapping.id
            for mapping in mappings.values()
            if mapping_id in (None, mapping.id)
        }
        rows: dict[bytes, LedgerRow | MappedDuplicate] = {}
        rows |= await ledger.find(connection, await ledger.current_generation(connection), list(keys))
        if not rows:
            rows |= {row.key: row for row in await attempts.mapped_duplicates(connection, list(keys))}
        wanted = EventQuery(event_id=event_id, mapping_id=mapping_id)
        records = await rejections.newest(connection, [destination.number], wanted, limit=_MOST_REJECTIONS)
        if not rows and records:
            return rejected_history(destination, event_id, mapping_id, records)
        if not rows:
            raise Refusal(ErrorCode.NOT_FOUND, "This destination accepted no event with this id.")
        if len(rows) > 1:
            raise Refusal(ErrorCode.EVENT_AMBIGUOUS, None, mapping_ids=sorted(keys[key] for key in rows))
        ((key, row),) = rows.items()
        location = EventLocation(destination, event_id, keys[key], row.batch, row.place)
        reader = _Reader(connection, context, destination, mappings)
        if isinstance(row, MappedDuplicate):
            return await reader.duplicate(location, row)
        return replace(await reader.accepted(location), rejections=records)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the histories of a destination's events in one snapshot."""

    connection: PipelineConnection
    context: AppContext
    destination: DestinationRef
    mappings: Mappings

    async def accepted(self, location: EventLocation) -> EventHistory:
        """Return the history of an accepted event. Raises Refusal (404) if its partition was dropped."""
        found = await batches.batches(self.connection, self.destination.number, [location.batch])
        for batch in found:
            shape = _shape_at(batch, location.place)
            # Compare the event id too: a batch id could be assigned twice on different days.
            if shape is None or shape.event_id != location.event_id:
                continue
            if mapping_of(shape, self.mappings) == location.mapping_id:
                return await self._describe(batch, location.place, shape)
        for batch in found:
            if read_shapes(batch.shapes) is None:
                described = await self._describe(batch, location.place, None)
                return replace(described, event_id=location.event_id, mapping_id=location.mapping_id)
        if not found and await batches.has_content(self.connection, location.batch):
            raise Refusal(ErrorCode.NOT_FOUND, _STATE_MISSING)
        raise Refusal(ErrorCode.NOT_FOUND, _DROPPED)

    async def duplicate(self, location: EventLocation, duplicate: MappedDuplicate) -> EventHistory:
        """Return the history of the event whose mapped Amazon event id this duplicate repeated.

        This original event may belong to another destination of the advertiser. The history then lacks the
        original's attempts and replays. It has the original's ids only if the caller may see that
        destination.
        """
        here = self.destination
        is_here = duplicate.destination == here.id
        origin = here if is_here else await batches.destination(self.connection, duplicate.destination)
        if origin is None:
            raise Refusal(ErrorCode.NOT_FOUND, _DROPPED)
        mappings = await batches.mappings(self.connection, [origin.id])
        found = await batches.batches(self.connection, origin.number, [duplicate.batch])
        shape = _shape_at(found[0], duplicate.place) if found else None
        if shape is None:
            raise Refusal(ErrorCode.NOT_FOUND, _DROPPED)
        there = replace(self, destination=origin, mappings=mappings)
        original = await there._describe(found[0], duplicate.place, shape)
        may_name = is_here or self.context.caller.sees(origin.id)
        return duplicate_history(original, location, duplicate.answered_at, may_name=may_name)

    async def _describe(self, batch: BatchRow, place: int, shape: EventMetadata | None) -> EventHistory:
        found = await batches.exceptions(self.connection, [batch.destination], [batch.id])
        exception = found.get(batch.id, {}).get(place)
        if exception is not None and exception.day != batch.day:
            exception = None  # of another batch: an id could be assigned twice on different days
        carried, has_all_attempts = await attempts.attempts(self.connection, batch, place)
        all_replays = [*batch.replays, *(exception.replays if exception else ())]
        replays = await attempts.replays(self.connection, all_replays)
        rows = EventRows(self.destination, batch, shape, exception, carried, has_all_attempts, replays)
        id_of = partial(self.context.opaque.seal, kind=ATTEMPT)
        return accepted_history(rows, self.mappings, self.context.deployment.max_age, id_of)


def _shape_at(batch: BatchRow, place: int) -> EventMetadata | None:
    return next((shape for shape in read_shapes(batch.shapes) or () if shape.place == place), None)
