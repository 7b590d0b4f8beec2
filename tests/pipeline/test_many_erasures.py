"""Many erasures cost about as much as one, and a search finds a person wherever an erasure would."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from app.admin.privacy import subjects
from app.admin.privacy.subjects import SubjectSearch, find_person
from app.delivery import erasure as scanning
from app.delivery.erasure import ErasureScanner
from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.store.encryption import erasure_place
from app.store.privacy import erasures
from tests.pipeline.test_erasing import erase, stored_bodies
from tests.pipeline.world import World, event, waits

PERSONS = 100


async def scanner(world: World) -> ErasureScanner:
    """Return the scanner of a worker that has stopped."""
    erasing = world.work().erasing
    await world.stop_workers()
    return erasing


async def unfinished(world: World) -> int:
    (row,) = await world.fetch("SELECT count(*) FROM erasures WHERE finished_at IS NULL")
    return int(row["count"])


async def test_each_erasure_of_many_finds_its_person(world: World) -> None:
    """Persons in one large batch and in batches of their own, all in one scan."""
    dst = await world.destination(*(event(number) for number in range(PERSONS)))
    for number in range(PERSONS, PERSONS + 20):
        await world.post(dst, event(number))
    await world.work_until(dst, delivered=PERSONS + 20)
    await world.stop_workers()
    for number in range(0, PERSONS + 20, 2):
        await erase(world, email=f"person{number}@example.com")
    erasing = await scanner(world)
    await erasing.scan()
    assert await unfinished(world) == 0
    receipts = await world.fetch("SELECT waiting, dead, delivered, unreadable FROM erasures")
    assert Counter(tuple(row) for row in receipts) == {(0, 0, 1, 0): PERSONS // 2 + 10}
    (row,) = await world.fetch("SELECT count(*) FROM exceptions WHERE erased_at IS NOT NULL")
    assert row["count"] == PERSONS // 2 + 10
    assert erasing.values == {}


async def test_a_scan_reads_each_event_once_and_locks_only_batches_with_erased_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of erasures changes neither; another organisation's batches are not decrypted."""
    await world.fetch("INSERT INTO organisations (id, name) VALUES ('other', 'Other')")
    mine, foreign = await world.destination(), await world.destination(organisation="other")
    for number in range(10):
        await world.post(mine, *(event(10 * number + each) for each in range(10)))
        await world.post(foreign, event(number), organisation="other")
    for number in range(PERSONS):
        await erase(world, email=f"absent{number}@example.com")
    await erase(world, email="person3@example.com")
    erasing = await scanner(world)
    reads, opens = Mock(wraps=scanning.carried_key), Mock(wraps=scanning.open_batch)
    locks = AsyncMock(wraps=erasures.lock)
    monkeypatch.setattr(scanning, "carried_key", reads)
    monkeypatch.setattr(scanning, "open_batch", opens)
    monkeypatch.setattr(scanning.erasures, "lock", locks)
    await erasing.scan()
    assert await unfinished(world) == 0
    assert locks.await_count == 1
    assert opens.call_count == 11  # the batch of the person is read again under its lock
    bodies = Counter(call.args[0] for call in reads.call_args_list)
    assert len(bodies) == 100
    assert max(bodies.values()) <= 2


async def test_an_erasure_whose_values_were_read_is_not_decrypted_again(world: World) -> None:
    """Every lane reads the pending erasures, so that each request would decrypt all earlier ones."""
    for number in range(5):
        await erase(world, email=f"person{number}@example.com")
    erasing = await scanner(world)
    erasing.worker.vault = vault = Mock(wraps=erasing.worker.vault)
    async with world.resources.pool.acquire() as connection:
        await erasing.refresh(connection)
        first = vault.open.call_count
        await erase(world, email="person9@example.com")
        assert len(await erasing.refresh(connection)) == 6
    assert vault.open.call_count == first + 1
    assert vault.open.call_args.kwargs["place"].startswith(erasure_place("era_"))


async def test_no_value_is_missing_while_a_finished_erasure_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that reads the values meanwhile would send the events of a person."""
    erasing = await scanner(world)
    for number in range(2):
        await erase(world, email=f"person{number}@example.com")
    values: list[Any] = []
    pending = erasures.pending

    async def note(connection: Any, *, known: Any) -> Any:
        found = await pending(connection, known=known)
        values.append(erasing.values.get(OrganisationId("default")))
        return found

    async with world.resources.pool.acquire() as connection:
        await erasing.refresh(connection)
        await world.fetch(
            "UPDATE erasures SET finished_at = now(), sealed = NULL "
            "WHERE number = (SELECT max(number) FROM erasures)"
        )
        monkeypatch.setattr(scanning.erasures, "pending", note)
        await erasing.refresh(connection)
    assert len(values) == 2
    assert all(values)
    assert len(erasing.values.get(OrganisationId("default"))) > 0


async def test_a_scan_leaves_the_loop_to_other_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each batch it rests nine times as long as it computed."""
    dst = await world.destination()
    await world.post_apart(dst, 3)
    await erase(world, email="absent@example.com")
    erasing = await scanner(world)
    rests = list[float]()
    sleep, opened = asyncio.sleep, scanning.open_batch

    async def note(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0)

    def compute(*arguments: Any) -> Any:
        began = time.thread_time()
        while time.thread_time() - began < 0.002:
            pass
        return opened(*arguments)

    monkeypatch.setattr(scanning.asyncio, "sleep", note)
    monkeypatch.setattr(scanning, "open_batch", compute)
    await erasing.scan()
    assert len(rests) == 3
    assert min(rests) >= 9 * 0.002


async def test_a_scan_notes_its_progress_within_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of large batches takes longer than the lease: workers would take it from each other for ever."""
    monkeypatch.setattr(scanning, "_NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(scanning, "_MOST_EVENTS", 1)
    dst = await world.destination()
    await world.post_apart(dst, 3)
    erasing = await scanner(world)
    await erase(world, email="person1@example.com")
    await world.execute(
        """
        CREATE TABLE progress (owner text, scanned_to bigint);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN INSERT INTO progress SELECT owner, NEW.scanned_to FROM job_leases; RETURN NEW; END $$;
        CREATE TRIGGER note AFTER UPDATE OF scanned_to ON erasures FOR EACH ROW EXECUTE FUNCTION note()
        """
    )
    await erasing.scan()
    noted = {tuple(row) for row in await world.fetch("SELECT owner, scanned_to FROM progress")}
    stored = await world.fetch("SELECT id FROM batches")
    assert noted == {(erasing.worker.name, row["id"]) for row in stored}
    (receipt,) = await world.fetch("SELECT scanned, waiting, unreadable FROM erasures")
    assert tuple(receipt) == (3, 1, 0)


async def search(
    world: World, *, after: int = 0, monotonic: Callable[[], float] | None = None, **fields: str
) -> SubjectSearch:
    context = world.context()
    context = replace(context, monotonic=monotonic or context.monotonic)
    _, found = await find_person(context, fields, after=after)
    return found


async def test_a_person_is_found_by_destination_and_status(world: World) -> None:
    """Delivered and waiting events of two destinations; other people are not counted."""
    first, second = await world.destination(), await world.destination()
    await world.post(first, event(3), event(4))
    await world.work_until(first, delivered=2)
    await world.stop_workers()
    await world.post(second, event(5))
    await world.post(second, {**event(3), "event_id": "again"}, event(6))
    found = await search(world, email=" Person3@Example.com ")
    assert found.events == {(first, "delivered"): 1, (second, "waiting"): 1}
    assert (found.batches, found.unreadable, found.cursor) == (3, 0, None)
    by_hash = await search(world, hash=(await hashed(world)))
    assert by_hash.events == found.events
    assert (await search(world, email="nobody@example.com")).events.total() == 0
    assert "person3" not in repr(found)


async def hashed(world: World) -> str:
    """Return the match key of the person, as Amazon received it."""
    bodies = [body for request in world.amazon.requests for body in request.events]
    keys = [value for body in bodies for key in body["matchKeys"] for value in key["values"]]
    return str(keys[0])


async def test_a_search_out_of_time_goes_on_where_it_stopped(world: World, dst: str) -> None:
    """Each request searches for some seconds; the sum of the parts is the whole."""
    for number in range(25):
        await world.post(dst, {**event(3), "event_id": f"e{number}"})
    ticks = iter(range(0, 10_000, 100))
    part = await search(world, email="person3@example.com", monotonic=lambda: next(ticks))
    assert part.cursor is not None
    rest = await search(world, email="person3@example.com", after=part.cursor)
    assert rest.cursor is None
    assert part.events.total() + rest.events.total() == 25


async def test_two_workers_rewrite_a_batch_one_after_the_other(world: World) -> None:
    """The second waits for the first, and then opens the new content with the new key."""
    await world.destination(*(event(number) for number in range(4)))
    [batch] = await world.fetch("SELECT batch, day FROM batch_states")
    first, second = await scanner(world), await scanner(world)
    for number, each in enumerate((first, second)):
        found = subjects.values_of({"email": f"person{number}@example.com"})
        each.values = {DEFAULT_ORGANISATION: dict.fromkeys(found, f"erasure {number}")}
    pool = world.resources.pool
    async with pool.acquire() as one, pool.acquire() as other:
        async with one.transaction():
            assert await first.rewrite(one, batch["batch"], batch["day"])
            waiting = asyncio.create_task(second.rewrite(other, batch["batch"], batch["day"]))
            await waits(world)
        assert await waiting
    assert len(await stored_bodies(world)) == 2
