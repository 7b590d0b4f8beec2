"""What the configuration half of the store promises: races, exactness, conditions, the audit, its tables."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import app.store.access.keys
import app.store.destinations.destinations
import app.store.destinations.sign_ins
import app.store.mappings.event_names
import app.store.organisations.organisations  # noqa: F401 - each module declares its tables
from app.domain.destination import DEFAULT_RATE, DestinationSettings, Region, State
from app.domain.ids import AdvertiserId, DestinationId, KeyId, MappingId
from app.domain.incidents.health import RULES, Condition, Fact
from app.store import mappings
from app.store.access import keys
from app.store.access.keys import ApiKey, KeyGrant
from app.store.destinations import destinations, sign_ins
from app.store.destinations.destinations import Destination
from app.store.destinations.health import condition_sql
from app.store.tables import METADATA
from tests.databases import WAITING_LOCKS
from tests.pipeline.world import eventually
from tests.tables import cases

DRAFT = DestinationSettings(
    name="Acme",
    advertiser_id=AdvertiserId("58"),
    region=Region.NA,
    currency="USD",
    identity_profile="amazon",
    dataset_name=None,
    rate_limit=DEFAULT_RATE,
)
FIRST = DestinationId("dst_aaaaaaaaaaaaaaaaaaaa")
MAPPING = MappingId("map_aaaaaaaaaaaaaaaaaaaa")


async def create(
    engine: AsyncEngine, destination: DestinationId = FIRST, draft: DestinationSettings = DRAFT
) -> Destination:
    async with engine.begin() as connection:
        return await destinations.create(connection, destination, draft)


async def scalar(engine: AsyncEngine, statement: str) -> Any:
    async with engine.begin() as connection:
        return (await connection.execute(text(statement))).scalar_one()


async def test_destinations_made_at_once_share_one_lane(engine: AsyncEngine) -> None:
    """The loser of a race for the lane's row uses the winner's row."""
    ids = [DestinationId(f"dst_{letter * 20}") for letter in "abcdefgh"]
    made = await asyncio.gather(*(create(engine, destination) for destination in ids))
    assert len({destination.lane for destination in made}) == 1
    assert await scalar(engine, "SELECT count(*) FROM lanes") == 1


async def test_a_lane_that_its_last_destination_leaves_is_deleted(engine: AsyncEngine) -> None:
    """A draft that gets many advertisers, one after the other, leaves no lanes behind."""
    await create(engine)
    other = replace(DRAFT, advertiser_id=AdvertiserId("9"))
    second = await create(engine, DestinationId("dst_" + "b" * 20))
    for draft, lanes in ((other, 2), (DRAFT, 1), (other, 2), (replace(other, region=Region.EU), 2)):
        async with engine.begin() as connection:
            changed = await destinations.change(connection, FIRST, draft, moves=True)
        assert await scalar(engine, "SELECT count(*) FROM lanes") == lanes
        assert (changed.lane == second.lane) == (draft == DRAFT)


async def test_organisations_have_a_lane_each(engine: AsyncEngine) -> None:
    """On one advertiser and region. No statement can move a destination to a lane of another one."""
    await create(engine)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO organisations (id, name) VALUES ('acme', 'Acme')"))
        await connection.execute(text("SET LOCAL app.organisation_id = 'acme'"))
        second = await destinations.create(connection, DestinationId("dst_" + "b" * 20), DRAFT)
    assert await scalar(engine, "SELECT count(*) FROM lanes") == 2
    with pytest.raises(DBAPIError, match="foreign key"):
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE destinations SET lane = (SELECT min(id) FROM lanes)"))
    assert second.lane == await scalar(engine, "SELECT lane FROM destinations WHERE organisation_id = 'acme'")


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ("sign_in = 'none'", State.DRAFT),
        ("published_mappings = 1", State.DRAFT),
        ("sign_in = 'valid'", State.CONNECTED),
        ("sign_in = 'valid', published_mappings = 1", State.ACTIVE),
        ("sign_in = 'broken', sign_in_reason = 'revoked', published_mappings = 1", State.NEEDS_RECONNECT),
        ("sign_in = 'broken', sign_in_reason = 'revoked', paused = true", State.PAUSED),
        ("paused = true, archived_at = now()", State.ARCHIVED),
    ],
)
async def test_the_state_follows_from_the_facts(engine: AsyncEngine, facts: str, state: State) -> None:
    """No code writes a state, so none can be written that the facts do not bear."""
    await create(engine)
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE destinations SET {facts}"))
        found = await destinations.find(connection, FIRST)
    assert found is not None
    assert found.state is state


@pytest.mark.parametrize(
    "facts",
    [
        "sign_in = 'broken'",
        "sign_in = 'valid', sign_in_reason = 'revoked'",
        "published_mappings = -1",
        "advertiser_id = E'1\\n'",
        "requests_per_second = 'NaN'",
        "created_at = 'infinity'",
    ],
)
async def test_the_database_refuses_what_cannot_be(engine: AsyncEngine, facts: str) -> None:
    """CHECKs defend the facts against every writer."""
    await create(engine)
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE destinations SET {facts}"))


@cases(
    "statement",
    {
        "an archived destination comes back": "UPDATE destinations SET archived_at = NULL",
        "a destination is archived again": "UPDATE destinations SET archived_at = now()",
        "an archived mapping comes back": "UPDATE mappings SET archived_at = NULL",
        "a published version is edited": "UPDATE mapping_versions SET document = '{}'",
        "a published version goes": "DELETE FROM mapping_versions",
    },
)
async def test_the_database_keeps_what_is_final(engine: AsyncEngine, statement: str) -> None:
    """Archived for good, and published versions immutable, against every writer."""
    made = await create(engine)
    async with engine.begin() as connection:
        await mappings.create(connection, MappingId("map_" + "1" * 16), made.id, {"name": "Cart"})
        await connection.execute(
            text(
                "INSERT INTO mapping_versions (mapping, version, document, published_by) "
                "SELECT id, 1, '{}', 'test' FROM mappings"
            )
        )
        await connection.execute(text("UPDATE mappings SET archived_at = now() - interval '1 hour'"))
        await connection.execute(text("UPDATE destinations SET archived_at = now() - interval '1 hour'"))
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(text(statement))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE destinations SET archived_at = archived_at, name = 'Other'"))


async def test_a_changed_name_touches_the_destinations_of_its_advertiser_at_once(
    engine: AsyncEngine, owner: asyncpg.Connection
) -> None:
    """They are locked in the order of their numbers: two changes cannot deadlock."""
    first, second, other = (DestinationId("dst_" + letter * 20) for letter in "abc")
    await create(engine, first)
    await create(engine, second)
    await create(engine, other, replace(DRAFT, advertiser_id=AdvertiserId("59")))
    await owner.execute("UPDATE destinations SET paused = paused WHERE id = $1", first)  # moves it to the end
    statements = []

    def count(*arguments: Any) -> None:
        statements.append(arguments[2])

    async with engine.begin() as connection:
        for plan in ("indexscan", "bitmapscan"):  # one of the indexes happens to have their order
            await connection.exec_driver_sql(f"SET LOCAL enable_{plan} = off")
        event.listen(engine.sync_engine, "before_cursor_execute", count)
        async with owner.transaction():
            await owner.execute("SELECT FROM destinations WHERE id = $1 FOR UPDATE", first)
            locking = asyncio.create_task(destinations.of_advertiser(connection, DRAFT.advertiser_id))
            await eventually(lambda: owner.fetchval(f"SELECT EXISTS ({WAITING_LOCKS})"))
            await owner.execute("SELECT FROM destinations WHERE id = $1 FOR UPDATE NOWAIT", second)
        await destinations.touch_all(connection, [each.id for each in await locking])
    assert len(statements) == 2
    rows = await owner.fetch("SELECT version FROM destinations ORDER BY number")
    assert [row["version"] for row in rows] == [2, 2, 1]


async def test_mappings_are_read_after_the_wait_for_their_locks(engine: AsyncEngine) -> None:
    """A statement that also joins the version would read the one before a publication that it waited for."""
    await create(engine)
    document = {"name": "M"}
    async with engine.begin() as connection:
        await mappings.create(connection, MAPPING, FIRST, document)
        await mappings.publish(connection, MAPPING, document, "key")
    async with engine.begin() as reading:
        async with engine.begin() as publishing:
            await mappings.publish(publishing, MAPPING, {"name": "Second"}, "key")
            locking = asyncio.create_task(mappings.published_of(reading, [FIRST], lock_rows=True))
            await eventually(lambda: scalar(engine, f"SELECT EXISTS ({WAITING_LOCKS})"))
        [found] = await locking
    assert (found.published_version, found.published) == (2, {"name": "Second"})


async def test_states_of_days_past_are_forgotten(engine: AsyncEngine) -> None:
    """They are swept up as new ones begin."""
    await create(engine)
    for state in (b"old", b"new"):
        async with engine.begin() as connection:
            await sign_ins.begin(
                connection, state_hash=state, destination=FIRST, key=KeyId("k"), sealed_verifier=b"v"
            )
            age = "UPDATE oauth_states SET expires_at = now() - interval '2 days' WHERE state_hash = 'old'"
            await connection.execute(text(age))
    assert await scalar(engine, "SELECT count(*) FROM oauth_states") == 1


async def test_the_generation_of_a_sign_in_grows_across_a_disconnect(engine: AsyncEngine) -> None:
    """A refresh begun before it cannot be taken for one of the new sign-in."""
    await create(engine)
    seen = []
    for forget in (False, True, False):
        async with engine.begin() as connection:
            await sign_ins.store_connection(
                connection,
                FIRST,
                sealed_refresh=b"r",
                sealed_access=b"a",
                lifetime_s=3600,
                connected_by="key",
            )
        seen.append(await scalar(engine, "SELECT generation FROM sign_ins"))
        if forget:
            async with engine.begin() as connection:
                # As if the first sign-in had been a day ago, with a refresh every hour since.
                await connection.execute(text("UPDATE sign_ins SET generation = generation - 86400 + 24"))
                seen[-1] = (await connection.execute(text("SELECT generation FROM sign_ins"))).scalar_one()
                await sign_ins.delete_tokens(connection, FIRST)
    assert seen[2] > seen[1]


async def test_documents_come_back_exactly(engine: AsyncEngine) -> None:
    """Numbers of any length, all of Unicode, and the order of lists."""
    document = {
        "name": "M",
        "a": [Decimal("0.10000000000000000000001"), 10**30, -1, True, None],
        "b": {"ü\u2028": "\U0001f600"},
    }
    await create(engine)
    async with engine.begin() as connection:
        await mappings.create(connection, MAPPING, FIRST, document)
        assert await mappings.publish(connection, MAPPING, document, "key") == 1
        assert await mappings.publish(connection, MAPPING, document, "key") == 2
        found = await mappings.find(connection, FIRST, MAPPING)
        (newest, oldest) = await mappings.versions(connection, MAPPING, limit=5)
    assert found is not None
    assert (found.draft, found.published, found.published_version) == (document, document, 2)
    assert (newest.version, oldest.version, oldest.document) == (2, 1, document)


async def test_a_mapping_cannot_point_at_a_version_that_does_not_exist(engine: AsyncEngine) -> None:
    """The foreign key holds at commit."""
    await create(engine)
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await mappings.create(connection, MAPPING, FIRST, {"name": "M"})
            await mappings.point_at(connection, MAPPING, 7)


async def created_key(connection: AsyncConnection, letter: str) -> ApiKey:
    """Create a key with a digest of this letter."""
    grant = KeyGrant(name="k", scopes=("events:write",), destination_ids=None, expires_at=None)
    id_, digest = KeyId(f"key_{letter * 20}"), letter.encode() * 32
    return await keys.create(connection, id_, grant, hint="ack_", digest=digest, created_by="bootstrap")


async def test_recording_the_use_of_keys_waits_for_no_other_transaction(engine: AsyncEngine) -> None:
    """A key that another one has locked is left out: two processes may record the same keys."""
    async with engine.begin() as connection:
        used = [(await created_key(connection, letter)).id for letter in "ab"]
    async with engine.begin() as other, engine.begin() as connection:
        await other.execute(text("SELECT FROM api_keys WHERE id = :id FOR UPDATE"), {"id": used[0]})
        async with asyncio.timeout(30):
            await keys.note_use(connection, used)
        found = [await keys.find(connection, key) for key in used]
    assert [key is not None and key.last_used_at is not None for key in found] == [False, True]


FACTS = [fact for fact in Fact if fact is not Fact.ANYTHING]


def condition_of(true: set[Fact]) -> Condition:
    """Return the condition in words of its own: what a person at the home page would expect."""
    if Fact.ARCHIVED in true:
        return Condition.DELETED
    if true & {Fact.SIGN_IN_LOST, Fact.CRITICAL}:
        return Condition.NEEDS_ATTENTION
    if Fact.PAUSED in true:
        return Condition.PAUSED
    if Fact.WARNING in true:
        return Condition.NEEDS_ATTENTION
    if Fact.STALLED in true:
        return Condition.STALLED
    if Fact.OPEN_INCIDENT in true:
        return Condition.RECOVERING
    if Fact.NOT_ACTIVE in true:
        return Condition.SETUP
    return Condition.HEALTHY if Fact.RECENT_EVENT in true else Condition.IDLE


async def test_the_sql_decides_as_the_rules_for_all_facts(owner: asyncpg.Connection) -> None:
    """All 512 combinations; a fact that is unknown (null) counts as false."""
    tables = ", ".join(f"(VALUES (true), (NULL)) AS {fact} (yes)" for fact in FACTS)
    names = ", ".join(f"{fact}.yes AS {fact}" for fact in FACTS)
    condition = condition_sql({Fact.ANYTHING: "true"} | {fact: f"{fact}.yes" for fact in FACTS})
    rows = await owner.fetch(f"SELECT {condition} AS condition, {names} FROM {tables}")
    assert len(rows) == 2 ** len(FACTS)
    for row in rows:
        true = {fact for fact in FACTS if row[fact.value]}
        assert row["condition"] == condition_of(true), true


def test_each_condition_and_each_fact_has_a_rule() -> None:
    """The last rule holds for every destination."""
    assert {condition for _, condition in RULES} == set(Condition)
    assert sorted(fact for fact, _ in RULES) == sorted(Fact)
    assert RULES[-1][0] is Fact.ANYTHING


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    """Return what alembic would change in the declared tables: columns, their types, and NOT NULL.

    Only the migrations declare indexes, constraints and defaults, because no statement is made of them.
    """

    def is_compared(_: Any, name: str | None, kind: str, __: bool, ___: Any) -> bool:
        return kind == "column" or (kind == "table" and name in metadata.tables)

    settings = {"compare_type": True, "include_object": is_compared}
    return list(compare_metadata(MigrationContext.configure(connection, opts=settings), metadata))


# SQLAlchemy 2.1 gives a reflected CHECK its `dialect_options` as an option of a dialect `dialect`.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
async def test_alembic_finds_no_difference(engine: AsyncEngine) -> None:
    """Neither a column too many nor one too few, nor another type."""
    assert set(METADATA.tables) == {"destinations", "api_keys", "organisations", "event_names"}
    async with engine.connect() as connection:
        assert await connection.run_sync(differences, METADATA) == []
