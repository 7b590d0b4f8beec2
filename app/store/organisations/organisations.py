"""Organisations: the owners of destinations, keys and their data.

These statements select an organisation by its id instead of `acting_organisation()`. The caller must have
checked that it acts for the platform, which alone may list and change organisations.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import BigInteger, Column, Integer, Text, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import OrganisationId
from app.store import Row, read_row, read_sql
from app.store.statements import execute, fetch, fetch_value, read_all, read_one, read_written
from app.store.tables import columns_of, paged, table

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class OrganisationLimits:
    """The limits of an organisation. None means no limit."""

    destinations: int | None = None
    events_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation."""

    id: Annotated[OrganisationId, Field(examples=["acme"])]
    name: Annotated[str, Field(examples=["Acme"])]
    state: Literal["active", "suspended"]
    limits: OrganisationLimits
    suspended_at: datetime | None
    version: Annotated[int, Field(description="Grows with each change. Also the `ETag`.")]
    created_at: datetime
    updated_at: datetime


ORGANISATIONS = table(
    "organisations",
    Organisation,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("max_destinations", Integer, key="destinations"),
    Column("max_events_per_second", Integer, key="events_per_second"),
    without=("organisation", "state"),
)
_COLUMN = ORGANISATIONS.c
_COLUMNS = columns_of(ORGANISATIONS, Organisation)


def _read(row: Row) -> Organisation:
    state = "active" if row["suspended_at"] is None else "suspended"
    return read_row(Organisation, row, state=state, limits=read_row(OrganisationLimits, row))


async def find(connection: AsyncConnection, organisation: str) -> Organisation | None:
    """Return an organisation, or None."""
    return await read_one(connection, _read, select(*_COLUMNS).where(_COLUMN.id == organisation))


async def by_ids(
    connection: AsyncConnection, ids: Sequence[OrganisationId]
) -> dict[OrganisationId, Organisation]:
    """Return the organisations with these ids by id. An unknown id has no entry."""
    rows = await fetch(connection, select(*_COLUMNS).where(_COLUMN.id.in_(ids)))
    return {row["id"]: _read(row) for row in rows}


async def lock(connection: AsyncConnection, organisation: str) -> Organisation | None:
    """Return an organisation and lock its row until the transaction ends; None if it does not exist."""
    statement = select(*_COLUMNS).where(_COLUMN.id == organisation)
    return await read_one(connection, _read, statement.with_for_update(key_share=True))


async def page(
    connection: AsyncConnection, *, limit: int, after: tuple[datetime, str] | None = None
) -> Sequence[Organisation]:
    """Return up to `limit` organisations in order of creation, after (created_at, id)."""
    statement = paged(select(*_COLUMNS), (_COLUMN.created_at, _COLUMN.id), after, limit)
    return await read_all(connection, _read, statement)


async def create(
    connection: AsyncConnection, organisation: OrganisationId, name: str, limits: OrganisationLimits
) -> Organisation | None:
    """Write a new organisation, or return None when its id is taken."""
    statement = insert(ORGANISATIONS).values(id=organisation, name=name, **asdict(limits))
    return await read_one(connection, _read, statement.on_conflict_do_nothing().returning(*_COLUMNS))


async def change(
    connection: AsyncConnection, organisation: OrganisationId, name: str, limits: OrganisationLimits
) -> Organisation:
    """Write the name and the limits of an organisation."""
    return await _changed(connection, organisation, name=name, **asdict(limits))


async def _changed(
    connection: AsyncConnection, organisation: OrganisationId, **values: object
) -> Organisation:
    newer = {"version": _COLUMN.version + 1, "updated_at": func.now()}
    statement = update(ORGANISATIONS).where(_COLUMN.id == organisation).values(**newer, **values)
    return await read_written(connection, _read, statement.returning(*_COLUMNS))


async def set_suspended(
    connection: AsyncConnection, organisation: OrganisationId, suspended: bool
) -> Organisation:
    """Suspend or resume an organisation and the delivery of all its destinations.

    Every process reads the destinations again before it stores an event (`CACHED_VERSION`). Their versions
    stay, because their configuration is the same.
    """
    at = func.now() if suspended else None
    changed = await _changed(connection, organisation, suspended_at=at)
    await execute(connection, SQL["suspend_destinations"], organisation, suspended)
    return changed


async def lock_destination_count(connection: AsyncConnection) -> tuple[int, int | None]:
    """Return (destinations, their limit) of the acting organisation, without archived destinations.

    Without a limit it returns (0, None). It locks the organisation's row, so that two concurrent creations
    cannot exceed the limit. Rows that refer to the organisation can still be inserted.
    """
    limit: int | None = await fetch_value(connection, SQL["lock_limit"])
    return (0, None) if limit is None else (await count_destinations(connection), limit)


async def count_destinations(connection: AsyncConnection) -> int:
    """Return the number of destinations of the acting organisation, without archived destinations."""
    return int(await fetch_value(connection, SQL["count_destinations"]))
