"""Destinations: the service writes facts; the database derives the state from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber, LaneId
from app.store.partitions import FLUSH_LOCK


@dataclass(frozen=True, slots=True)
class ConfiguredRate:
    """The rate limit of an advertiser: requests per second, and burst."""

    requests_per_second: float = 5.0
    burst: int = 5


@dataclass(frozen=True, slots=True)
class DestinationDraft:
    """The settings that a caller provides; the service derives everything else."""

    name: str
    advertiser_id: AdvertiserId
    region: Region
    currency: str
    identity_profile: str
    dataset_name: str | None
    rate: ConfiguredRate


@dataclass(frozen=True, slots=True)
class Destination:
    """One row. `version` grows with every change that ingest or a reader can see; it is the ETag."""

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
    status_callback: bool = False  # whether final states are reported to the journey engine


_COLUMNS = (
    "id, number, lane, name, advertiser_id, region, currency, identity_profile, dataset_name, "
    "requests_per_second, burst, sign_in, sign_in_reason, paused, published_mappings, state, version, "
    "archived_at, created_at, updated_at, "
    "EXISTS (SELECT FROM callback_destinations c WHERE c.destination = destinations.number) "
    "AS status_callback"
)


def _read(row: RowMapping) -> Destination:
    return Destination(
        id=DestinationId(row["id"]),
        number=DestinationNumber(row["number"]),
        lane=LaneId(row["lane"]),
        name=row["name"],
        advertiser_id=AdvertiserId(row["advertiser_id"]),
        region=Region(row["region"]),
        currency=row["currency"],
        identity_profile=row["identity_profile"],
        dataset_name=row["dataset_name"],
        rate=ConfiguredRate(row["requests_per_second"], row["burst"]),
        sign_in=row["sign_in"],
        sign_in_reason=row["sign_in_reason"],
        paused=row["paused"],
        published_mappings=row["published_mappings"],
        state=State(row["state"]),
        version=row["version"],
        archived_at=row["archived_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status_callback=row["status_callback"],
    )


async def _fetch(connection: AsyncConnection, statement: str, **values: object) -> Destination | None:
    row = (await connection.execute(text(statement), values)).mappings().one_or_none()
    return None if row is None else _read(row)


async def find(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination, archived ones included."""
    return await _fetch(
        connection,
        f"SELECT {_COLUMNS} FROM destinations WHERE organisation_id = acting_organisation() AND id = :id",
        id=destination,
    )


async def lock(connection: AsyncConnection, destination: str) -> Destination | None:
    """Return a destination and lock its row until the transaction ends."""
    return await _fetch(
        connection,
        f"SELECT {_COLUMNS} FROM destinations WHERE organisation_id = acting_organisation() AND id = "
        ":id FOR UPDATE",
        id=destination,
    )


async def hold_flushes(connection: AsyncConnection) -> None:
    """Wait for running flushes and block new ones until the transaction ends.

    For actions that must know that nothing is waiting. Call it before taking any row lock: a flush holds the
    lock shared while it reads destinations.
    """
    # New flushes queue behind this lock: fail early instead of delaying every event.
    await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": FLUSH_LOCK})


async def create(
    connection: AsyncConnection, destination: DestinationId, draft: DestinationDraft
) -> Destination:
    """Write a new destination in its advertiser's lane; create the lane if there is none."""
    created = await _fetch(
        connection,
        "INSERT INTO destinations (organisation_id, suspended, id, lane, name, advertiser_id, "
        "region, currency, identity_profile, "
        "dataset_name, requests_per_second, burst) "
        "VALUES (acting_organisation(), (SELECT suspended_at IS NOT NULL FROM organisations "
        "WHERE id = acting_organisation()), :id, :lane, :name, :advertiser_id, :region, "
        f":currency, :identity_profile, :dataset_name, :requests_per_second, :burst) "
        f"RETURNING {_COLUMNS}",
        id=destination,
        lane=await _lane(connection, draft.region, draft.advertiser_id),
        **_values(draft),
    )
    assert created is not None
    return created


async def change(
    connection: AsyncConnection, destination: DestinationId, draft: DestinationDraft
) -> Destination:
    """Write the caller's settings, and move the destination to the lane that they determine."""
    changed = await _fetch(
        connection,
        "UPDATE destinations SET lane = :lane, name = :name, advertiser_id = :advertiser_id, "
        "region = :region, currency = :currency, identity_profile = :identity_profile, "
        "dataset_name = :dataset_name, requests_per_second = :requests_per_second, burst = :burst, "
        "version = version + 1, updated_at = now() "
        f"WHERE organisation_id = acting_organisation() AND id = :id RETURNING {_COLUMNS}",
        id=destination,
        lane=await _lane(connection, draft.region, draft.advertiser_id),
        **_values(draft),
    )
    assert changed is not None
    return changed


def _values(draft: DestinationDraft) -> dict[str, object]:
    return {
        "name": draft.name,
        "advertiser_id": draft.advertiser_id,
        "region": draft.region.value,
        "currency": draft.currency,
        "identity_profile": draft.identity_profile,
        "dataset_name": draft.dataset_name,
        "requests_per_second": draft.rate.requests_per_second,
        "burst": draft.rate.burst,
    }


async def _lane(connection: AsyncConnection, region: Region, advertiser: AdvertiserId) -> LaneId:
    """Return the lane of (region, advertiser); create it if there is none.

    Reads first, because every upsert would use an identity value and lock the lane's row.
    """
    values = {"region": region.value, "advertiser": advertiser}
    found = "SELECT id FROM lanes WHERE region = :region AND advertiser_id = :advertiser"
    lane = (await connection.execute(text(found), values)).scalar_one_or_none()
    if lane is None:
        created = await connection.execute(
            text(
                "INSERT INTO lanes (region, advertiser_id) VALUES (:region, :advertiser) "
                "ON CONFLICT (region, advertiser_id) DO NOTHING RETURNING id"
            ),
            values,
        )
        lane = created.scalar_one_or_none()
    if lane is None:  # another transaction created it and has committed
        lane = (await connection.execute(text(found), values)).scalar_one()
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

    `search` finds its words in name, advertiser id and id, ignoring case. Archived ones are returned only
    when `state` asks for them. `only` limits the result to these ids.
    """
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM destinations "
            "WHERE organisation_id = acting_organisation() "
            "AND (CAST(:after AS integer) IS NULL OR number > :after) "
            "AND (CASE WHEN CAST(:state AS text) IS NULL THEN archived_at IS NULL ELSE state = :state END) "
            # strpos, not LIKE: in a search, % and _ are not patterns.
            "AND (CAST(:search AS text) IS NULL "
            "  OR strpos(lower(name), lower(:search)) > 0 "
            "  OR strpos(lower(advertiser_id), lower(:search)) > 0 OR id = :search) "
            "AND (CAST(:only AS text[]) IS NULL OR id = ANY (:only)) "
            "ORDER BY number LIMIT :limit"
        ),
        {
            "after": after,
            "search": search,
            "state": None if state is None else state.value,
            "only": None if only is None else list(only),
            "limit": limit,
        },
    )
    return [_read(row) for row in rows.mappings()]


async def of_advertiser(connection: AsyncConnection, advertiser: str) -> list[Destination]:
    """Return and lock the destinations of an advertiser that are not archived, in all regions.

    In order of their numbers, so that two callers cannot deadlock.
    """
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM destinations WHERE organisation_id = acting_organisation() "
            "AND advertiser_id = :advertiser AND archived_at IS NULL ORDER BY number FOR UPDATE"
        ),
        {"advertiser": advertiser},
    )
    return [_read(row) for row in rows.mappings()]


async def ids_of_advertiser(connection: AsyncConnection, advertiser: str) -> list[str]:
    """Return the ids of an advertiser's destinations that are not archived, without locking them."""
    rows = await connection.execute(
        text(
            "SELECT id FROM destinations WHERE organisation_id = acting_organisation() "
            "AND advertiser_id = :advertiser AND archived_at IS NULL"
        ),
        {"advertiser": advertiser},
    )
    return [row.id for row in rows]


async def names(connection: AsyncConnection, *, only: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return (id, name) of every destination that is not archived, to find similar names."""
    rows = await connection.execute(
        text(
            "SELECT id, name FROM destinations WHERE organisation_id = acting_organisation() AND "
            "archived_at IS NULL "
            "AND (CAST(:only AS text[]) IS NULL OR id = ANY (:only)) ORDER BY number"
        ),
        {"only": None if only is None else list(only)},
    )
    return [(row.id, row.name) for row in rows]


async def everything(connection: AsyncConnection) -> list[Destination]:
    """Return every destination, archived ones included, in order of creation."""
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM destinations WHERE organisation_id = acting_organisation() ORDER "
            "BY number"
        )
    )
    return [_read(row) for row in rows.mappings()]


async def missing(connection: AsyncConnection, destinations: Sequence[str]) -> set[str]:
    """Return the members of `destinations` that do not exist."""
    rows = await connection.execute(
        text("SELECT id FROM destinations WHERE organisation_id = acting_organisation() AND id = ANY (:ids)"),
        {"ids": list(destinations)},
    )
    return set(destinations) - {row.id for row in rows}


async def set_paused(connection: AsyncConnection, destination: DestinationId, paused: bool) -> Destination:
    """Pause or resume. The sign-in and the mappings stay unchanged."""
    return await _fact(connection, destination, "paused = :paused", paused=paused)


async def set_sign_in(
    connection: AsyncConnection, destination: DestinationId, sign_in: str, reason: str | None = None
) -> Destination:
    """Write the state of the sign-in: `none`, `valid`, or `broken` with its reason."""
    return await _fact(
        connection,
        destination,
        "sign_in = :sign_in, sign_in_reason = :reason",
        sign_in=sign_in,
        reason=reason,
    )


async def archive(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Archive a destination permanently. Its events and its history stay readable."""
    return await _fact(connection, destination, "archived_at = now()")


async def count_published(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Update the number of published mappings, and with it the state."""
    return await _fact(
        connection,
        destination,
        "published_mappings = (SELECT count(*) FROM mappings WHERE destination = :id "
        "AND published_version IS NOT NULL AND archived_at IS NULL)",
    )


async def _fact(
    connection: AsyncConnection, destination: DestinationId, fact: str, **values: object
) -> Destination:
    changed = await _fetch(
        connection,
        f"UPDATE destinations SET {fact}, version = version + 1, updated_at = now() "
        f"WHERE organisation_id = acting_organisation() AND id = :id RETURNING {_COLUMNS}",
        id=destination,
        **values,
    )
    assert changed is not None
    return changed


async def touch(connection: AsyncConnection, destination: DestinationId) -> Destination:
    """Increment the version of a destination after a change outside its row."""
    return await _fact(connection, destination, "sign_in = sign_in")


async def touch_advertiser(connection: AsyncConnection, advertiser: str) -> None:
    """Increment the version of every destination of an advertiser after a pinned name changed."""
    await connection.execute(
        text(
            "UPDATE destinations SET version = version + 1, updated_at = now() "
            "WHERE id IN (SELECT id FROM destinations WHERE organisation_id = acting_organisation() "
            "AND advertiser_id = :advertiser AND archived_at IS NULL ORDER BY number FOR UPDATE)"
        ),
        {"advertiser": advertiser},
    )


async def delivered(connection: AsyncConnection, destination: DestinationNumber) -> int:
    """Return how many events Amazon accepted."""
    found = await connection.execute(
        text("SELECT coalesce(sum(delivered), 0) FROM counts WHERE destination = :number"),
        {"number": destination},
    )
    return int(found.scalar_one())


async def ever_accepted(connection: AsyncConnection, destination: DestinationNumber) -> bool:
    """Return whether any event was ever accepted. From then on, advertiser and region are fixed."""
    found = await connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM counts WHERE destination = :number AND accepted > 0) "
            # The ORDER BY makes the planner use the index. If one destination has nearly all rows, it would
            # otherwise scan them all for a destination without rows.
            "OR (SELECT batch FROM batch_states WHERE destination = :number ORDER BY batch LIMIT 1) "
            "  IS NOT NULL"
        ),
        {"number": destination},
    )
    return bool(found.scalar_one())
