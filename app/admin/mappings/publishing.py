"""Use cases that publish, roll back and list versions of a mapping. Each change is recorded in the audit.

A function that takes a connection runs in the caller's transaction. After a `Refusal`, the caller must roll
it back. A function that takes the context opens its own transaction.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Annotated

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, Refusal, invalid, require_version
from app.admin.context import AppContext, Update
from app.admin.copies import copied
from app.admin.destinations import find_visible, reading
from app.admin.inputs import read_note
from app.admin.mappings.drafts import MappingDetails, find_mapping, reread
from app.admin.mappings.event_names import pin_name
from app.admin.mappings.schema import compile_or_refuse
from app.domain.destination import State
from app.domain.mapping.diff import Difference, differences
from app.store import mappings
from app.store.audit import AuditAction
from app.store.destinations import destinations
from app.store.destinations.destinations import Destination
from app.store.mappings import Document, StoredMapping, Version, event_names


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A published version. `current` is true for the version that new events use."""

    version: int
    current: bool
    mapping: Annotated[Document, Field(description="The mapping document. Decimals are exact.")]
    changes: Annotated[Sequence[Difference], Field(description="The changes from the previous version.")]
    published_by: str
    published_at: datetime
    note: Annotated[str | None, Field(description="Why it was published, as its author wrote it.")]


async def lock_advertiser(connection: AsyncConnection, destination: Destination) -> Destination:
    """Lock all destinations of an advertiser. Return the given destination as it is after the lock.

    Raises Refusal if the given destination is archived. An advertiser's destinations share its pinned names,
    so only one of these destinations may publish at a time. The fixed order of locks prevents deadlocks.
    """
    while destination.state is not State.ARCHIVED:
        for locked in await destinations.of_advertiser(connection, destination.advertiser_id):
            if locked.id == destination.id:
                return locked
        # The destination may have been archived or moved to another advertiser during the wait for the lock.
        current = await destinations.find(connection, destination.id)
        assert current is not None
        destination = current
    raise Refusal(ErrorCode.DESTINATION_ARCHIVED)


@asynccontextmanager
async def _locked(
    context: AppContext, destination_id: str, mapping_id: str, expected: Collection[int] | None
) -> AsyncIterator[tuple[Update, Destination, StoredMapping]]:
    """Lock the advertiser, then the mapping. Notify the workers after the commit."""
    async with context.transaction() as change:
        destination = await find_visible(change.connection, context.caller, destination_id)
        destination = await lock_advertiser(change.connection, destination)
        mapping = await find_mapping(change.connection, destination, mapping_id, lock=True)
        require_version(mapping.version, expected)
        yield change, destination, mapping
    await context.wake(destination)


async def publish_draft(
    context: AppContext,
    destination_id: str,
    mapping_id: str,
    expected: Collection[int] | None,
    note: str | None = None,
) -> MappingDetails:
    """Publish the draft as a new version. Publishing an unchanged draft changes nothing. Raises Refusal.

    `note` explains the version; surrounding blanks are removed.
    """
    note = read_note(note)
    async with _locked(context, destination_id, mapping_id, expected) as (change, destination, before):
        await publish_mapping(change, destination, before, note=note)
        published = await reread(change.connection, destination, before.id)
    return await context.compute(published)


async def publish_mapping(
    change: Update, destination: Destination, before: StoredMapping, *, note: str | None = None
) -> None:
    """Publish the draft. Publishing an unchanged draft keeps the version in use. Raises Refusal."""
    compiled = compile_or_refuse(before.draft)
    if not before.unpublished_changes:
        return
    await pin_name(change.connection, destination.advertiser_id, compiled)
    version = await mappings.publish(change.connection, before.id, before.draft, change.by, note)
    await destinations.count_published(change.connection, destination.id)
    # A note is free text: the audit records only that the note exists.
    after = {**before.draft, "published_version": version, **({"has_note": True} if note else {})}
    await change.record(AuditAction.MAPPING_PUBLISHED, before.id, _published(before), after)


def _published(mapping: StoredMapping) -> Document | None:
    """Return the published document with its version number, for the audit."""
    if mapping.published is None:
        return None
    return {**mapping.published, "published_version": mapping.published_version}


async def roll_back(
    context: AppContext, destination_id: str, mapping_id: str, version: int, expected: Collection[int] | None
) -> MappingDetails:
    """Use an earlier version for new events. The draft and the other versions stay unchanged.

    An earlier version whose event type was renamed since is published again under the pinned name. Raises
    Refusal.
    """
    async with _locked(context, destination_id, mapping_id, expected) as (change, destination, before):
        earlier = await mappings.version(change.connection, before.id, version)
        if earlier is None:
            raise invalid("version", "unknown", "The mapping has no such version.")
        if before.published_version != version:
            await _use_version(change, destination, before, earlier)
            await destinations.count_published(change.connection, destination.id)
            current = await find_mapping(change.connection, destination, before.id)
            old, new = _published(before), _published(current)
            await change.record(AuditAction.MAPPING_ROLLED_BACK, before.id, old, new)
        after = await reread(change.connection, destination, before.id)
    return await context.compute(after)


async def _use_version(
    change: Update, destination: Destination, mapping: StoredMapping, earlier: Version
) -> None:
    connection = change.connection
    compiled = compile_or_refuse(earlier.document)
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    pinned = {each.event_type: each.name for each in pins}.get(compiled.constant_event_type or "")
    if pinned is None or pinned == compiled.event_name:
        await pin_name(connection, destination.advertiser_id, compiled)
        await mappings.point_at(connection, mapping.id, earlier.version)
        return
    document = {**earlier.document, "event_name": pinned}
    note = f"Version {earlier.version} under the pinned name “{pinned}”."
    await mappings.publish(connection, mapping.id, document, change.by, note)


async def list_versions(
    context: AppContext, destination_id: str, mapping_id: str, *, limit: int, below: int | None = None
) -> list[PublishedVersion]:
    """Return up to `limit` versions, newest first. With `below`, return only versions with a lower number."""
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        rows = await mappings.versions(connection, mapping.id, limit=limit + 1, below=below)
    pairs = zip_longest(rows[:limit], rows[1 : limit + 1])
    return await context.compute_short(lambda: [_version(mapping, row, older) for row, older in pairs])


def _version(mapping: StoredMapping, row: Version, older: Version | None) -> PublishedVersion:
    return copied(
        PublishedVersion,
        row,
        current=row.version == mapping.published_version,
        mapping=row.document,
        changes=tuple(differences(older.document, row.document)) if older else (),
    )
