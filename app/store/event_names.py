"""Pinned event names: in an organisation, the first name of (advertiser, event type) is the only one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class Pin:
    """The name that all conversions of an event type have for an advertiser, in every region."""

    advertiser_id: str
    event_type: str
    name: str
    pinned_at: datetime


_COLUMNS = "advertiser_id, event_type, name, pinned_at"


async def pin(connection: AsyncConnection, advertiser: str, event_type: str, name: str) -> tuple[Pin, bool]:
    """Pin `name` if nothing is pinned. Return the pinned name, and whether it is new.

    Of two concurrent calls, the second waits for the first's commit and returns its name. The row stays
    locked against renaming until the transaction ends.
    """
    values = {"advertiser": advertiser, "event_type": event_type}
    inserted = await execute(
        connection,
        "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
        "VALUES (acting_organisation(), :advertiser, :event_type, :name) ON CONFLICT DO NOTHING",
        **values,
        name=name,
    )
    # A statement of its own: the snapshot of the insert cannot see the row that it conflicted with.
    row = await fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM event_names "
        "WHERE organisation_id = acting_organisation() "
        "AND advertiser_id = :advertiser AND event_type = :event_type FOR SHARE",
        **values,
    )
    assert row is not None
    return read_row(Pin, row), inserted == 1


async def lock(connection: AsyncConnection, advertiser: str, event_type: str) -> Pin | None:
    """Return a pin and lock it until the transaction ends."""
    row = await fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM event_names "
        "WHERE organisation_id = acting_organisation() "
        "AND advertiser_id = :advertiser AND event_type = :event_type FOR UPDATE",
        advertiser=advertiser,
        event_type=event_type,
    )
    return None if row is None else read_row(Pin, row)


async def rename(connection: AsyncConnection, advertiser: str, event_type: str, to: str) -> Pin:
    """Change a pinned name. The caller audits it and increments the versions of the advertiser."""
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
    """Return the pinned names of an advertiser by event type."""
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
    """Return up to `limit` pinned names by advertiser and event type.

    `search` is an advertiser id or a part of a name. `only` limits them to advertisers with no other
    destinations than these.
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
