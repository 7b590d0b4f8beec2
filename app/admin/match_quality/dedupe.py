"""Use cases: faults of event ids, and their comparison with the ids that Amazon's tag sends."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from pydantic import Field

from app.admin import invalid
from app.admin.context import AppContext
from app.admin.destinations import reading, reading_row
from app.admin.events.scan import BatchReader, are_older, highest_id
from app.admin.inputs import Instant, RequestBody
from app.admin.mappings.schema import compiled_or_none
from app.crypto import Vault, open_batch
from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.conversion.values import MAX_AMAZON_EVENT_ID
from app.domain.event import amazon_event_id, amazon_key, event_key
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber, MappingId
from app.domain.match_quality import dedupe
from app.store import PipelineConnection, batches, ledger
from app.store.destinations import cache, schema_samples
from app.store.events import batches as event_batches
from app.store.mappings import StoredMapping, published_of
from app.store.match_quality import repeated_ids

PERIOD: Final = timedelta(days=7)
_AT_ONCE: Final = 5_000  # ledger keys of a statement
_BATCHES: Final = 50  # that are decrypted at once
_MOST_READ: Final = 100_000  # events whose ids are read
_DERIVED: Final = re.compile(r"[0-9a-f]{16}:")


async def read_findings(context: AppContext, destination_id: str) -> list[dedupe.DedupeFinding]:
    """Return the faults of a destination's event ids in the last seven days. Raises Refusal (404)."""
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        published = await published_of(connection, [destination.id])
        samples = [await schema_samples.recent(connection, each.id) for each in published]
    async with context.pool.acquire() as pooled:
        repeated = await repeated_ids.since(pooled, destination.number, (context.now() - PERIOD).date())
    found: list[dedupe.DedupeFinding] = []
    for stored, sampled in zip(published, samples, strict=True):
        found += await context.compute(_findings_of, stored, sampled)
    ids = {stored.id for stored in published}
    return found + list(dedupe.repetition_findings(each for each in repeated if each.mapping in ids))


def _findings_of(stored: StoredMapping, sampled: schema_samples.StoredSamples) -> list[dedupe.DedupeFinding]:
    compiled = compiled_or_none(stored.published or {})
    if compiled is None:
        return []
    return list(dedupe.mapping_findings(stored.id, compiled, stored.published_version or 0, sampled.groups()))


AmazonEventId = Annotated[str, Field(min_length=1, max_length=MAX_AMAZON_EVENT_ID)]


class CompareIdsRequest(RequestBody):
    """The event ids that the tag sent, and the time range of their events."""

    ids: Annotated[list[AmazonEventId], Field(max_length=100_000)]
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class DifferenceCount:
    """Why ids of the tag differ from ids that are meant to be the same."""

    kind: dedupe.IdDifference
    count: int


@dataclass(frozen=True, slots=True)
class IdComparison:
    """How the ids of the tag relate to Amazon's eventIds of accepted events."""

    matched: int
    only_here: int
    only_there: int
    reasons: Sequence[DifferenceCount]
    readable: Annotated[
        int, Field(description="The events whose ids could still be read to find the reasons.")
    ]


async def compare_ids(context: AppContext, destination_id: str, body: CompareIdsRequest) -> IdComparison:
    """Compare ids with those of the events accepted within a time range. Raises Refusal (404, 422).

    The ledger has a digest of each id, which finds equal ones exactly. The reasons of the others are found
    among the events that can still be read.
    """
    now = context.now()
    until = body.until or now + timedelta(minutes=1)
    since = body.since or now - PERIOD
    if since >= until:
        raise invalid("since", "invalid", "`since` must be before `until`.")
    async with reading_row(context, destination_id) as (connection, destination):
        [row] = (await cache.load(connection, [destination.id])).values()
        mappings = await event_batches.mappings(connection, [destination.id])
        given = list(dict.fromkeys(body.ids))
        keys = await context.compute(_keys, given, row, [mapping.id for mapping in mappings.values()])
        places = await _places(connection, [key for of_id in keys.values() for key in of_id])
        within = await repeated_ids.batches_between(
            connection, destination.number, since, until, {batch for batch, _ in places.values()}
        )
        accepted = await repeated_ids.accepted(connection, destination.number, since, until)
    matched = await context.compute(_matched, keys, places, within)
    only_there = [each for each in given if each not in matched]
    own = await _own_ids(context, destination.number, since, until) if only_there else set()
    found_reasons = await context.compute(dedupe.differences, only_there, own.difference(matched))
    reasons = [DifferenceCount(kind, count) for kind, count in sorted(found_reasons.items())]
    events = len(set(matched.values()))
    return IdComparison(len(matched), max(0, accepted - events), len(only_there), reasons, len(own))


def _keys(
    ids: Iterable[str], destination: cache.DestinationRow, mappings: Collection[MappingId]
) -> dict[str, list[bytes]]:
    """Return the ledger keys that each id can have: as a mapped one, or as one that was derived here."""
    region, advertiser = destination.settings.region, destination.settings.advertiser_id
    scopes = {
        amazon_event_id(destination.id, mapping, event_type, ""): mapping
        for mapping in mappings
        for event_type in EVENT_TYPES
    }
    keys = {}
    for each in ids:
        keys[each] = [amazon_key(destination.organisation, region, advertiser, each)]
        if _DERIVED.match(each) and (mapping := scopes.get(each[:17])) is not None:
            keys[each].append(event_key(destination.id, mapping, each[17:]))
    return keys


def _matched(
    keys: Mapping[str, Sequence[bytes]],
    places: Mapping[bytes, tuple[BatchId, int]],
    within: Collection[BatchId],
) -> dict[str, tuple[BatchId, int]]:
    """Return the ids that events of these batches have, each with the place of the event of its first key."""
    found = {}
    for each, of_id in keys.items():
        for key in of_id:
            if each not in found and key in places and places[key][0] in within:
                found[each] = places[key]
    return found


async def _places(connection: PipelineConnection, keys: Sequence[bytes]) -> dict[bytes, tuple[BatchId, int]]:
    generation = await ledger.current_generation(connection)
    found: dict[bytes, tuple[BatchId, int]] = {}
    for begin in range(0, len(keys), _AT_ONCE):
        rows = await ledger.find(connection, generation, keys[begin : begin + _AT_ONCE])
        found |= {key: (row.batch, row.place) for key, row in rows.items()}
    return found


async def _own_ids(
    context: AppContext, number: DestinationNumber, since: datetime, until: datetime
) -> set[str]:
    """Return Amazon's eventIds of the newest events of a time range whose content can be decrypted."""
    found: set[str] = set()
    highest: BatchId | None = None
    while len(found) < _MOST_READ:
        async with context.pool.acquire() as connection:
            page, below = await BatchReader(connection, [number], EventQuery()).page(highest, limit=_BATCHES)
            chosen = [batch for batch in page if since <= batch.accepted_at < until]
            contents = await batches.read(connection, [(batch.id, batch.day) for batch in chosen])
        found |= await context.compute(_ids_of, context.vault, chosen, contents)
        if below is None or are_older(page, since):
            break
        highest = highest_id((below, 0))
    return found


class _WithId(msgspec.Struct):
    eventId: str


def _ids_of(
    vault: Vault,
    chosen: Sequence[event_batches.BatchRow],
    contents: Mapping[BatchId, tuple[bytes | None, bytes | None, bytes | None]],
) -> set[str]:
    found = set()
    for batch in chosen:
        data_key, content, _ = contents.get(batch.id, (None, None, None))
        for body in (open_batch(batch.id, data_key, content, vault) or {}).values():
            found.add(msgspec.json.decode(body, type=_WithId).eventId)
    return found
