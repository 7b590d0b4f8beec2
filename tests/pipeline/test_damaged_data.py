"""Damaged or missing data of one batch: exactly that batch is a named failure, everything else goes on."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from app.admin.privacy import subjects
from app.crypto import open_batch
from app.store.database.damage import check
from app.store.encryption import access_place
from tests.pipeline.amazon import Request
from tests.pipeline.damaging import HARMLESS, UNREADABLE, Damage, heal_updates, lose_toasted, raise_on_update
from tests.pipeline.service import Service
from tests.pipeline.test_erasing import erase, finished, sent_ids
from tests.pipeline.test_replaying import ask as replay
from tests.pipeline.test_replaying import refuse
from tests.pipeline.world import World, event, eventually


async def spoil(world: World, destination: str, damage: Damage) -> int:
    """Spoil the newest batch of a destination."""
    newest = "SELECT max(batch) FROM batch_states WHERE destination = $1"
    ((batch,),) = await world.fetch(newest, await world.number(destination))
    async with world.resources.pool.acquire() as c:
        await damage(c, batch)
    return int(batch)


async def test_a_damaged_batch_at_the_end_of_a_query_counts_once(service: Service) -> None:
    """The list of consent records reads its batches in queries of 20."""
    world = service.world
    dst = await world.destination()
    await world.post(dst, event(0))
    await world.post(dst, event(1))
    await spoil(world, dst, HARMLESS["shapes: empty"])
    for number in range(2, 21):
        await world.post(dst, event(number))
    path = f"/destinations/{dst}/consent-records"
    page = await service.get(path)
    assert (len(page["items"]), page["unreadable_batches"], page["next_cursor"]) == (20, 1, None)
    first = await service.get(path, limit="19")  # the damaged batch is between two pages
    second = await service.get(path, limit="19", cursor=first["next_cursor"])
    assert (len(second["items"]), second["next_cursor"]) == (1, None)
    assert first["unreadable_batches"] + second["unreadable_batches"] == 1


# So many that their content is stored in chunks.
MANY = 80
FAILED = "claims_failed_total"


@pytest.mark.parametrize("damage", [pytest.param(one, id=name) for name, one in UNREADABLE.items()])
async def test_a_damaged_batch_is_dead_and_its_neighbours_are_delivered(
    service: Service, damage: Damage
) -> None:
    """Counts add up; the sister destination on the same lane has its turn; every view answers."""
    world = service.world
    sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    await world.post(sick, *(event(n) for n in range(MANY)))
    batch = await spoil(world, sick, damage)
    await world.post(sick, event(1001), event(1002))
    await world.post(sister, event(2001))
    (state,) = await world.fetch("SELECT events FROM batch_states WHERE batch = $1", batch)
    extra = state["events"] - MANY
    world.is_damaged = bool(extra)
    if extra:  # so that the sums can add up to what the row claims
        await world.fetch("UPDATE counts SET accepted = accepted + 1 WHERE accepted > 70")
    await world.work_until(sister, delivered=1)
    await world.until(sick, dead=MANY + extra, delivered=2)
    rows = await world.fetch("SELECT reason, code, count(*) AS n FROM exceptions GROUP BY 1, 2")
    assert [tuple(row) for row in rows] == [("unreadable", "MISC_ERROR", MANY + extra)]
    counted = world.resources.telemetry.unreadable_batches.values()
    assert sum(series._value.get() for series in counted) == 1
    await every_view_answers(service, sick)
    history = await service.history(sick, "ord-5")
    assert (history["status"], history["reason"], history["event_id"]) == ("dead", "unreadable", "ord-5")


async def every_view_answers(service: Service, destination: str) -> None:
    by_status, by_execution = {"status": "dead"}, {"execution_id": "x1"}
    pages = (
        ("stats", {}),
        ("events", {}),
        ("events", by_status),
        ("events", by_execution),
        ("consent-records", {}),
    )
    for name, query in pages:
        assert "unreadable_batches" in await service.get(f"/destinations/{destination}/{name}", **query)


@pytest.mark.parametrize("damage", [pytest.param(one, id=name) for name, one in HARMLESS.items()])
async def test_what_delivery_does_without_is_delivered(service: Service, damage: Damage) -> None:
    """Where its shapes are damaged, lists say so and the history still tells the status."""
    world = service.world
    dst = await world.destination(event(1), event(2))
    batch = await spoil(world, dst, damage)
    await world.post(dst, event(3))
    await world.work_until(dst, delivered=3)
    await every_view_answers(service, dst)
    (row,) = await world.fetch(
        "SELECT bytes > 1000000000 AS is_size FROM batch_states WHERE batch = $1", batch
    )
    listed = await service.get(f"/destinations/{dst}/events")
    history = await service.history(dst)
    assert history["status"] == "delivered"
    if row["is_size"]:
        assert (len(listed["items"]), listed["unreadable_batches"]) == (3, 0)
        return
    assert (len(listed["items"]), listed["unreadable_batches"]) == (1, 1)
    assert (history["event_id"], history["event_time"], history["match_keys"]) == ("ord-1", None, [])
    # Only the ledger still knows which mapping converted it.
    assert history["mapping_id"] == f"map_{dst[4:]}"
    assert "damaged" in history["explanation"]


async def test_due_work_that_cannot_be_claimed_backs_off_and_is_named(world: World) -> None:
    """Its siblings are delivered meanwhile, nothing loops hot, and it goes on once the page is healed."""
    sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    await world.post(sick, event(1))
    await spoil(world, sick, UNREADABLE["content: empty"])
    await spoil(world, sick, raise_on_update)
    await world.post(sick, event(2))
    await world.post(sister, event(3))
    await world.work_until(sister, delivered=1)
    await eventually(lambda: (world.metric(FAILED, reason="damaged_data") or 0) >= 4)
    await world.post(sister, event(4))
    await world.until(sister, delivered=2)
    assert (world.metric(FAILED, reason="damaged_data") or 0) < 12
    assert (world.metric("database_errors_total", **{"class": "XX"}) or 0) >= 4
    async with world.pool.acquire() as c:
        await heal_updates(c)
    await world.until(sick, dead=1, delivered=1)


async def test_a_damaged_batch_is_delivered_when_it_is_healed_and_replayed(world: World) -> None:
    """It is a dead letter like others; before it is healed a replay leaves it dead."""
    dst = await world.destination(event(1), event(2))
    (row,) = await world.fetch("SELECT id, content FROM batches")
    await spoil(world, dst, UNREADABLE["content: a flipped bit"])
    await world.work_until(dst, dead=2)
    assert (await replay(world, dst)).replayed == 2
    await world.until(dst, dead=2)
    await world.fetch("UPDATE batches SET content = $2 WHERE id = $1", row["id"], row["content"])
    assert (await replay(world, dst)).replayed == 2
    await world.until(dst, delivered=2)


RETRIED = (
    "content: a flipped bit",
    "data key: empty",
    "batches: row missing",
    "page: chunks missing (XX001)",
)


@pytest.mark.parametrize("damage", [pytest.param(UNREADABLE[name], id=name) for name in RETRIED])
async def test_what_is_retried_alone_is_named_too(world: World, damage: Damage, dst: str) -> None:
    """An event that waits for its own retry lies in the batch that is damaged meanwhile."""
    world.amazon.script = refuse
    await world.post(dst, *(event(n) for n in range(MANY)))
    await world.work_until(dst, dead=MANY)
    await world.stop_workers()
    world.amazon.script = None
    await spoil(world, dst, damage)
    assert (await replay(world, dst)).replayed == MANY
    await world.post(dst, event(1001))
    await world.work_until(dst, dead=MANY, delivered=1)
    reasons = await world.fetch("SELECT DISTINCT reason FROM exceptions")
    assert [row["reason"] for row in reasons] == ["unreadable"]


@pytest.mark.parametrize("damage", ["", "page: chunks missing (XX001)"])
async def test_a_wrong_destination_number_sends_nothing_to_another_advertiser(
    world: World, damage: str
) -> None:
    """A state or retry that names another destination than its batch is unreadable, damaged page or not."""
    right = await world.destination()
    wrong = await world.destination(organisation="org_other")
    await world.post(right, event(1))
    world.amazon.script = refuse
    await world.work_until(right, dead=1)
    assert (await replay(world, right)).replayed == 1
    await world.stop_workers()
    world.amazon.script, world.amazon.requests[:] = None, []
    await world.post(right, event(2), event(3))
    number = await world.number(wrong)
    await world.fetch("UPDATE exceptions SET destination = $1, status = 'retrying', due_at = now()", number)
    await world.fetch("UPDATE batch_states SET destination = $1", number)
    await world.post(wrong, *(event(1000 + n) for n in range(MANY)), organisation="org_other")
    if damage:
        await spoil(world, wrong, UNREADABLE[damage])
        await world.post(wrong, event(5), organisation="org_other")
    world.work()
    waits = "SELECT FROM batch_states WHERE settled_at IS NULL UNION ALL SELECT FROM exceptions "
    waits += "WHERE status = 'retrying'"
    await eventually(lambda: world.fetch(f"SELECT WHERE NOT EXISTS ({waits})"))
    assert sent_ids(world) == ({"ord-5"} if damage else {f"ord-{1000 + n}" for n in range(MANY)})
    reasons = await world.fetch("SELECT DISTINCT reason FROM exceptions WHERE status = 'dead'")
    assert [row["reason"] for row in reasons] == ["unreadable"]


async def test_erasures_pass_over_damaged_batches_and_their_receipts_count_them(world: World) -> None:
    """One batch on a damaged page, one that does not open, one missing; shapes are not needed to erase."""
    dst = await world.destination()
    for number, damage in enumerate((*ERASED_AROUND, HARMLESS["shapes: empty"])):
        await world.post(dst, event(3, event_id=f"of-{number}"), event(100 + number))
        await spoil(world, dst, damage)
    await world.post(dst, *(event(n) for n in range(200, 200 + MANY)))
    await spoil(world, dst, lose_toasted)
    await world.fetch("UPDATE destinations SET paused = true")
    await world.post(dst, event(3, event_id="last"), event(300))
    first, second = await erase(world), await erase(world, email="person300@example.com")
    world.work()
    found, other = await finished(world, first), await finished(world, second)
    assert (found.waiting, found.unreadable) == (2, 3)
    assert (other.waiting, other.unreadable) == (1, 3)
    receipt = await subjects.find_receipt(world.context(), first)
    assert (receipt.status, receipt.unreadable_batches) == ("finished", 3)
    await world.fetch("UPDATE destinations SET paused = false")
    await world.until(dst, erased=3, dead=2 * len(ERASED_AROUND) + MANY, delivered=1)


ERASED_AROUND = (UNREADABLE["content: a flipped bit"], UNREADABLE["batches: row missing"])


async def test_an_erasure_that_is_itself_damaged_stops_no_other(world: World) -> None:
    """Nor delivery; its own receipt says so."""
    dst = await world.destination(event(3), event(4))
    broken = await erase(world, email="person9@example.com")
    await world.fetch("UPDATE erasures SET sealed = set_bit(sealed, 200, 1 - get_bit(sealed, 200))")
    good = await erase(world)
    world.work()
    assert (await finished(world, good)).waiting == 1
    await world.until(dst, erased=1, delivered=1)
    receipt = await subjects.find_receipt(world.context(), broken)
    assert receipt.status == "unreadable"


@pytest.mark.parametrize("column", ["access_token", "refresh_token"])
async def test_a_damaged_token_stops_no_sister(world: World, column: str) -> None:
    """An access token is fetched anew; a refresh token cannot be, and its destination waits alone."""
    sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    await world.fetch(
        f"UPDATE sign_ins SET {column} = set_bit({column}, 200, 1 - get_bit({column}, 200)), "
        "access_until = CASE WHEN $2 THEN now() ELSE access_until END WHERE destination = $1",
        sick,
        column == "refresh_token",
    )
    await world.post(sick, event(1))
    await world.post(sister, event(2))
    await world.work_until(sister, delivered=1)
    await world.until(sick, **{"queued" if column == "refresh_token" else "delivered": 1})


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ä", "t" * 2_049, "a\n"])
async def test_a_token_that_no_header_can_carry_is_fetched_anew_without_a_request(
    world: World, token: str, dst: str
) -> None:
    """An exception would stop the lane."""
    sealed = world.resources.vault.seal(token.encode(), place=access_place(dst))
    await world.fetch("UPDATE sign_ins SET access_token = $2 WHERE destination = $1", dst, sealed)
    await world.post(dst, event(1))
    await world.work_until(dst, delivered=1)
    assert len(world.amazon.requests) == len(world.amazon.tokens) == 1


async def test_the_check_names_every_damaged_batch_and_why(world: World, dst: str) -> None:
    """In bounded statements over ranges of ids, and it can go on where it stopped."""
    await world.post_apart(dst, 7)
    ids = [row["batch"] for row in await world.fetch("SELECT batch FROM batch_states ORDER BY batch")]
    await world.post(dst, *(event(n) for n in range(200, 200 + MANY)))
    on_page = await spoil(world, dst, lose_toasted)
    for batch, statement in zip(
        ids,
        (
            "DELETE FROM batches WHERE id = $1",
            "DELETE FROM batch_states WHERE batch = $1",
            "UPDATE batches SET shapes = '' WHERE id = $1",
            "UPDATE batches SET content = '' WHERE id = $1",
            "UPDATE batch_states SET data_key = '' WHERE batch = $1",
            "UPDATE batch_states SET data_key = NULL, disposition = 'sent', settled_at = now() "
            "WHERE batch = $1",
        ),
        strict=False,
    ):
        await world.fetch(statement, batch)
    opens = partial(open_batch, vault=world.resources.vault)
    async with world.pool.acquire() as c:
        damaged, checked = await check(c, limit=3, opens=opens)
        rest, _ = await check(c, first=ids[-1], limit=3)
    assert {one.batch: one.reason for one in damaged} == {
        ids[0]: "missing",
        ids[1]: "state_missing",
        ids[2]: "shapes",
        ids[3]: "not_opened",
        ids[4]: "not_opened",
        on_page: "XX001",
    }
    assert checked == 8
    assert [one.batch for one in rest] == [on_page]


async def test_a_missing_state_is_reported_as_damage(service: Service) -> None:
    """And not that the event was dropped with its age."""
    dst = await service.world.destination(event(1))
    await service.world.fetch("DELETE FROM batch_states")
    answer = await service.client.get(f"/events/ord-1?destination_id={dst}")
    assert answer.status_code == 404
    assert "its delivery state is missing" in answer.json()["detail"]
    await every_view_answers(service, dst)


async def test_a_damaged_row_does_not_stop_maintenance(world: World, dst: str) -> None:
    """Keys of the other batches are deleted in time, and partitions are made ahead."""
    await world.post_apart(dst, 3)
    await world.fetch("UPDATE batch_states SET disposition = 'sent', settled_at = now() - interval '3 days'")
    await spoil(world, dst, raise_on_update)
    await world.fetch(f"DROP TABLE batches_p{datetime.now(UTC) + timedelta(days=7):%Y%m%d}")
    world.work()
    done = "SELECT FROM batch_states HAVING count(data_key) = 1 AND to_regclass($1) IS NOT NULL"
    partition = f"batches_p{datetime.now(UTC) + timedelta(days=7):%Y%m%d}"
    await eventually(lambda: world.fetch(done, partition))


async def test_an_attempt_whose_row_is_lost_is_made_again(world: World) -> None:
    """Its result cannot be written, so the same bytes are sent again; the sister has its turn."""
    sick, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")

    async def lose_the_row(request: Request) -> None:
        if len(world.amazon.requests) == 1:
            await world.fetch("DELETE FROM attempts")

    world.amazon.script = lose_the_row
    await world.post(sick, event(1))
    world.work()
    await eventually(lambda: world.amazon.requests)
    await world.post(sister, event(2))
    await world.until(sister, delivered=1)
    await world.until(sick, delivered=1)
