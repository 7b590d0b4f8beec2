"""Destinations. The service writes facts such as `paused`; the database derives the state from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import BigInteger, Column, ColumnElement, Identity, Integer, Text, func, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.destination import DestinationSettings, RequestRate, State
from app.domain.ids import DestinationId, DestinationNumber, LaneId
from app.store import INTERNAL, Row, read_row, read_sql
from app.store.statements import execute, fetch, fetch_value, read_all, read_one, read_written
from app.store.tables import INSTANT, columns_of, flat, insert_own, select_own, table, update_own

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(DestinationSettings):
    """A destination: one advertiser's Amazon account."""

    id: Annotated[DestinationId, Field(examples=["dst_0a1b2c3d4e5f6g7h8i9j"])]
    state: State
    reason: Annotated[
        str | None,
        Field(
            description="Why the destination must be connected again; `organisation_suspended` if it is "
            "paused because its organisation is suspended."
        ),
    ]
    connected: bool
    published_mappings: int
    version: Annotated[int, Field(description="Grows with each change. Also the `ETag`.")]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    number: Annotated[DestinationNumber, INTERNAL]
    lane: Annotated[LaneId, INTERNAL]
    sign_in: Annotated[str, INTERNAL]
    sign_in_reason: Annotated[str | None, INTERNAL]
    paused: Annotated[bool, INTERNAL]
    suspended: Annotated[bool, INTERNAL]  # its organisation is suspended
    status_callback: Annotated[bool, INTERNAL]  # whether final states are reported to the journey engine


DESTINATIONS = table(
    "destinations",
    Destination,
    Column("id", Text, primary_key=True),
    Column("number", Integer, Identity(always=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    # The time of the next probe for the reason endpoint_not_found.
    Column("endpoint_probe_at", INSTANT),
    # A trigger sets the times at which the pause or the broken sign-in began.
    Column("paused_since", INSTANT),
    Column("broken_since", INSTANT),
    without=("reason", "connected", "status_callback"),
)
_COLUMN = DESTINATIONS.c
_COLUMNS = (
    *columns_of(DESTINATIONS, Destination),
    literal_column(
        "EXISTS (SELECT FROM callback_destinations c WHERE c.destination = destinations.number)"
    ).label("status_callback"),
)
_ALIVE = _COLUMN.archived_at.is_(None)


def _read(row: Row) -> Destination:
    is_suspended = row["suspended"] and row["state"] == State.PAUSED
    reason = "organisation_suspended" if is_suspended else row["sign_in_reason"]
    rate_limit, connected = read_row(RequestRate, row), row["sign_in"] == "valid"
    return read_row(Destination, row, rate_limit=rate_limit, connected=connected, reason=reason)


_select = partial(select_own, DESTINATIONS, _COLUMNS)


async def find(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination, even if it is archived, or None."""
    return await read_one(connection, _read, _select(_COLUMN.id == destination))


async def lock(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination and lock its row until the transaction ends; None if it does not exist."""
    statement = _select(_COLUMN.id == destination).with_for_update(key_share=True)
    return await read_one(connection, _read, statement)


async def create(
    connection: AsyncConnection, destination: DestinationId, settings: DestinationSettings
) -> Destination:
    """Write a new destination, and the lane of its advertiser if there is none."""
    is_suspended: ColumnElement[bool] = literal_column(
        "(SELECT suspended_at IS NOT NULL FROM organisations WHERE id = acting_organisation())"
    )
    values = await _values(connection, settings)
    statement = insert_own(DESTINATIONS, id=destination, suspended=is_suspended, **values)
    return await read_written(connection, _read, statement.returning(*_COLUMNS))


async def change(
    connection: AsyncConnection, destination: DestinationId, settings: DestinationSettings, *, moves: bool
) -> Destination:
    """Write the settings of a destination. If it `moves`, put it into the lane of its advertiser and region.

    Otherwise it reads no lane: an erasure that has locked the lane may wait for a worker, and the worker for
    the destination.
    """
    values = await _values(connection, settings) if moves else flat(settings)
    return await _changed(connection, destination, **values)


async def _values(connection: AsyncConnection, settings: DestinationSettings) -> dict[str, object]:
    """Return the columns of the settings, and the lane, which is created if there is none."""
    account = (settings.region.value, settings.advertiser_id)
    lane = await fetch_value(connection, "SELECT lane_of($1, $2)", *account)
    return {**flat(settings), "lane": lane}


@dataclass(frozen=True, slots=True)
class DestinationFilter:
    """Which destinations a list has.

    `search` is an id, or a part of a name or an advertiser id, ignoring case. Archived destinations are
    listed only if `state` selects them. `only` limits the list to these ids.
    """

    search: str | None = None
    state: State | None = None
    only: Sequence[str] | None = None


async def page(
    connection: AsyncConnection, wanted: DestinationFilter, *, limit: int, after: int | None
) -> list[Destination]:
    """Return up to `limit` destinations in order of creation, after the number `after`."""
    statement = _select(_ALIVE if wanted.state is None else _COLUMN.state == wanted.state.value)
    if wanted.search:
        # strpos, not LIKE: in a search, % and _ are not patterns.
        words = wanted.search.lower()
        in_name = func.strpos(func.lower(_COLUMN.name), words) > 0
        in_advertiser = func.strpos(func.lower(_COLUMN.advertiser_id), words) > 0
        statement = statement.where(in_name | in_advertiser | (_COLUMN.id == wanted.search))
    if wanted.only is not None:
        statement = statement.where(_COLUMN.id.in_(wanted.only))
    if after is not None:
        statement = statement.where(_COLUMN.number > after)
    return await read_all(connection, _read, statement.order_by(_COLUMN.number).limit(limit))


async def of_advertiser(connection: AsyncConnection, advertiser: str) -> list[Destination]:
    """Return and lock the destinations of an advertiser in all regions, without archived ones.

    They are locked in order of their numbers, so that two callers cannot deadlock.
    """
    statement = _select(_COLUMN.advertiser_id == advertiser, _ALIVE).order_by(_COLUMN.number)
    return await read_all(connection, _read, statement.with_for_update(key_share=True))


async def lock_all(connection: AsyncConnection) -> None:
    """Block every other change of destinations and mappings until the transaction ends.

    It locks the rows of all destinations, because each such change locks its destination's row. The order by
    number prevents a deadlock with `of_advertiser`. The caller has locked the organisation, because row locks
    do not cover new rows.
    """
    await execute(connection, _select(_ALIVE).order_by(_COLUMN.number).with_for_update(key_share=True))


async def ids_of_advertiser(connection: AsyncConnection, advertiser: str) -> list[str]:
    """Return the ids of an advertiser's destinations that are not archived, without locking them."""
    statement = select_own(DESTINATIONS, [_COLUMN.id], _COLUMN.advertiser_id == advertiser, _ALIVE)
    return [row["id"] for row in await fetch(connection, statement)]


async def names(connection: AsyncConnection, *, only: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return (id, name) of every destination that is not archived, to find similar names."""
    statement = select_own(DESTINATIONS, [_COLUMN.id, _COLUMN.name], _ALIVE).order_by(_COLUMN.number)
    if only is not None:
        statement = statement.where(_COLUMN.id.in_(only))
    return [(row["id"], row["name"]) for row in await fetch(connection, statement)]


async def everything(connection: AsyncConnection) -> list[Destination]:
    """Return every destination, archived ones included, in order of creation."""
    return await read_all(connection, _read, _select().order_by(_COLUMN.number))


async def missing(connection: AsyncConnection, destinations: Sequence[str]) -> set[str]:
    """Return those of these ids that belong to no destination of the organisation."""
    statement = select_own(DESTINATIONS, [_COLUMN.id], _COLUMN.id.in_(destinations))
    return set(destinations) - {row["id"] for row in await fetch(connection, statement)}


_NEWER: Final = {"version": _COLUMN.version + 1, "updated_at": func.now()}


async def set_paused(connection: AsyncConnection, destination: DestinationId, paused: bool) -> Destination:
    """Pause or resume the delivery of a destination."""
    return await _changed(connection, destination, paused=paused)


async def set_sign_in(
    connection: AsyncConnection, destination: DestinationId, sign_in: str, reason: str | None = None
) -> Destination:
    """Write the state of the sign-in: `none`, `valid`, or `broken` with its reason."""
    return await _changed(connection, destination, sign_in=sign_in, sign_in_reason=reason)


async def archive(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Archive a destination permanently, without a sign-in.

    One statement: when a transaction changes a row again, Postgres checks its foreign keys, and the check of
    the lane waits for an erasure, which waits for the flush lock of this transaction.
    """
    values = {"archived_at": func.now(), "sign_in": "none", "sign_in_reason": None}
    return await _changed(connection, destination, **values)


async def count_published(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Update the number of published mappings, from which the database derives the state."""
    published: ColumnElement[int] = literal_column(
        "(SELECT count(*) FROM mappings m WHERE m.destination = destinations.id "
        "AND m.published_version IS NOT NULL AND m.archived_at IS NULL)"
    )
    return await _changed(connection, destination, published_mappings=published)


async def _changed(connection: AsyncConnection, destination: DestinationId, **values: object) -> Destination:
    statement = update_own(DESTINATIONS, _COLUMN.id == destination, **_NEWER, **values)
    return await read_written(connection, _read, statement.returning(*_COLUMNS))


async def touch(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Increment the version of a destination after a change in another table."""
    return await _changed(connection, destination)


async def touch_all(connection: AsyncConnection, ids: Sequence[DestinationId]) -> None:
    """Increment the version of destinations that the caller has locked (`of_advertiser`)."""
    await execute(connection, update_own(DESTINATIONS, _COLUMN.id.in_(ids), **_NEWER))


async def delivered(connection: AsyncConnection, destination: DestinationNumber) -> int:
    """Return how many events of a destination Amazon accepted."""
    return int(await fetch_value(connection, SQL["delivered"], destination))


async def ever_accepted(connection: AsyncConnection, destination: DestinationNumber) -> bool:
    """Return whether a destination ever accepted an event. If so, its advertiser and region are fixed."""
    return bool(await fetch_value(connection, SQL["ever_accepted"], destination))
