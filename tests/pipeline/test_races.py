"""Actions of people and of the pipeline that meet: one waits, or reads before the other commits.

An audited action waits just before its commit while another session holds the lock of the audit.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.admin.destinations import amazon_connection
from app.admin.privacy import subjects
from app.amazon.accounts import Visible
from app.amazon.tokens import Tokens
from app.delivery.settlement import SettlementWriter
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, KeyId
from app.domain.outcomes.settle import RetryPolicy
from app.store import PipelineConnection, Row, attempts, batches, lanes
from app.store.counts import CountWriter
from app.store.destinations import destinations, sign_ins, token_leases
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.rows import MAPPING
from tests.pipeline.service import Service
from tests.pipeline.test_balance import check
from tests.pipeline.test_many_erasures import scanner
from tests.pipeline.world import World, event, eventually, locked, waiting_sessions, waits
from tests.tables import cases

DAY = timedelta(days=1)
DEAD_KEY_LIFE = timedelta(days=7)


@asynccontextmanager
async def before_commit(world: World, action: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Let an audited action wait before its commit during the block; then await it."""
    async with locked(world, "SELECT pg_advisory_xact_lock(7305)"):
        task = asyncio.create_task(action)
        await waits(world)
        yield
    result = await task
    assert not isinstance(result, httpx.Response) or result.status_code == 200, result.text


async def start(
    connection: PipelineConnection, lease: lanes.LaneLease, row: Row, *, events: int
) -> attempts.StartedAttempt | None:
    """Start an attempt with the token of the first sign-in."""
    return await attempts.start(
        connection,
        lease,
        destination=row["number"],
        worker="w",
        batches=[row["batch"]],
        places=None,
        events=events,
        generation=1,
        erasures=0,
    )


async def reconnect(service: Service, dst: str) -> None:
    """Store the tokens of a finished sign-in."""
    context = service.application.state.context.within(DEFAULT_ORGANISATION)
    async with context.engine.connect() as connection:
        destination = await destinations.find(connection, dst)
    assert destination is not None
    pending = sign_ins.PendingSignIn(DEFAULT_ORGANISATION, DestinationId(dst), KeyId("key_test"), b"")
    await amazon_connection._store_connection(
        context,
        amazon_connection.SpentSignIn(pending, b"", destination),
        Tokens("Atza|2", "Atzr|2", 3600),
        Visible("USD", "Acme"),
    )


@cases("by", {"a refusal of its token": "refusal", "an attempt with its token": "attempt"})
async def test_an_earlier_sign_in_has_no_effect_after_a_new_one(service: Service, by: str) -> None:
    """What began before the commit of the new sign-in waits for it, and then sees it."""
    world = service.world
    dst = await world.destination(event(1))
    [row] = await world.fetch("SELECT batch, lane, number FROM batch_states, destinations")
    async with world.resources.pool.acquire() as connection, connection.transaction():
        lease = await lanes.acquire(connection, row["lane"], "w", lease=timedelta(minutes=1))
        assert lease is not None
        late: Awaitable[object]
        if by == "attempt":
            late = start(connection, lease, row, events=1)
        else:
            late = token_leases.park(connection, DestinationId(dst), 1, "forbidden")
        async with before_commit(world, reconnect(service, dst)):
            task = asyncio.ensure_future(late)
            await waits(world, 2)
        assert not await task
    [row] = await world.fetch("SELECT state FROM destinations")
    assert row["state"] == "active"


async def test_an_action_on_a_destination_delays_no_row_that_refers_to_it(service: Service) -> None:
    """The process that records rejections would wait for several actions at once, and they for each other."""
    world = service.world
    dst = await world.destination()
    async with before_commit(world, service.send(f"/destinations/{dst}/pause")):
        await world.fetch(
            "INSERT INTO rejection_records (organisation_id, destination, received_at, code, reason) "
            "SELECT organisation_id, number, now(), 'BAD_REQUEST', 'no_match_key' FROM destinations"
        )


@cases(
    "method, body",
    {
        "a delete": ("DELETE", None),
        "a change": ("PATCH", {"name": "B", "alerting": {"backlog": {"minutes": 5}}}),
        "a pause": ("POST", None),
        "the first publish of a name": ("PUBLISH", None),
    },
)
async def test_an_action_on_a_destination_does_not_wait_for_an_erasure(
    service: Service, method: str, body: Any
) -> None:
    """An erasure locks the lanes, and waits for a delete's flush lock, or for a worker that waits too."""
    world = service.world
    dst = await world.destination()
    path = f"/destinations/{dst}/pause" if method == "POST" else f"/destinations/{dst}"
    if method == "PUBLISH":
        [mapping] = await service.all_items(f"/destinations/{dst}/mappings")
        method, path = "POST", f"/destinations/{dst}/mappings/{mapping['id']}"
        await service.client.patch(path, json={"country_code": "DE"})
        await world.fetch("DELETE FROM event_names")
        path += "/publish"
    async with locked(world, "SELECT FROM lanes FOR UPDATE"):
        response = await service.client.request(method, path, json=body)
    assert response.status_code == 200, response.text


async def test_the_first_401s_do_not_wait_for_an_action_on_the_destination(world: World) -> None:
    """Until they are recorded, the destination gets no new token. Two requests had the same token."""
    dst = DestinationId(await world.destination(event(1)))
    async with locked(world, "SELECT FROM destinations FOR UPDATE"), world.resources.pool.acquire() as one:
        assert not await token_leases.record_refusal(one, dst, 1)
        assert not await token_leases.record_refusal(one, dst, 1)
    [row] = await world.fetch("SELECT forced_at, access_until FROM sign_ins")
    assert row["forced_at"] == row["access_until"]


async def test_a_sign_in_that_is_revoked_while_it_is_disconnected_ends_once(service: Service) -> None:
    """Both lock the destination first, so there is no deadlock."""
    world = service.world
    dst = await world.destination(event(1))
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    world.amazon.token_server = answered = asyncio.Event()
    world.amazon.token_answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    world.work()
    await eventually(lambda: world.amazon.unanswered)
    async with locked(world, "SELECT FROM sign_ins FOR UPDATE"):
        answered.set()
        await waits(world)
        disconnecting = asyncio.create_task(service.send(f"/destinations/{dst}/disconnect"))
        await waits(world, 2)
    response = await disconnecting
    assert response.status_code == 200, response.text
    assert response.json()["reason"] == "disconnected"


@cases("first", {"the replay comes first": "replay", "the deletion comes first": "deletion"})
async def test_a_replay_and_the_deletion_of_data_keys_do_not_wait_for_each_other(
    service: Service, first: str
) -> None:
    """The events of the replay keep their key, and the batch of a delivered event loses its key."""
    world = service.world
    world.amazon.script = refuse_odd
    dst = await world.destination(event(1))
    await world.post(dst, event(2))
    world.work()
    await world.until(dst, dead=1, delivered=1)
    await world.stop_workers()
    world.amazon.script = None
    await world.fetch("UPDATE batch_states SET settled_at = now() - interval '6 days'")
    await world.fetch("UPDATE exceptions SET changed_at = now() - interval '6 days'")
    replay = service.send(f"/destinations/{dst}/replay", dry_run=False)
    async with world.resources.pool.acquire() as connection, connection.transaction():
        if first == "replay":
            async with before_commit(world, replay):
                assert await batches.delete_data_keys(connection, after=DAY, dead_after=DAY) == 1
        else:
            assert await batches.delete_data_keys(connection, after=DAY, dead_after=DEAD_KEY_LIFE) == 1
            assert (await replay).json()["replayed"] == 1
    await world.work_until(dst, delivered=2)


@pytest.mark.parametrize("action", ["replay", "dead-letters/dismiss"])
async def test_a_search_for_dead_letters_locks_no_destination(service: Service, action: str) -> None:
    """It may read thousands of batches, and pausing and delivery wait for the lock."""
    world = service.world
    world.amazon.script = refuse_odd
    dst = await world.destination(event(1))
    await world.work_until(dst, dead=1)
    await world.stop_workers()
    body = {"dry_run": False, "status": "dead", "mapping_id": f"map_{1:020d}"}
    async with locked(world, "LOCK TABLE batches"):
        searching = asyncio.create_task(service.send(f"/destinations/{dst}/{action}", **body))
        await waits(world)
        await world.fetch("SELECT FROM destinations FOR UPDATE NOWAIT")
    assert (await searching).status_code == 200


async def test_an_erasure_beside_the_recovery_of_an_attempt_is_counted(world: World) -> None:
    """The recovered batch counts the events that the erasure left in it."""
    await world.destination(event(1), event(2))
    [row] = await world.fetch("SELECT batch, day, lane, number FROM batch_states, destinations")
    erasing = await scanner(world)
    erasing.values = {
        DEFAULT_ORGANISATION: dict.fromkeys(subjects.values_of({"email": "person1@example.com"}), "era")
    }
    pool = world.resources.pool
    async with pool.acquire() as one, pool.acquire() as other:
        lease = await lanes.acquire(one, row["lane"], "w", lease=timedelta(minutes=1))
        assert lease is not None
        assert await start(one, lease, row, events=2)
        [attempt] = await attempts.unsettled(one, [lease.id])

        async def recover() -> None:
            async with other.transaction():
                writer = SettlementWriter(other, lease, CountWriter(1))
                await writer.write_recovered(attempt, policy=RetryPolicy(), jitter=0.0)

        async with one.transaction():
            assert await erasing.rewrite(one, row["batch"], row["day"])
            recovery = asyncio.create_task(recover())
            await waits(world)
        await recovery
    assert await check(pool) == []


async def other_destination(
    service: Service, types: Sequence[str] = (MAPPING["event_type"],)
) -> tuple[str, str]:
    """Create a destination of another advertiser with published mappings; return its id and the last's."""
    made = await service.do(
        "/destinations", {"name": "B", "advertiser_id": "88", "region": "NA", "currency": "USD"}
    )
    for each in types:
        mapping = await service.do(f"/destinations/{made['id']}/mappings", {**MAPPING, "event_type": each})
        await service.do(f"/destinations/{made['id']}/mappings/{mapping['id']}/publish", {})
    return made["id"], mapping["id"]


async def test_a_rename_covers_a_destination_that_takes_the_advertiser_meanwhile(service: Service) -> None:
    """Its mapping is published again too. Otherwise all its events would be rejected."""
    world = service.world
    await world.destination(advertiser="77")
    moved, mapping = await other_destination(service)
    await world.fetch(
        "INSERT INTO event_names (advertiser_id, event_type, name) VALUES ('77', $1, $2)",
        *(MAPPING["event_type"], MAPPING["event_name"]),
    )
    path = f"/advertisers/77/event-names/{MAPPING['event_type']}/rename"
    move = service.client.patch(f"/destinations/{moved}", json={"advertiser_id": "77"})
    async with before_commit(world, move):
        renaming = asyncio.create_task(service.send(path, to="Other name"))
        await waits(world, 2)
    assert len((await renaming).json()["mappings"]) == 2
    versions = await service.all_items(f"/destinations/{moved}/mappings/{mapping}/versions")
    assert versions[0]["mapping"]["event_name"] == "Other name"


async def test_a_destination_takes_the_advertiser_and_publishes_beside_a_rename(service: Service) -> None:
    """Each waits only for rows that the other has not locked before."""
    world = service.world
    [moved, mapping], [renamed, _] = [await other_destination(service) for _ in range(2)]
    await service.client.patch(f"/destinations/{renamed}", json={"advertiser_id": "77"})
    changed = f"/destinations/{moved}/mappings/{mapping}"
    await service.client.patch(changed, json={"country_code": "DE"})
    path = f"/advertisers/77/event-names/{MAPPING['event_type']}/rename"
    async with locked(world, "SELECT FROM event_names FOR SHARE"):
        renaming = asyncio.create_task(service.send(path, to="Other name"))
        await waits(world)
        move = await service.client.patch(f"/destinations/{moved}", json={"advertiser_id": "77"})
        publishing = asyncio.create_task(service.send(f"{changed}/publish"))

        async def is_under_way() -> bool:
            return publishing.done() or await waiting_sessions(world) > 1

        await eventually(is_under_way)
    responses = [move, await publishing, await renaming]
    assert [each.status_code for each in responses] == [200] * 3, [each.text for each in responses]
    assert len(responses[-1].json()["mappings"]) == 2


async def test_a_destination_takes_the_advertiser_beside_a_flush_that_pins_the_same_names(
    service: Service,
) -> None:
    """It waits for the first name before it pins another, for which the flush would wait."""
    moved, _ = await other_destination(service, ["LEAD", "CHECKOUT"])
    pin = "INSERT INTO event_names (advertiser_id, event_type, name) VALUES ('77', '{}', 'x')"
    async with locked(service.world, pin.format("CHECKOUT")) as flush:
        move = service.client.patch(f"/destinations/{moved}", json={"advertiser_id": "77"})
        moving = asyncio.create_task(move)
        await waits(service.world)
        await flush.execute(pin.format("LEAD"))
    assert (await moving).status_code == 200


async def test_a_limited_key_renames_in_no_destination_that_it_may_not_see(service: Service) -> None:
    """It takes the advertiser while the rename waits."""
    world = service.world
    seen, _ = await other_destination(service)
    await service.client.patch(f"/destinations/{seen}", json={"advertiser_id": "77"})
    hidden, mapping = await other_destination(service)
    scopes = ["destinations:read", "destinations:write"]
    key = await service.do("/keys", {"name": "limited", "scopes": scopes, "destination_ids": [seen]})
    path = f"/advertisers/77/event-names/{MAPPING['event_type']}/rename"
    headers = {"X-Api-Key": key["key"]}
    move = service.client.patch(f"/destinations/{hidden}", json={"advertiser_id": "77"})
    async with before_commit(world, move):
        body = {"to": "Other name"}
        renaming = asyncio.create_task(service.client.post(path, json=body, headers=headers))
        await waits(world, 2)
    assert (await renaming).status_code == 403
    versions = await service.all_items(f"/destinations/{hidden}/mappings/{mapping}/versions")
    assert len(versions) == 1


@cases(
    "past, status",
    {"a second past the limit": (timedelta(seconds=1), "held"), "minutes": (timedelta(minutes=2), "expired")},
)
async def test_maintenance_expires_no_event_that_was_just_claimed(
    world: World, past: timedelta, status: str
) -> None:
    """An attempt that is not committed yet is invisible to it, and its events are sent."""
    dst = await world.destination(event(1))
    await world.fetch("UPDATE destinations SET paused = true")
    age = timedelta(days=21) + past
    await world.fetch(
        "UPDATE batch_states SET (first_event, last_event) = (now() - $1::interval, now() - $1)", age
    )
    dispatcher = world.work()
    async with world.resources.pool.acquire() as connection:
        await dispatcher.maintenance._expire(connection)
    assert (await world.counts(dst))[status] == 1
