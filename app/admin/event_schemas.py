"""Use cases: read the event schema of a destination and its samples, learned from accepted events."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.domain.observed.schema_sample import SchemaSample
from app.store import schema_samples
from app.store.schema_samples import StoredSamples


async def read_event_schema(context: AppContext, caller: Caller, destination_id: str) -> EventSchema:
    """Return the event schema of a destination, including the newest events of this process."""
    return (await read_observed(context, caller, destination_id))[0]


async def read_observed(
    context: AppContext, caller: Caller, destination_id: str
) -> tuple[EventSchema, list[tuple[SchemaSample, int]]]:
    """Return the event schema of a destination, and its samples, each with its number of events."""
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        stored = await schema_samples.of_destination(connection, destination.id)
    return await context.compute(_observed, stored)


def _observed(stored: StoredSamples) -> tuple[EventSchema, list[tuple[SchemaSample, int]]]:
    samples = stored.counted()
    return merge_samples(samples), samples
