"""Use cases: read the event schema of a destination and its samples, and suggest a mapping."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import invalid
from app.admin.context import AppContext
from app.admin.destinations import reading
from app.admin.mappings.mappings import find_mapping
from app.domain.event import LISTS
from app.domain.identity.keys import Profile
from app.domain.mapping.presets import example_event
from app.domain.mapping.time_steps import zone_names
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.domain.observed.schema_sample import Fingerprint, SampleGroup, SchemaSample
from app.domain.observed.synthetic_event import common_events
from app.domain.strict_json import exact_json
from app.domain.suggestions.suggest import (
    MAX_EVENTS,
    Suggestion,
    SuggestionSettings,
    suggest,
    suggest_from_samples,
)
from app.store.destinations import schema_samples
from app.store.destinations.destinations import Destination
from app.store.mappings import event_names


@dataclass(frozen=True, slots=True)
class ObservedEvents:
    """What is known about the recent events of a destination."""

    schema: EventSchema
    samples: Sequence[tuple[SchemaSample, int]]  # each with its number of events
    suggestion: Suggestion


async def read_event_schema(context: AppContext, destination_id: str) -> EventSchema:
    """Return the event schema of a destination, including the newest events of this process."""
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        stored = await schema_samples.recent(connection, destination.id)
    return await context.compute(lambda: merge_samples(stored.counted()))


async def read_observed(context: AppContext, destination_id: str, zone: str | None = None) -> ObservedEvents:
    """Return what is known about the recent events, including the newest events of this process.

    `zone` is the time zone of times that name none.
    """
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        stored = await schema_samples.recent(connection, destination.id)
        settings = await suggestion_settings(context, connection, destination, zone)
    key = fingerprint_key(context.pepper, destination.number)
    return await context.compute(_observed, stored, settings, partial(fingerprint, key=key))


async def read_samples_of_mapping(
    context: AppContext, destination_id: str, mapping_id: str
) -> Sequence[SampleGroup]:
    """Return the samples of a mapping's recent events, including the newest events of this process."""
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        stored = await schema_samples.recent(connection, mapping.id)
    return await context.compute(stored.groups)


async def read_test_event(context: AppContext, destination_id: str, mapping_id: str | None) -> dict[str, Any]:
    """Return a synthetic event like the most common ones that a mapping accepted, or the example event."""
    example = example_event(context.now())
    groups = await read_samples_of_mapping(context, destination_id, mapping_id) if mapping_id else ()
    accepted = [counted for group in groups if group.accepted for counted in group.samples.items()]
    for common in await context.compute(partial(common_events, accepted, context.now(), limit=1)):
        written = json.loads(exact_json(common.event))  # without the types of numbers that JSON has not
        return {**written, "event_id": example["event_id"]}
    return example


def _observed(
    stored: schema_samples.StoredSamples, settings: SuggestionSettings, fingerprint: Fingerprint
) -> ObservedEvents:
    samples = stored.counted()
    suggestion = suggest_from_samples(samples, settings, fingerprint)
    return ObservedEvents(merge_samples(samples), samples, suggestion)


async def suggestion_settings(
    context: AppContext, connection: AsyncConnection, destination: Destination, zone: str | None
) -> SuggestionSettings:
    """Return what the suggestions for a destination depend on."""
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return SuggestionSettings(
        zone, Profile(destination.identity_profile), {pin.event_type: pin.name for pin in pins}, context.now()
    )


async def suggest_mapping(
    context: AppContext, destination_id: str, events: Sequence[dict[str, Any]] | None, zone: str | None
) -> Suggestion:
    """Suggest a mapping for events, or for the samples of recent events if `events` is None.

    Nothing of the events is stored or logged. Raises Refusal (422) for an unknown time zone.
    """
    if zone is not None and zone not in zone_names():
        raise invalid("zone", "not_in_list", "The zone is no name of the IANA time zone database.")
    if events is None:
        return (await read_observed(context, destination_id, zone)).suggestion
    async with reading(context, destination_id) as (connection, destination):
        settings = await suggestion_settings(context, connection, destination, zone)
    # Hundreds of events take longer than the event loop may be occupied.
    single = [event for each in events for event in single_events(each)]
    return await context.compute(suggest, single[:MAX_EVENTS], settings)


def single_events(body: Any) -> list[dict[str, Any]]:
    """Return the events of a body of `POST /events`: one, a list, or a list under `events` or `rows`."""
    if type(body) is dict:
        body = next((body[name] for name in LISTS if type(body.get(name)) is list), [body])
    return [each for each in body if type(each) is dict] if type(body) is list else []
