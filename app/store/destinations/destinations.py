"""Destinations. The service writes facts such as `paused`; the database derives the state from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber, LaneId
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one, fetch_value


@dataclass(frozen=True, slots=True)
class ConfiguredRate:
    """The rate limit of an advertiser: requests per second, and burst."""

    requests_per_second: float = 5.0
    burst: int = 5


@dataclass(frozen=True, slots=True)
class DestinationDraft:
    """The settings of a destination that an API caller provides."""

    name: str
    advertiser_id: AdvertiserId
    region: Region
    currency: str
    identity_profile: str
    dataset_name: str | None
    rate: ConfiguredRate


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination. `version` is its ETag and grows with every visible change."""

    id: DestinationId
    number: DestinationNumber
    lane: LaneId
    name: str
    advertiser_id: AdvertiserId
    region: Region
    currency: str
    identity_profile: str
    dataset_name: str | None
    rate: ConfiguredRate
    sign_in: str
    sign_in_reason: str | None
    paused: bool
    published_mappings: int
    state: State
    version: int
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime
    suspended: bool = False  # the organisation is suspended, which pauses all of its destinations
    status_callback: bool = False  # whether final states are reported to the journey engine


_COLUMNS = """
  id, number, lane, name, advertiser_id, region, currency, identity_profile, dataset_name,
  requests_per_second, burst, sign_in, sign_in_reason, paused, suspended, published_mappings, state,
  version,  archived_at, created_at, updated_at,
  EXISTS (SELECT FROM callback_destinations c WHERE c.destination = destinations.number) AS status_callback
"""
_OWN = "organisation_id = acting_organisation()"


def _read(row: RowMapping) -> Destination:
    return read_row(Destination, row, rate=read_row(ConfiguredRate, row))


async def _destination(connection: AsyncConnection, statement: str, **values: object) -> Destination | None:
    row = await fetch_one(connection, statement, **values)
    return None if row is None else _read(row)


async def find(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination, even if it is archived, or None."""
    statement = f"SELECT {_COLUMNS} FROM destinations WHERE {_OWN} AND id = :id"
    return await _destination(connection, statement, id=destination)


async def lock(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination and lock its row until the transaction ends; None if it does not exist."""
    statement = f"SELECT {_COLUMNS} FROM destinations WHERE {_OWN} AND id = :id FOR UPDATE"
    return await _destination(connection, statement, id=destination)


async def create(
    connection: AsyncConnection, destination: DestinationId, draft: DestinationDraft
) -> Destination:
    """Write a new destination, and the lane of its advertiser if there is none."""
    created = await _destination(
        connection,
        f"""
        INSERT INTO destinations (organisation_id, suspended, id, lane, name, advertiser_id, region, currency,
          identity_profile, dataset_name, requests_per_second, burst)
        VALUES (acting_organisation(),
          (SELECT suspended_at IS NOT NULL FROM organisations WHERE id = acting_organisation()),
          :id, :lane, :name, :advertiser_id, :region, :currency, :identity_profile, :dataset_name,
          :requests_per_second, :burst)
        RETURNING {_COLUMNS}
        """,
        id=destination,
        lane=await _lane(connection, draft.region, draft.advertiser_id),
        **_values(draft),
    )
    assert created is not None
    return created


async def change(
    connection: AsyncConnection, destination: DestinationId, draft: DestinationDraft
) -> Destination:
    """Write the settings of a destination, and move it to the lane of its advertiser and region."""
    return await _changed(
        connection,
        destination,
        "lane = :lane, name = :name, advertiser_id = :advertiser_id, region = :region, "
        "currency = :currency, identity_profile = :identity_profile, dataset_name = :dataset_name, "
        "requests_per_second = :requests_per_second, burst = :burst",
        lane=await _lane(connection, draft.region, draft.advertiser_id),
        **_values(draft),
    )


def _values(draft: DestinationDraft) -> dict[str, object]:
    values = asdict(draft)
    rate = values.pop("rate")
    return {**values, **rate, "region": draft.region.value}


async def _lane(connection: AsyncConnection, region: Region, advertiser: AdvertiserId) -> LaneId:
    """Return the lane of an advertiser in a region; create it if there is none."""
    lane = await fetch_value(
        connection, "SELECT lane_of(:region, :advertiser)", region=region.value, advertiser=advertiser
    )
    return LaneId(lane)


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    after: int | None = None,
    search: str | None = None,
    state: State | None = None,
    only: Sequence[str] | None = None,
) -> list[Destination]:
    """Return up to `limit` destinations in order of creation, after the number `after`.

    `search` is an id, or a part of a name or an advertiser id, ignoring case. Archived destinations are
    returned only if `state` selects them. `only` limits the result to these ids.
    """
    rows = await fetch(
        connection,
        f"""
        SELECT {_COLUMNS} FROM destinations
        WHERE {_OWN} AND (CAST(:after AS integer) IS NULL OR number > :after)
          AND (CASE WHEN CAST(:state AS text) IS NULL THEN archived_at IS NULL ELSE state = :state END)
          -- strpos, not LIKE: in a search, % and _ are not patterns.
          AND (CAST(:search AS text) IS NULL OR strpos(lower(name), lower(:search)) > 0
            OR strpos(lower(advertiser_id), lower(:search)) > 0 OR id = :search)
          AND (CAST(:only AS text[]) IS NULL OR id = ANY (:only))
        ORDER BY number LIMIT :limit
        """,
        after=after,
        search=search,
        state=None if state is None else state.value,
        only=None if only is None else list(only),
        limit=limit,
    )
    return [_read(row) for row in rows]


async def of_advertiser(connection: AsyncConnection, advertiser: str) -> list[Destination]:
    """Return and lock the destinations of an advertiser in all regions, without archived ones.

    They are locked in order of their numbers, so that two callers cannot deadlock.
    """
    rows = await fetch(
        connection,
        f"SELECT {_COLUMNS} FROM destinations WHERE {_OWN} "
        "AND advertiser_id = :advertiser AND archived_at IS NULL ORDER BY number FOR UPDATE",
        advertiser=advertiser,
    )
    return [_read(row) for row in rows]


async def ids_of_advertiser(connection: AsyncConnection, advertiser: str) -> list[str]:
    """Return the ids of an advertiser's destinations that are not archived, without locking them."""
    statement = (
        f"SELECT id FROM destinations WHERE {_OWN} AND advertiser_id = :advertiser AND archived_at IS NULL"
    )
    return [row["id"] for row in await fetch(connection, statement, advertiser=advertiser)]


async def names(connection: AsyncConnection, *, only: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return (id, name) of every destination that is not archived, to find similar names."""
    rows = await fetch(
        connection,
        f"SELECT id, name FROM destinations WHERE {_OWN} AND archived_at IS NULL "
        "AND (CAST(:only AS text[]) IS NULL OR id = ANY (:only)) ORDER BY number",
        only=None if only is None else list(only),
    )
    return [(row["id"], row["name"]) for row in rows]


async def everything(connection: AsyncConnection) -> list[Destination]:
    """Return every destination, archived ones included, in order of creation."""
    rows = await fetch(connection, f"SELECT {_COLUMNS} FROM destinations WHERE {_OWN} ORDER BY number")
    return [_read(row) for row in rows]


async def missing(connection: AsyncConnection, destinations: Sequence[str]) -> set[str]:
    """Return those of these ids that belong to no destination of the organisation."""
    statement = f"SELECT id FROM destinations WHERE {_OWN} AND id = ANY (:ids)"
    rows = await fetch(connection, statement, ids=list(destinations))
    return set(destinations) - {row["id"] for row in rows}


async def set_paused(connection: AsyncConnection, destination: DestinationId, paused: bool) -> Destination:
    """Pause or resume the delivery of a destination."""
    return await _changed(connection, destination, "paused = :paused", paused=paused)


async def set_sign_in(
    connection: AsyncConnection, destination: DestinationId, sign_in: str, reason: str | None = None
) -> Destination:
    """Write the state of the sign-in: `none`, `valid`, or `broken` with its reason."""
    return await _changed(
        connection,
        destination,
        "sign_in = :sign_in, sign_in_reason = :reason",
        sign_in=sign_in,
        reason=reason,
    )


async def archive(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Archive a destination permanently."""
    return await _changed(connection, destination, "archived_at = now()")


async def count_published(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Update the number of published mappings, from which the database derives the state."""
    return await _changed(
        connection,
        destination,
        "published_mappings = (SELECT count(*) FROM mappings WHERE destination = :id "
        "AND published_version IS NOT NULL AND archived_at IS NULL)",
    )


async def _changed(
    connection: AsyncConnection, destination: DestinationId, assignments: str, **values: object
) -> Destination:
    changed = await _destination(
        connection,
        f"UPDATE destinations SET {assignments}, version = version + 1, updated_at = now() "
        f"WHERE {_OWN} AND id = :id RETURNING {_COLUMNS}",
        id=destination,
        **values,
    )
    assert changed is not None
    return changed


async def touch(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Increment the version of a destination after a change in another table."""
    return await _changed(connection, destination, "sign_in = sign_in")


async def touch_advertiser(connection: AsyncConnection, advertiser: str) -> None:
    """Increment the version of every destination of an advertiser after a pinned name changed."""
    await execute(
        connection,
        "UPDATE destinations SET version = version + 1, updated_at = now() "
        f"WHERE id IN (SELECT id FROM destinations WHERE {_OWN} "
        "AND advertiser_id = :advertiser AND archived_at IS NULL ORDER BY number FOR UPDATE)",
        advertiser=advertiser,
    )


async def delivered(connection: AsyncConnection, destination: DestinationNumber) -> int:
    """Return how many events of a destination Amazon accepted."""
    statement = "SELECT coalesce(sum(delivered), 0) FROM counts WHERE destination = :number"
    return int(await fetch_value(connection, statement, number=destination))


async def ever_accepted(connection: AsyncConnection, destination: DestinationNumber) -> bool:
    """Return whether a destination ever accepted an event. If so, its advertiser and region are fixed."""
    return bool(
        await fetch_value(
            connection,
            """
            SELECT EXISTS (SELECT FROM counts WHERE destination = :number AND accepted > 0)
              -- The ORDER BY makes the planner use the index. Otherwise it could scan all states to find that
              -- a destination has none.
              OR (SELECT batch FROM batch_states WHERE destination = :number ORDER BY batch LIMIT 1)
                IS NOT NULL
            """,
            number=destination,
        )
    )
