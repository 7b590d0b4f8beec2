"""Organisations: the owners of destinations, keys and their data.

These statements select an organisation by its id instead of `acting_organisation()`. The caller must have
checked that it acts for the platform, which alone may list and change organisations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import OrganisationId
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one, fetch_value


@dataclass(frozen=True, slots=True)
class OrganisationLimits:
    """The limits of an organisation. None means no limit."""

    destinations: int | None = None
    events_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation. `version` is its ETag."""

    id: OrganisationId
    name: str
    limits: OrganisationLimits
    suspended_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


_COLUMNS = """
  id, name, max_destinations AS destinations, max_events_per_second AS events_per_second, suspended_at,
  version, created_at, updated_at
"""


def _read(row: RowMapping) -> Organisation:
    return read_row(Organisation, row, limits=read_row(OrganisationLimits, row))


async def _organisation(connection: AsyncConnection, statement: str, **values: object) -> Organisation | None:
    row = await fetch_one(connection, statement, **values)
    return None if row is None else _read(row)


async def find(connection: AsyncConnection, organisation: str) -> Organisation | None:
    """Return an organisation, or None."""
    return await _organisation(
        connection, f"SELECT {_COLUMNS} FROM organisations WHERE id = :id", id=organisation
    )


async def by_ids(
    connection: AsyncConnection, ids: Sequence[OrganisationId]
) -> dict[OrganisationId, Organisation]:
    """Return the organisations with these ids by id. An unknown id has no entry."""
    rows = await fetch(
        connection, f"SELECT {_COLUMNS} FROM organisations WHERE id = ANY(:ids)", ids=list(ids)
    )
    return {row["id"]: _read(row) for row in rows}


async def lock(connection: AsyncConnection, organisation: str) -> Organisation | None:
    """Return an organisation and lock its row until the transaction ends; None if it does not exist."""
    return await _organisation(
        connection, f"SELECT {_COLUMNS} FROM organisations WHERE id = :id FOR UPDATE", id=organisation
    )


async def page(
    connection: AsyncConnection, *, limit: int, after: tuple[datetime, str] | None = None
) -> Sequence[Organisation]:
    """Return up to `limit` organisations in order of creation, after (created_at, id)."""
    at, organisation = after or (None, None)
    rows = await fetch(
        connection,
        f"SELECT {_COLUMNS} FROM organisations WHERE CAST(:at AS timestamptz) IS NULL "
        "OR (created_at, id) > (CAST(:at AS timestamptz), :id) ORDER BY created_at, id LIMIT :limit",
        at=at,
        id=organisation,
        limit=limit,
    )
    return [_read(row) for row in rows]


async def create(
    connection: AsyncConnection, organisation: OrganisationId, name: str, limits: OrganisationLimits
) -> Organisation | None:
    """Write a new organisation, or return None when its id is taken."""
    return await _organisation(
        connection,
        "INSERT INTO organisations (id, name, max_destinations, max_events_per_second) "
        "VALUES (:id, :name, :destinations, :events) ON CONFLICT DO NOTHING "
        f"RETURNING {_COLUMNS}",
        id=organisation,
        name=name,
        destinations=limits.destinations,
        events=limits.events_per_second,
    )


async def change(
    connection: AsyncConnection, organisation: OrganisationId, name: str, limits: OrganisationLimits
) -> Organisation:
    """Write the name and the limits of an organisation."""
    changed = await _organisation(
        connection,
        "UPDATE organisations SET name = :name, max_destinations = :destinations, "
        "max_events_per_second = :events, version = version + 1, updated_at = now() "
        f"WHERE id = :id RETURNING {_COLUMNS}",
        id=organisation,
        name=name,
        destinations=limits.destinations,
        events=limits.events_per_second,
    )
    assert changed is not None
    return changed


async def set_suspended(
    connection: AsyncConnection, organisation: OrganisationId, suspended: bool
) -> Organisation:
    """Suspend or resume an organisation and the delivery of all its destinations.

    Every process reads the destinations again before it stores an event (`CACHED_VERSION`). Their versions
    stay, because their configuration is the same.
    """
    changed = await _organisation(
        connection,
        "UPDATE organisations SET suspended_at = CASE WHEN CAST(:suspended AS boolean) THEN now() END, "
        f"version = version + 1, updated_at = now() WHERE id = :id RETURNING {_COLUMNS}",
        id=organisation,
        suspended=suspended,
    )
    assert changed is not None
    await execute(
        connection,
        "UPDATE destinations SET suspended = :suspended "
        # Locked in order of number, so that two callers cannot deadlock.
        "WHERE id IN (SELECT id FROM destinations WHERE organisation_id = :id "
        "AND suspended IS DISTINCT FROM :suspended ORDER BY number FOR UPDATE)",
        id=organisation,
        suspended=suspended,
    )
    return changed


async def lock_destination_count(connection: AsyncConnection) -> tuple[int, int | None]:
    """Return (destinations, their limit) of the acting organisation, without archived destinations.

    Without a limit it returns (0, None). It locks the organisation's row, so that two concurrent creations
    cannot exceed the limit.
    """
    limit: int | None = await fetch_value(
        connection, "SELECT max_destinations FROM organisations WHERE id = acting_organisation() FOR UPDATE"
    )
    return (0, None) if limit is None else (await count_destinations(connection), limit)


async def count_destinations(connection: AsyncConnection) -> int:
    """Return the number of destinations of the acting organisation, without archived destinations."""
    used: int = await fetch_value(
        connection,
        "SELECT count(*) FROM destinations "
        "WHERE organisation_id = acting_organisation() AND archived_at IS NULL",
    )
    return used
