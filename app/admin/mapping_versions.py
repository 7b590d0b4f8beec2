"""Use cases of published versions: publish, roll back, list. Each runs in its own transaction."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mapping_drafts import MappingDetails, find_mapping, mapping_details, require_version
from app.admin.mappings import publish_mapping, published_document, record_mapping_audit
from app.domain.mapping.diff import Difference, differences
from app.store import audit, mappings
from app.store.destinations import Destination
from app.store.mappings import StoredMapping, Version


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """A published version, whether events use it now, and its changes from the previous version."""

    version: Version
    current: bool
    changes: Sequence[Difference]


@asynccontextmanager
async def _locked(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    expected: Collection[int] | None,
) -> AsyncIterator[tuple[AsyncConnection, Destination, StoredMapping]]:
    """Lock the advertiser, then the mapping. Notify the workers after the commit."""
    async with context.engine.begin() as connection:
        destination = await find_visible(connection, caller, destination_id)
        destination = await publishing.lock_advertiser(connection, destination)
        mapping = await find_mapping(connection, destination, mapping_id, lock=True)
        require_version(mapping, expected)
        yield connection, destination, mapping
    await context.wake(destination.number)


async def publish_draft(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    expected: Collection[int] | None,
    note: str | None = None,
) -> MappingDetails:
    """Publish the draft as a new version. Publishing an unchanged draft changes nothing. Raises Refusal.

    `note` explains the version; surrounding blanks are removed.
    """
    note = (note or "").strip() or None
    async with _locked(context, caller, destination_id, mapping_id, expected) as (
        connection,
        destination,
        before,
    ):
        await publish_mapping(connection, destination, before, by=caller.actor, note=note)
        return await mapping_details(connection, destination, before.id)


async def roll_back(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    version: int,
    expected: Collection[int] | None,
) -> MappingDetails:
    """Use an earlier version for new events. The draft is unchanged. Raises Refusal."""
    async with _locked(context, caller, destination_id, mapping_id, expected) as (
        connection,
        destination,
        before,
    ):
        await publishing.roll_back(connection, destination, before, version)
        after = await mapping_details(connection, destination, before.id)
        if before.published_version != version:
            await record_mapping_audit(
                connection,
                caller.actor,
                audit.AuditAction.MAPPING_ROLLED_BACK,
                destination.id,
                before.id,
                before=published_document(before),
                after=published_document(after.mapping),
            )
        return after


async def list_versions(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    *,
    limit: int,
    below: int | None = None,
) -> list[VersionDetails]:
    """Return up to `limit` versions below a version, newest first."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        rows = await mappings.versions(connection, mapping.id, limit=limit + 1, below=below)
    return [
        VersionDetails(
            row,
            row.version == mapping.published_version,
            tuple(differences(older.document, row.document)) if older else (),
        )
        for row, older in zip_longest(rows[:limit], rows[1 : limit + 1])
    ]
