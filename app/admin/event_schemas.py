"""Use cases: read the event schema of a destination and its samples, learned from accepted events."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.domain.observed.schema_sample import SchemaSample
from app.store import schema_samples


async def read_event_schema(context: AppContext, caller: Caller, destination_id: str) -> EventSchema:
    """Return the event schema of a destination, including the newest events of this process."""
    return merge_samples(await read_samples(context, caller, destination_id))


async def read_samples(
    context: AppContext, caller: Caller, destination_id: str
) -> list[tuple[SchemaSample, int]]:
    """Return the samples of recent events, each with its number of events."""
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        return await schema_samples.of_destination(connection, destination.id)
