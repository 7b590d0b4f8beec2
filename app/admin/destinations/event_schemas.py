"""Use cases: read the event schema of a destination, its samples, and the mapping suggested from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.domain.identity import Profile
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.domain.observed.schema_sample import Fingerprint, SchemaSample
from app.domain.suggestions.from_samples import suggest_from_samples
from app.domain.suggestions.suggest import Suggestion, SuggestionSettings
from app.store.destinations import schema_samples
from app.store.destinations.destinations import Destination
from app.store.destinations.schema_samples import StoredSamples
from app.store.mappings import event_names


@dataclass(frozen=True, slots=True)
class ObservedEvents:
    """What is known about the recent events of a destination."""

    schema: EventSchema
    samples: Sequence[tuple[SchemaSample, int]]  # each with its number of events
    suggestion: Suggestion


async def read_event_schema(context: AppContext, caller: Caller, destination_id: str) -> EventSchema:
    """Return the event schema of a destination, including the newest events of this process."""
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        stored = await schema_samples.of_destination(connection, destination.id)
    return await context.compute(lambda: merge_samples(stored.counted()))


async def read_observed(
    context: AppContext, caller: Caller, destination_id: str, zone: str | None = None
) -> ObservedEvents:
    """Return what is known about the recent events, including the newest events of this process.

    `zone` is the time zone of times that name none.
    """
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        stored = await schema_samples.of_destination(connection, destination.id)
        settings = await settings_of(context, connection, destination, zone)
    key = fingerprint_key(context.pepper, destination.number)
    return await context.compute(_observed, stored, settings, partial(fingerprint, key=key))


def _observed(
    stored: StoredSamples, settings: SuggestionSettings, fingerprint: Fingerprint
) -> ObservedEvents:
    samples = stored.counted()
    suggestion = suggest_from_samples(samples, settings, fingerprint)
    return ObservedEvents(merge_samples(samples), samples, suggestion)


async def settings_of(
    context: AppContext, connection: AsyncConnection, destination: Destination, zone: str | None
) -> SuggestionSettings:
    """Return what the suggestions for a destination depend on."""
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return SuggestionSettings(
        zone, Profile(destination.identity_profile), {pin.event_type: pin.name for pin in pins}, context.now()
    )
