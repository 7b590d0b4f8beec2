"""What is sampled of events: rejected ones too, no text of any, and nothing of an erased person."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.batch import expand
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId
from app.domain.observed.fingerprints import match_key_paths
from app.domain.observed.schema_sample import SampleGroup, take_sample
from app.ingest.schema_sampler import SampleBudget, SchemaSampler
from app.store.destinations import schema_samples
from app.store.privacy import erasures
from tests.pipeline.rows import MAPPING, publish
from tests.pipeline.service import serving
from tests.pipeline.test_erasing import erase, finished
from tests.pipeline.test_personal_data_scan import scan
from tests.pipeline.world import BEGAN, World, event, eventually, locked, waits

OPTIONAL: dict[str, Any] = {
    **MAPPING,
    "consent": {"mode": "amazon", "user_data": {"path": "consent.user_data"}},
}


@pytest.fixture
async def sampler(world: World) -> AsyncIterator[SchemaSampler]:
    """The sampler of an intake that replaces the one of the world."""
    async with world.new_intake() as intake:
        yield intake.sampler


def connected(world: World) -> AbstractAsyncContextManager[AsyncConnection]:
    return (world.receiving or world.resources).engine_of(DEFAULT_ORGANISATION).begin()


async def groups(world: World, sampler: SchemaSampler, destination: str) -> list[SampleGroup]:
    await sampler.write()
    async with connected(world) as connection:
        return (await schema_samples.recent(connection, f"map_{destination[4:]}")).groups()


def counted(found: list[SampleGroup]) -> int:
    return sum(sum(group.samples.values()) for group in found)


def words(found: list[SampleGroup], path: str) -> set[str | bytes | None]:
    return {
        entry.word for group in found for sample in group.samples for entry in sample if entry.path == path
    }


def test_a_budget_may_begin_with_more_than_a_later_burst_gets() -> None:
    budget = SampleBudget(capacity=100, per_second=20, updated_at=0.0, tokens=500)

    def sampled(now: float) -> int:
        return [budget.take(now) for _ in range(1_000)].count(True)

    assert [sampled(1.0), sampled(2.0), sampled(3_600.0)] == [500, 20, 100]


async def test_events_that_the_mapping_rejects_are_sampled_too(world: World, sampler: SchemaSampler) -> None:
    """They are what its author needs to see; what the version did with them is recorded."""
    dst = await world.destination()
    results = await world.post(
        dst, *(event(n, event={"timestamp": BEGAN, "total": "x", "brand": "acme"}) for n in range(10))
    )
    assert {result.status for result in results} == {"rejected"}
    await world.post(dst, event(10))
    found = await groups(world, sampler, dst)
    assert {(group.version, group.accepted, counted([group])) for group in found} == {
        (1, True, 1),
        (1, False, 10),
    }


async def test_a_defect_ends_no_sampling(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event that it concerns is lost, and the next ones are sampled soon."""
    answers = itertools.chain([ZeroDivisionError], itertools.repeat(DEFAULT))
    take = Mock(wraps=take_sample, side_effect=answers)
    monkeypatch.setattr("app.ingest.schema_sampler.take_sample", take)
    async with serving(database_url) as service:
        dst = await service.world.destination()
        await service.post(dst, event(1))
        await eventually(lambda: take.called)
        await service.post(dst, event(2))
        await eventually(lambda: service.world.fetch("SELECT 1 FROM schema_samples"))
    assert "job.failed" in [record.message for record in caplog.records]


async def test_an_event_without_consent_is_not_sampled(world: World, sampler: SchemaSampler) -> None:
    """Neither is a repetition, nor an event that no mapping read."""
    dst = await world.destination(mapping=OPTIONAL)
    await world.post(dst, event(1, consent={"user_data": "denied"}), event(2, consent={"user_data": "x"}))
    await world.post(dst, event(3, mapping_id="map_00000000000000000099"))
    await world.post(dst, event(4, consent={"user_data": "granted"}))
    await world.post(dst, event(4, consent={"user_data": "granted"}))
    assert counted(await groups(world, sampler, dst)) == 1


async def test_no_text_of_an_event_is_stored(
    world: World, sampler: SchemaSampler, capsys: pytest.CaptureFixture[str]
) -> None:
    """A marker in every member of accepted and rejected events; the names of members are stored."""
    marker = "Zorblat"
    dst = await world.destination()
    texts = {f"member_{n}": marker * n for n in range(1, 40)}
    lists = {"lists": [marker, {"x": marker}, [marker]], "deep": {"er": {"x": marker}}, "number_7": 7}
    user = {"email": f"{marker}@example.com", "phone": f"+1202555{marker}", "first_name": marker}
    plain = {"timestamp": BEGAN, "total": 3, "brand": marker}
    for n, total in enumerate((3, marker)):
        more = {"user": user, "event": {**plain, "total": total, **texts, **lists}, "id": f"{marker}-{n}"}
        await world.post(dst, event(n, journey={"x": marker}, **more))
    found = await groups(world, sampler, dst)
    assert counted(found) == 2
    assert any(type(word) is bytes for word in words(found, "event.member_1"))
    assert await scan(world, capsys, marker, marker * 2, marker.lower()) == (0, [])
    for row in await world.fetch("SELECT content FROM schema_samples"):
        content = expand(row["content"], 10**7)
        assert b"event.member_39" in content
        assert marker.encode().lower() not in content.lower()
    (kept,) = await world.fetch("SELECT content, closed FROM schema_fingerprints")
    assert marker.encode().lower() not in kept["content"].lower()
    assert kept["closed"] == ["user.email"]


async def test_the_21st_text_of_a_path_deletes_its_fingerprints(world: World, sampler: SchemaSampler) -> None:
    """Those of other paths stay, and members of closed lists are stored as they are."""
    dst = await world.destination()

    def plain(brand: str) -> dict[str, Any]:
        lists = {"kind": "Cart", "currency": "EUR", "gift": True}
        return {"timestamp": BEGAN, "total": 3, "brand": brand, **lists}

    await world.post(dst, *(event(n, event=plain(f"brand {n}")) for n in range(20)))
    found = await groups(world, sampler, dst)
    assert len(words(found, "event.brand")) == 20
    assert None not in words(found, "event.brand")
    await world.post(dst, event(20, event=plain("brand 20")), event(21, event=plain("brand 1")))
    found = await groups(world, sampler, dst)
    assert words(found, "event.brand") == {None}
    assert len(words(found, "event.kind") - {None}) == 1
    assert (words(found, "event.currency"), words(found, "event.gift")) == ({"EUR"}, {"true"})
    assert words(found, "user.email") == {None}
    different = sum((Counter(group.different) for group in found), Counter[str]())
    assert (different["event.brand"], different["event.kind"], different["user.email"]) == (21, 1, 22)


@pytest.mark.parametrize("text", ["a" * 41, "ada@acme", "1-2-3-4-5-6-7-8"])
async def test_long_and_personal_texts_have_no_fingerprint(
    world: World, sampler: SchemaSampler, text: str
) -> None:
    """An address, a phone number, or more than 40 characters."""
    dst = await world.destination(event(1, shop={"name": text, "city": "Bonn"}))
    found = await groups(world, sampler, dst)
    assert words(found, "shop.name") == {None}
    assert None not in words(found, "shop.city")


async def test_a_path_that_a_draft_maps_to_a_match_key_loses_its_fingerprints(
    world: World, sampler: SchemaSampler, dst: str
) -> None:
    """At once, and for later events; members of a mapped object, too."""
    other = {"name": "x", "fields": {"city": {"path": "shop.place"}, "state": "shop.states[1].code"}}
    shop = {"place": {"city": "Bonn"}, "states": [{"code": "NW"}, {"code": "BY"}], "name": "acme"}
    await world.post(dst, event(1, shop=shop))
    assert None not in words(await groups(world, sampler, dst), "shop.place.city")
    async with connected(world) as connection:
        await schema_samples.close_paths(connection, DestinationId(dst), match_key_paths(other))
    (stored,) = await world.fetch("SELECT content FROM schema_fingerprints")
    assert stored["content"] == b""
    await world.post(dst, event(2, shop=shop))
    found = await groups(world, sampler, dst)
    assert words(found, "shop.place.city") == words(found, "shop.states[0].code") == {None}
    assert len(words(found, "shop.name") - {None}) == 1


async def test_an_erasure_deletes_the_samples_of_the_persons_destinations(
    world: World, sampler: SchemaSampler
) -> None:
    """Samples that were taken before it are not written after it, but those of others in the same write."""
    dst, other = await world.destination(), await world.destination()
    for each in (dst, other):
        await world.post(each, *(event(n + 7 * (each == other)) for n in range(5)))
        assert counted(await groups(world, sampler, each)) == 5
    await world.post(dst, event(20))  # not written yet
    await world.post(other, event(30))
    world.work()
    await finished(world, await erase(world))
    assert counted(await groups(world, sampler, dst)) == 0
    assert counted(await groups(world, sampler, other)) == 6
    rows = await world.fetch("SELECT content FROM schema_fingerprints ORDER BY destination")
    assert [bool(row["content"]) for row in rows] == [False, True]
    await world.post(dst, event(21))
    found = await groups(world, sampler, dst)
    assert (counted(found), len(words(found, "event.brand") - {None})) == (1, 1)


async def test_a_lost_sample_delays_no_event(
    world: World, sampler: SchemaSampler, monkeypatch: pytest.MonkeyPatch, dst: str
) -> None:
    """An event is only noted while it is answered; it is sampled later, in slices."""
    take = Mock(wraps=take_sample)
    monkeypatch.setattr("app.ingest.schema_sampler.take_sample", take)
    await world.post(dst, *(event(n) for n in range(50)))
    assert not take.called
    assert counted(await groups(world, sampler, dst)) == take.call_count == 50


async def test_events_are_sampled_while_samples_are_written(world: World, sampler: SchemaSampler) -> None:
    """Otherwise a slow write would keep the contents of all events that arrive meanwhile in memory."""
    dst = await world.destination(event(1))
    running = asyncio.create_task(sampler.run_sampling())
    async with locked(world, "LOCK TABLE schema_fingerprints IN ACCESS EXCLUSIVE MODE"):
        writing = asyncio.create_task(sampler.write())
        await waits(world)
        await world.post(dst, event(2))
        await eventually(lambda: not sampler._waiting, seconds=1)
        assert not writing.done()
    await writing
    assert counted(await groups(world, sampler, dst)) == 2
    running.cancel()


@pytest.mark.parametrize("is_sampled", [True, False])
async def test_an_erasure_during_a_write_drops_what_was_observed_meanwhile(
    world: World, sampler: SchemaSampler, is_sampled: bool, dst: str
) -> None:
    """Of each mapping of the destination, sampled or not: it may be of an event that was erased."""
    mappings = f"map_{dst[4:]}", f"map_2{dst[5:]}"
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await publish(connection, dst, mappings[1], MAPPING, version=1)
    await world.post(dst, *(event(n, mapping_id=mapping) for n, mapping in enumerate(mappings)))
    await sampler.write()
    running = asyncio.create_task(sampler.run_sampling())
    if not is_sampled:
        running.cancel()
    await world.post(dst, event(3, mapping_id=mappings[0]))
    async with world.resources.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE schema_fingerprints IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(sampler.write())
        await waits(world)
        await world.post(dst, event(4, mapping_id=mappings[1]))
        await eventually(lambda: bool(sampler._waiting) is not is_sampled)
        await other.execute("UPDATE schema_fingerprints SET erasures = erasures + 1")
    await writing
    await sampler.write()
    running.cancel()
    rows = await world.fetch("SELECT sum(events) AS events FROM schema_samples")
    assert rows[0]["events"] == 2


async def test_an_erasure_deletes_the_samples_of_a_write_in_progress(
    world: World, sampler: SchemaSampler
) -> None:
    """The write began before the erasure, and commits while the erasure waits for it."""
    dst = await world.destination(event(1))
    await sampler.write()
    await world.post(dst, event(2))
    number = await world.number(dst)

    async def erase_samples() -> None:
        assert world.delivering is not None
        async with world.delivering.pool.acquire() as connection, connection.transaction():
            await erasures.delete_samples(connection, number)

    async with locked(world, "LOCK TABLE mapping_checks IN ACCESS EXCLUSIVE MODE"):
        writing = asyncio.create_task(sampler.write())  # waits after it has written the samples
        await waits(world)
        erasing = asyncio.create_task(erase_samples())
        await waits(world, 2)
    await writing
    await erasing
    assert await world.fetch("SELECT FROM schema_samples") == []
