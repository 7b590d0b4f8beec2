"""Use cases: read the event schema of a destination, its samples, and the mapping suggested from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.domain.identity import Profile
from app.domain.observed.event_schema import EventSchema, merge_samples
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.domain.observed.schema_sample import SchemaSample
from app.domain.suggestions.from_samples import suggest_from_samples
from app.domain.suggestions.suggest import Suggestion
from app.store import event_names, schema_samples
from app.store.schema_samples import StoredSamples


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
        pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return await context.compute(
        _observed,
        stored,
        zone=zone,
        profile=Profile(destination.identity_profile),
        pins={pin.event_type: pin.name for pin in pins},
        now=context.now(),
        fingerprint=partial(fingerprint, key=fingerprint_key(context.pepper, destination.number)),
    )


def _observed(
    stored: StoredSamples,
    *,
    zone: str | None,
    profile: Profile,
    pins: Mapping[str, str],
    now: datetime,
    fingerprint: Callable[[str], bytes],
) -> ObservedEvents:
    samples = stored.counted()
    suggestion = suggest_from_samples(
        samples, zone=zone, profile=profile, pins=pins, now=now, fingerprint=fingerprint
    )
    return ObservedEvents(merge_samples(samples), samples, suggestion)
