"""Mappings: an editable draft, and immutable published versions."""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, MappingId, MappingNumber
from app.domain.mapping.diff import is_same
from app.domain.strict_json import json_text
from app.store import read_row, read_sql
from app.store.statements import execute, fetch_value, read_all, read_one

SQL: Final = read_sql(__file__)

Document = MappingOf[str, Any]


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """A mapping: `draft` is the document as last edited, `published` is the document that events use."""

    id: MappingId
    number: MappingNumber
    destination: DestinationId
    name: str
    draft: Document
    published_version: int | None
    published: Document | None
    version: int
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def unpublished_changes(self) -> bool:
        """Whether the draft differs from the published version."""
        return not is_same(self.draft, self.published)


@dataclass(frozen=True, slots=True)
class Version:
    """A published version of a mapping. It never changes, because events refer to it."""

    version: int
    document: Document
    published_by: str
    published_at: datetime
    note: str | None


# Documents are read as text, because the driver would turn exact numbers into doubles.
_SELECT = """
  SELECT m.id, m.number, m.destination, m.name, CAST(m.draft AS text) AS draft, m.published_version,
    CAST(v.document AS text) AS published, m.version, m.archived_at, m.created_at, m.updated_at
  FROM mappings m
  LEFT JOIN mapping_versions v ON v.mapping = m.id AND v.version = m.published_version
  WHERE m.organisation_id = acting_organisation()
"""
_VERSIONS = """
  SELECT version, CAST(document AS text) AS document, published_by, published_at, note
  FROM mapping_versions WHERE organisation_id = acting_organisation() AND mapping = $1
"""


_read = partial(read_row, StoredMapping, json=["draft", "published"])
_read_version = partial(read_row, Version, json=["document"])


async def _where(connection: AsyncConnection, conditions: str, *arguments: object) -> list[StoredMapping]:
    return await read_all(connection, _read, f"{_SELECT} AND {conditions}", *arguments)


async def find(connection: AsyncConnection, destination: str, mapping: str) -> StoredMapping | None:
    """Return a mapping of a destination, even if it is archived, or None."""
    found = await _where(connection, "m.id = $1 AND m.destination = $2", mapping, destination)
    return found[0] if found else None


async def lock(connection: AsyncConnection, destination: str, mapping: str) -> StoredMapping | None:
    """Return a mapping and lock it until the transaction ends; None if it does not exist."""
    await execute(connection, SQL["lock"], mapping, destination)
    # A separate statement, because the snapshot of the locking statement is older than its wait for the lock.
    return await find(connection, destination, mapping)


async def page(
    connection: AsyncConnection, destination: str, *, limit: int, after: int | None = None
) -> list[StoredMapping]:
    """Return up to `limit` mappings of a destination, without archived ones, after the number `after`."""
    conditions = (
        "m.destination = $1 AND m.archived_at IS NULL AND ($2::integer IS NULL OR m.number > $2) "
        "ORDER BY m.number LIMIT $3"
    )
    return await _where(connection, conditions, destination, after, limit)


async def search(
    connection: AsyncConnection, words: str, *, only: Sequence[str] | None, limit: int
) -> list[StoredMapping]:
    """Return up to `limit` mappings with this id or with these words in their name, ignoring case.

    `only` limits them to mappings of these destinations. Archived mappings are left out.
    """
    conditions = (
        # strpos, not LIKE: in a search, % and _ are not patterns.
        "m.archived_at IS NULL AND (strpos(lower(m.name), $1) > 0 OR m.id = $1) "
        "AND ($2::text[] IS NULL OR m.destination = ANY ($2)) ORDER BY lower(m.name), m.number LIMIT $3"
    )
    return await _where(connection, conditions, words.lower(), only, limit)


async def everything(connection: AsyncConnection) -> list[StoredMapping]:
    """Return every mapping of the organisation, archived ones included, in order of creation."""
    return await _where(connection, "true ORDER BY m.number")


async def create(
    connection: AsyncConnection, mapping: MappingId, destination: DestinationId, draft: Document
) -> None:
    """Write a new mapping with this draft, which contains its name."""
    await execute(connection, SQL["create"], mapping, destination, draft["name"], json_text(draft))


async def change_draft(connection: AsyncConnection, mapping: MappingId, draft: Document) -> None:
    """Replace the draft of a mapping. Published versions stay unchanged."""
    await execute(connection, SQL["change_draft"], mapping, draft["name"], json_text(draft))


async def publish(
    connection: AsyncConnection, mapping: MappingId, document: Document, by: str, note: str | None = None
) -> int:
    """Publish `document` as the next version and return its number. `note` explains the version to people.

    The caller must have locked the mapping, so that two calls cannot use one number.
    """
    version: int = await fetch_value(connection, SQL["publish"], mapping, json_text(document), by, note)
    await point_at(connection, mapping, version)
    return version


async def point_at(connection: AsyncConnection, mapping: MappingId, version: int) -> None:
    """Let events use an existing version of a mapping."""
    await execute(connection, SQL["point_at"], mapping, version)


async def archive(connection: AsyncConnection, mapping: MappingId) -> None:
    """Archive a mapping permanently. Its versions stay, because events refer to them."""
    await execute(connection, SQL["archive"], mapping)


async def versions(
    connection: AsyncConnection, mapping: MappingId, *, limit: int, below: int | None = None
) -> list[Version]:
    """Return up to `limit` published versions with numbers below `below`, newest first."""
    statement = f"{_VERSIONS} AND ($2::integer IS NULL OR version < $2) ORDER BY version DESC LIMIT $3"
    return await read_all(connection, _read_version, statement, mapping, below, limit)


async def version(connection: AsyncConnection, mapping: MappingId, number: int) -> Version | None:
    """Return a published version of a mapping, or None."""
    return await read_one(connection, _read_version, f"{_VERSIONS} AND version = $2", mapping, number)


async def published_of(
    connection: AsyncConnection, destinations: Sequence[str], *, lock_rows: bool = False
) -> list[StoredMapping]:
    """Return the mappings of these destinations with a published version, in order of creation.

    With `lock_rows`, lock all mappings of the destinations until the transaction ends.
    """
    if lock_rows:
        await execute(connection, SQL["lock_all"], destinations)
    conditions = "m.destination = ANY ($1) AND m.published_version IS NOT NULL AND m.archived_at IS NULL"
    return await _where(connection, f"{conditions} ORDER BY m.number", destinations)
