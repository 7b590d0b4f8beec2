"""Use cases of mapping drafts: list, read, create, change, delete. Each runs in its own transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import mappings as changes
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.ids import new_id, require_mapping_id
from app.admin.mapping_schema import draft_warnings
from app.admin.refusals import ErrorCode, Refusal
from app.domain.ids import MappingId
from app.domain.mapping.document import ACTION, MappingProblem, check_publishable
from app.domain.mapping.lint import LintWarning
from app.domain.observed.event_schema import SchemaMismatch, merge_samples
from app.store import mappings, schema_samples
from app.store.destinations import Destination
from app.store.mappings import Document, StoredMapping


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

    @property
    def unpublished_changes(self) -> bool:
        """Return whether the draft differs from the published version."""
        return self.mapping.draft != self.mapping.published


async def find_mapping(
    connection: AsyncConnection, destination: Destination, mapping: str, *, lock: bool = False
) -> StoredMapping:
    """Return a mapping of a destination. Raises Refusal (404; 409 if `lock` is set and it is archived)."""
    require_mapping_id(mapping)
    fetch = mappings.lock if lock else mappings.find
    stored = await fetch(connection, destination.id, mapping)
    if stored is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    if lock and stored.archived_at is not None:
        raise Refusal(ErrorCode.MAPPING_ARCHIVED)
    return stored


def require_version(mapping: StoredMapping, expected: Collection[int] | None) -> None:
    """Raise Refusal (stale) unless the mapping has one of the expected versions. None accepts any."""
    if expected is not None and mapping.version not in expected:
        raise Refusal(ErrorCode.STALE)


async def mapping_details(
    connection: AsyncConnection, destination: Destination, mapping: str
) -> MappingDetails:
    """Return a mapping as stored now, with warnings that take recent events into account."""
    stored = await find_mapping(connection, destination, mapping)
    schema = merge_samples(await schema_samples.of_destination(connection, destination.id))
    return MappingDetails(
        stored,
        check_publishable(dict(stored.draft)),
        draft_warnings(stored.draft, destination.region, schema),
    )


async def read_mapping(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str
) -> MappingDetails:
    """Return a mapping, an archived one too."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        return await mapping_details(connection, destination, mapping_id)


async def list_mappings(
    context: AppContext, caller: Caller, destination_id: str, *, limit: int, after: int | None = None
) -> list[MappingDetails]:
    """Return up to `limit` mappings that are not archived, oldest first, from after a mapping's number."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        rows = await mappings.page(connection, destination.id, limit=limit, after=after)
    return [
        MappingDetails(row, check_publishable(dict(row.draft)), draft_warnings(row.draft, destination.region))
        for row in rows
    ]


async def create_draft(
    context: AppContext, caller: Caller, destination_id: str, members: Document
) -> MappingDetails:
    """Create a draft. It may lack members that publishing needs; a member that is null is left out."""
    draft = changes.valid_draft({"action": ACTION, **_present(members)})
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = MappingId(new_id("map_"))
        await changes.create_mapping(connection, destination.id, mapping, draft, by=caller.actor)
        return await mapping_details(connection, destination, mapping)


async def change_draft(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    members: Document,
    expected: Collection[int] | None,
) -> MappingDetails:
    """Replace the named members of the draft; null removes a member. Published versions are unchanged."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        before = await find_mapping(connection, destination, mapping_id, lock=True)
        require_version(before, expected)
        draft = changes.valid_draft(_present({**before.draft, **members}))
        await changes.change_mapping(connection, before, draft, by=caller.actor)
        return await mapping_details(connection, destination, before.id)


async def delete_mapping(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    expected: Collection[int] | None,
) -> MappingDetails:
    """Archive a mapping. It accepts no more events; events accepted before are still delivered."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        before = await find_mapping(connection, destination, mapping_id)
        if before.archived_at is None:
            before = await find_mapping(connection, destination, mapping_id, lock=True)
            require_version(before, expected)
            await changes.archive_mapping(connection, before, by=caller.actor)
        return await mapping_details(connection, destination, before.id)


def _present(members: Document) -> Document:
    return {name: value for name, value in members.items() if value is not None}
