"""A process that lacks an encryption key of the others: its events wait for a process that has the key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.admin.privacy import subjects
from app.crypto import NamedKey, Vault, batch_place
from app.delivery.dispatcher import Dispatcher
from app.store.encryption import note_key
from app.store.privacy import erasures
from tests.pipeline.amazon import items
from tests.pipeline.test_erasing import EMAIL, erase, finished, sent_ids
from tests.pipeline.world import World, event, eventually

K1, K2 = NamedKey("k1", bytes(range(32))), NamedKey("k2", b"2" * 32)
NEW = Vault([K2, K1])


@asynccontextmanager
async def with_new_key(world: World) -> AsyncIterator[None]:
    """Let the API, and workers that start in this block, have the new key as the first one."""
    old = world.delivering
    assert old is not None
    async with world.resources.pool.acquire() as c:
        await note_key(c, "k2")
    world.delivering = replace(old, vault=NEW)
    async with world.new_intake(vault=NEW):
        yield
    world.delivering = old


async def postponed(world: World, number: int = 1) -> None:
    await eventually(lambda: (world.metric("unreadable_batches_total", reason="unknown_key") or 0) >= number)


async def stop(world: World, dispatcher: Dispatcher) -> None:
    (task,) = [task for each, task in world.workers if each is dispatcher]
    dispatcher.stop()
    await task
    world.workers.remove((dispatcher, task))


async def test_no_event_is_dead_and_the_process_with_the_key_delivers(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Other batches of the destination and of its lane are delivered meanwhile; the key is logged once."""
    new, sister = await world.destination(advertiser="77"), await world.destination(advertiser="77")
    without = world.work()
    async with with_new_key(world):
        await world.post(new, event(1), event(2))
        await world.post(new, event(3))
    await postponed(world, 2)
    await world.post(new, event(4))
    await world.post(sister, event(5))
    await world.until(sister, delivered=1)
    await world.until(new, delivered=1, queued=3)
    logged = [
        vars(each)["fields"] for each in caplog.records if each.getMessage() == "encryption_key.missing"
    ]
    assert [(each["key"], each["process"]) for each in logged] == [("k2", world.resources.name)]
    (waits,) = await world.fetch(
        "SELECT min(due_at - now()) > '20 s' AND max(due_at - now()) <= '30 s' AS are_bounded "
        "FROM batch_states WHERE settled_at IS NULL"
    )
    assert waits["are_bounded"]
    async with with_new_key(world):
        world.work()
        await stop(world, without)
        await world.make_due()
        await world.until(new, delivered=4)


async def test_a_retry_waits_too(world: World) -> None:
    """A rotation encrypts the data key of an event that is being retried."""
    dst = await world.destination(event(1), event(2))
    world.amazon.script = lambda _: items("INTERNAL_ERROR", None)
    await world.work_until(dst, delivered=1, retrying=1)
    await world.stop_workers()
    await seal_again(world, NEW)
    world.work()
    world.amazon.script = None
    await world.make_due()
    await postponed(world)
    await world.until(dst, retrying=1, dead=0)
    await seal_again(world, world.resources.vault)
    await world.make_due()
    await world.until(dst, delivered=2)


async def seal_again(world: World, vault: Vault) -> None:
    """Encrypt all data keys with the first key of a vault."""
    async with world.resources.pool.acquire() as c:
        await note_key(c, vault.writes)
    for row in await world.fetch("SELECT batch, data_key FROM batch_states"):
        place = batch_place(row["batch"])
        sealed = vault.seal(NEW.open(row["data_key"], place=place), place=place)
        await world.fetch("UPDATE batch_states SET data_key = $2 WHERE batch = $1", row["batch"], sealed)


async def test_a_key_that_no_process_used_is_damage(world: World) -> None:
    """A flipped bit in the id of a key must not let events wait until they expire."""
    dst = await world.destination(event(1))
    await world.fetch("UPDATE batch_states SET data_key = overlay(data_key placing 'kx'::bytea from 2)")
    await world.work_until(dst, dead=1)


async def test_an_erasure_waits_for_a_process_with_the_key(
    world: World, caplog: pytest.LogCaptureFixture, dst: str
) -> None:
    """It is not finished while the person's events may be in a batch that this process cannot read."""
    without = world.work()
    async with with_new_key(world):
        await world.post(dst, event(2), event(3))
    await postponed(world)
    id = await erase(world)  # noqa: A001
    await eventually(lambda: "erasure.postponed" in {each.getMessage() for each in caplog.records})
    async with world.pool.acquire() as c:
        found = await erasures.find(c, id)
    assert found is not None
    assert (found.finished_at, found.unreadable) == (None, 0)
    async with with_new_key(world):
        world.work()
        await stop(world, without)
        await world.make_due()
        done = await finished(world, id)
        assert (done.waiting, done.unreadable) == (1, 0)
        await world.until(dst, delivered=1, erased=1)


async def test_nothing_leaves_while_a_process_cannot_read_whom_to_erase(world: World) -> None:
    """Its organisation waits; the process that has the key of the erasure sends the others' events."""
    dst, foreign = await world.destination(), await world.destination(organisation="other")
    async with world.resources.pool.acquire() as c:
        await note_key(c, "k2")
    await world.post(dst, event(3), event(4))
    await subjects.erase_person(replace(world.context(), vault=NEW), {"email": EMAIL})
    await world.post(foreign, event(5), organisation="other")
    without = world.work()
    await world.until(foreign, organisation="other", delivered=1)
    assert sent_ids(world) == {"ord-5"}
    async with with_new_key(world):
        world.work()
        await stop(world, without)
        await world.until(dst, delivered=1, erased=1)
    assert sent_ids(world) == {"ord-4", "ord-5"}
