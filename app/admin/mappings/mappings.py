"""Use cases of mappings: their drafts and their published versions. Each change is audited.

Functions that take a connection run in the caller's transaction, which must be rolled back after a `Refusal`.
Functions that take the context open their own transaction.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, Refusal, copy_as, invalid, new_id, require_found, require_id, require_version
from app.admin.context import AppContext, Update
from app.admin.destinations import changing, reading
from app.admin.inputs import name_problem_code, read_note
from app.admin.mappings.event_names import RenameImpact, pin_name, rename_impact
from app.admin.mappings.schema import compile_or_refuse, draft_warnings, refusal_of_document
from app.domain.destination import Region
from app.domain.ids import DestinationId, MappingId
from app.domain.mapping.diff import Difference, differences, is_same
from app.domain.mapping.document import ACTION, Mapping, check_draft, check_publishable, compile_mapping
from app.domain.mapping.event_name import with_clean_event_name
from app.domain.mapping.lint import LintWarning
from app.domain.mapping.sources import MappingProblem
from app.domain.observed.event_schema import SchemaMismatch, merge_samples
from app.domain.observed.fingerprints import match_key_paths
from app.store import mappings
from app.store.audit import AuditAction
from app.store.destinations import destinations, schema_samples
from app.store.destinations.destinations import Destination
from app.store.destinations.schema_samples import StoredSamples
from app.store.mappings import Document, StoredMapping, Version, event_names


@dataclass(frozen=True, slots=True)
class MappingDetails:
    """A mapping, the problems that prevent publishing it, and warnings about its draft."""

    mapping: StoredMapping
    problems: Sequence[MappingProblem]
    warnings: Sequence[LintWarning | SchemaMismatch]

    @property
    def state(self) -> Literal["archived", "draft", "published"]:
        """Return 'archived', 'draft' or 'published'."""
        if self.mapping.archived_at is not None:
            return "archived"
        return "draft" if self.mapping.published_version is None else "published"


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


def valid_draft(draft: Document) -> Document:
    """Check a draft, which may be incomplete, and return it with a normalised event name.

    Raises Refusal (422).
    """
    name, problems = draft.get("name"), check_draft(dict(draft))
    name_code = "missing" if name is None else name_problem_code(str(name))
    if name_code is not None and not any(problem.path == "name" for problem in problems):
        raise invalid("name", name_code, "A mapping needs a name of printable characters.")
    if problems:
        raise refusal_of_document(ErrorCode.INVALID, problems)
    return with_clean_event_name(draft)


async def find_mapping(
    connection: AsyncConnection, destination: Destination, mapping: str, *, lock: bool = False
) -> StoredMapping:
    """Return a mapping of a destination. Raises Refusal: 404, or 409 if it is archived and `lock` is set."""
    require_id("map_", mapping)
    fetch = mappings.lock if lock else mappings.find
    stored = require_found(await fetch(connection, destination.id, mapping))
    if lock and stored.archived_at is not None:
        raise Refusal(ErrorCode.MAPPING_ARCHIVED)
    return stored


def compile_draft(stored: StoredMapping, document: Document | None) -> Mapping:
    """Compile an unsaved document, or the saved draft if it is None. Raises Refusal (422)."""
    if document is None:
        return compile_or_refuse(stored.draft)
    return compile_or_refuse(document, parent="mapping")


def require_published(stored: StoredMapping) -> int:
    """Return the published version of a mapping. Raises Refusal (422) if none is published."""
    if stored.published_version is None:
        detail = "No version is published yet, so there is nothing to compare the draft with."
        raise Refusal(ErrorCode.NOT_PUBLISHABLE, detail)
    return stored.published_version


def _details(mapping: StoredMapping, region: Region, samples: StoredSamples | None = None) -> MappingDetails:
    """Return a mapping with its problems and warnings. Some warnings depend on samples of events."""
    schema = None if samples is None else merge_samples(samples.counted())
    warnings = draft_warnings(mapping.draft, region, schema)
    return MappingDetails(mapping, check_publishable(dict(mapping.draft)), warnings)


async def reread(
    connection: AsyncConnection, destination: Destination, mapping: str
) -> Callable[[], MappingDetails]:
    """Read a mapping as stored now. Return its details as a function for `context.compute`."""
    stored = await find_mapping(connection, destination, mapping)
    samples = await schema_samples.recent(connection, destination.id)
    return partial(_details, stored, destination.region, samples)


async def read_mapping(context: AppContext, destination_id: str, mapping_id: str) -> MappingDetails:
    """Return a mapping, archived or not."""
    async with reading(context, destination_id) as (connection, destination):
        found = await reread(connection, destination, mapping_id)
    return await context.compute(found)


async def list_mappings(
    context: AppContext, destination_id: str, *, limit: int, after: int | None = None
) -> list[MappingDetails]:
    """Return up to `limit` mappings with numbers above `after`, oldest first, without archived mappings."""
    async with reading(context, destination_id) as (connection, destination):
        rows = await mappings.page(connection, destination.id, limit=limit, after=after)
    return await context.compute_short(lambda: [_details(row, destination.region) for row in rows])


async def list_published(context: AppContext, destination_id: str) -> list[StoredMapping]:
    """Return all published mappings of a destination, oldest first."""
    async with reading(context, destination_id) as (connection, destination):
        return await mappings.published_of(connection, [destination.id])


async def search_mappings(context: AppContext, words: str, *, limit: int) -> list[StoredMapping]:
    """Return up to `limit` mappings with this id or with these words in their name."""
    async with context.engine.connect() as connection:
        return await mappings.search(connection, words, only=context.caller.only, limit=limit)


async def create_draft(context: AppContext, destination_id: str, members: Document) -> MappingDetails:
    """Create a draft, which may lack members that publishing needs. A member that is null is left out."""
    draft = {"action": ACTION, **_present(valid_draft(members))}
    async with changing(context, destination_id) as (change, destination):
        mapping = MappingId(new_id("map_"))
        await create_mapping(change, destination.id, mapping, draft)
        created = await reread(change.connection, destination, mapping)
    return await context.compute(created)


async def copy_mapping(
    context: AppContext, destination_id: str, mapping_id: str, *, to: str, name: str
) -> MappingDetails:
    """Copy a mapping's draft into destination `to`, as a new draft with this name."""
    source = await read_mapping(context, destination_id, mapping_id)
    return await create_draft(context, to, {**source.mapping.draft, "name": name})


async def create_mapping(
    change: Update, destination: DestinationId, mapping: MappingId, draft: Document
) -> None:
    """Create an unpublished mapping under a new id.

    The destination gets a new version, so that every process rejects events for the draft as unpublished.
    """
    await mappings.create(change.connection, mapping, destination, draft)
    await destinations.touch(change.connection, destination)
    await schema_samples.close_paths(change.connection, destination, match_key_paths(draft))
    await change.record(AuditAction.MAPPING_CREATED, mapping, after=draft)


async def change_draft(
    context: AppContext,
    destination_id: str,
    mapping_id: str,
    members: Document,
    expected: Collection[int] | None,
) -> MappingDetails:
    """Replace the named members of the draft; null removes a member. Published versions are unchanged."""
    async with changing(context, destination_id) as (change, destination):
        before = await find_mapping(change.connection, destination, mapping_id, lock=True)
        require_version(before.version, expected)
        await change_mapping(change, before, _present(valid_draft({**before.draft, **members})))
        changed = await reread(change.connection, destination, before.id)
    return await context.compute(changed)


async def change_mapping(change: Update, before: StoredMapping, draft: Document) -> None:
    """Replace a mapping's draft. The published version is unchanged."""
    if not is_same(draft, before.draft):
        await mappings.change_draft(change.connection, before.id, draft)
        await schema_samples.close_paths(change.connection, before.destination, match_key_paths(draft))
        await change.record(AuditAction.MAPPING_CHANGED, before.id, before.draft, draft)


async def delete_mapping(
    context: AppContext, destination_id: str, mapping_id: str, expected: Collection[int] | None
) -> MappingDetails:
    """Archive a mapping, so that it accepts no more events. Events accepted before are still delivered."""
    async with changing(context, destination_id) as (change, destination):
        before = await find_mapping(change.connection, destination, mapping_id)
        if before.archived_at is None:
            before = await find_mapping(change.connection, destination, mapping_id, lock=True)
            require_version(before.version, expected)
            await archive_mapping(change, before)
        archived = await reread(change.connection, destination, before.id)
    return await context.compute(archived)


async def archive_mapping(change: Update, before: StoredMapping) -> None:
    """Archive a mapping, so that it accepts no more events. Events accepted before are still delivered."""
    await mappings.archive(change.connection, before.id)
    await destinations.count_published(change.connection, before.destination)
    await change.record(AuditAction.MAPPING_ARCHIVED, before.id, before=before.draft)


def _present(members: Document) -> Document:
    return {name: value for name, value in members.items() if value is not None}


@asynccontextmanager
async def _locked(
    context: AppContext, destination_id: str, mapping_id: str, expected: Collection[int] | None
) -> AsyncIterator[tuple[Update, Destination, StoredMapping]]:
    """Lock the destination, then the mapping. Notify the workers after the commit."""
    async with changing(context, destination_id) as (change, destination):
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
    return copy_as(
        PublishedVersion,
        row,
        current=row.version == mapping.published_version,
        mapping=row.document,
        changes=tuple(differences(older.document, row.document)) if older else (),
    )


async def find_name_conflict(
    context: AppContext, destination_id: str, mapping_id: str
) -> RenameImpact | None:
    """Return the effect of renaming the pinned name to that of a mapping's draft; None if they are equal."""
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        compiled = compile_mapping(dict(mapping.draft))
        if not isinstance(compiled, Mapping):
            return None
        for pin in await event_names.of_advertiser(connection, destination.advertiser_id):
            if pin.event_type == compiled.constant_event_type and pin.name != compiled.event_name:
                return await rename_impact(connection, context.caller, pin)
    return None
