"""Pinned event names: the first name of an event type is used for all its conversions for an advertiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

from pydantic import Field
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import INTERNAL, read_row
from app.store.destinations.destinations import DESTINATIONS
from app.store.statements import execute, read_all, read_one, read_written
from app.store.tables import columns_of, insert_own, paged, select_own, table, update_own


@dataclass(frozen=True, slots=True)
class Pin:
    """The name of all conversions of an event type for an advertiser, in every region."""

    advertiser_id: Annotated[str, INTERNAL]
    event_type: Annotated[str, Field(examples=["ADD_TO_SHOPPING_CART"])]
    name: Annotated[str, Field(examples=["Added to cart"])]
    pinned_at: datetime


EVENT_NAMES = table("event_names", Pin)
_COLUMN = EVENT_NAMES.c
_COLUMNS = columns_of(EVENT_NAMES, Pin)


_read = partial(read_row, Pin)


async def pin(connection: AsyncConnection, advertiser: str, event_type: str, name: str) -> Pin:
    """Pin `name` if the event type has no pinned name. Return the pinned name.

    Of two concurrent calls, the second waits for the commit of the first and returns its name. Until the
    transaction ends, the name cannot be changed.
    """
    statement = insert_own(EVENT_NAMES, advertiser_id=advertiser, event_type=event_type, name=name)
    await execute(connection, statement.on_conflict_do_nothing())
    # A separate statement, because the snapshot of the insert cannot contain the row that it conflicted with.
    pinned = await lock(connection, advertiser, event_type, shared=True)
    assert pinned is not None
    return pinned


async def lock(
    connection: AsyncConnection, advertiser: str, event_type: str, *, shared: bool = False
) -> Pin | None:
    """Return the pinned name of an event type and lock it until the transaction ends, or return None."""
    which = (_COLUMN.advertiser_id == advertiser, _COLUMN.event_type == event_type)
    statement = select_own(EVENT_NAMES, _COLUMNS, *which)
    return await read_one(connection, _read, statement.with_for_update(read=shared))


async def rename(connection: AsyncConnection, advertiser: str, event_type: str, to: str) -> Pin:
    """Change a pinned name. The caller audits it and calls `destinations.touch_all`."""
    which = (_COLUMN.advertiser_id == advertiser, _COLUMN.event_type == event_type)
    statement = update_own(EVENT_NAMES, *which, name=to, pinned_at=func.now())
    return await read_written(connection, _read, statement.returning(*_COLUMNS))


async def of_advertiser(connection: AsyncConnection, advertiser: str) -> list[Pin]:
    """Return the pinned names of an advertiser in order of event type."""
    statement = select_own(EVENT_NAMES, _COLUMNS, _COLUMN.advertiser_id == advertiser)
    return await read_all(connection, _read, statement.order_by(_COLUMN.event_type))


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    search: str | None = None,
    only: Sequence[str] | None = None,
) -> list[Pin]:
    """Return up to `limit` pinned names in order of (advertiser, event type), after `after`.

    `search` is an advertiser id or a part of a name. `only` limits them to advertisers whose destinations are
    all in this list of ids.
    """
    order = (_COLUMN.advertiser_id, _COLUMN.event_type)
    statement = paged(select_own(EVENT_NAMES, _COLUMNS), order, after, limit)
    if search is not None:
        in_name = func.strpos(func.lower(_COLUMN.name), search.lower()) > 0
        statement = statement.where((_COLUMN.advertiser_id == search) | in_name)
    if only is not None:
        theirs = select_own(
            DESTINATIONS,
            [func.bool_and(DESTINATIONS.c.id.in_(only))],
            DESTINATIONS.c.advertiser_id == _COLUMN.advertiser_id,
            DESTINATIONS.c.archived_at.is_(None),
        )
        statement = statement.where(theirs.scalar_subquery())
    return await read_all(connection, _read, statement)
