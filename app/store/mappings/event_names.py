"""Pinned event names: the first name of an event type is used for all its conversions for an advertiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class Pin:
    """The name of all conversions of an event type for an advertiser, in every region."""

    advertiser_id: str
    event_type: str
    name: str
    pinned_at: datetime


_COLUMNS = "advertiser_id, event_type, name, pinned_at"


async def pin(connection: AsyncConnection, advertiser: str, event_type: str, name: str) -> tuple[Pin, bool]:
    """Pin `name` if the event type has no pinned name. Return the pinned name, and whether it is new.

    Of two concurrent calls, the second waits for the commit of the first and returns its name. Until the
    transaction ends, the name cannot be changed.
    """
    inserted = await execute(
        connection,
        "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
        "VALUES (acting_organisation(), :advertiser, :event_type, :name) ON CONFLICT DO NOTHING",
        advertiser=advertiser,
        event_type=event_type,
        name=name,
    )
    # A separate statement, because the snapshot of the insert cannot contain the row that it conflicted with.
    pinned = await lock(connection, advertiser, event_type, strength="SHARE")
    assert pinned is not None
    return pinned, inserted == 1


async def lock(
    connection: AsyncConnection, advertiser: str, event_type: str, *, strength: str = "UPDATE"
) -> Pin | None:
    """Return the pinned name of an event type and lock it until the transaction ends, or return None."""
    row = await fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM event_names WHERE organisation_id = acting_organisation() "
        f"AND advertiser_id = :advertiser AND event_type = :event_type FOR {strength}",
        advertiser=advertiser,
        event_type=event_type,
    )
    return None if row is None else read_row(Pin, row)


async def rename(connection: AsyncConnection, advertiser: str, event_type: str, to: str) -> Pin:
    """Change a pinned name. The caller audits it and calls `destinations.touch_advertiser`."""
    row = await fetch_one(
        connection,
        "UPDATE event_names SET name = :to, pinned_at = now() "
        "WHERE organisation_id = acting_organisation() "
        f"AND advertiser_id = :advertiser AND event_type = :event_type RETURNING {_COLUMNS}",
        advertiser=advertiser,
        event_type=event_type,
        to=to,
    )
    assert row is not None
    return read_row(Pin, row)


async def of_advertiser(connection: AsyncConnection, advertiser: str) -> list[Pin]:
    """Return the pinned names of an advertiser in order of event type."""
    rows = await fetch(
        connection,
        f"SELECT {_COLUMNS} FROM event_names WHERE organisation_id = acting_organisation() "
        "AND advertiser_id = :advertiser ORDER BY event_type",
        advertiser=advertiser,
    )
    return [read_row(Pin, row) for row in rows]


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
    rows = await fetch(
        connection,
        f"SELECT {_COLUMNS} FROM event_names e WHERE organisation_id = acting_organisation() "
        "AND (CAST(:search AS text) IS NULL OR advertiser_id = :search "
        "  OR position(lower(:search) IN lower(name)) > 0) "
        "AND (CAST(:advertiser AS text) IS NULL "
        "  OR (advertiser_id, event_type) > (CAST(:advertiser AS text), CAST(:event_type AS text))) "
        "AND (CAST(:only AS text[]) IS NULL OR (SELECT bool_and(d.id = ANY (:only)) FROM destinations d "
        "  WHERE d.organisation_id = acting_organisation() AND d.advertiser_id = e.advertiser_id "
        "  AND d.archived_at IS NULL)) "
        "ORDER BY advertiser_id, event_type LIMIT :limit",
        search=search,
        advertiser=None if after is None else after[0],
        event_type=None if after is None else after[1],
        only=None if only is None else list(only),
        limit=limit,
    )
    return [read_row(Pin, row) for row in rows]
