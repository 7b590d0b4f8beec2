"""Two organisations on one pipeline: events, names, duplicates, erasures, pace, suspension and usage."""

import asyncio
from collections import Counter

from sqlalchemy.ext.asyncio import create_async_engine

from app.domain.ids import OrganisationId
from app.store.organisations import organisations, usage
from app.store.organisations.scope import EVERY, prepare_engine, scoped_engine
from tests.event_loop import turns
from tests.pipeline.rows import BY_ORDER
from tests.pipeline.test_erasing import erase
from tests.pipeline.world import World, event

ACME, BETA = OrganisationId("acme"), OrganisationId("beta")
NOWHERE = "dst_" + "9" * 20


async def suspend(world: World, organisation: OrganisationId, suspended: bool) -> None:
    """As the API does."""
    engine = create_async_engine(world.url)
    prepare_engine(engine)
    async with scoped_engine(engine, EVERY).begin() as connection:
        await organisations.set_suspended(connection, organisation, suspended)
    await engine.dispose()


async def test_a_foreign_destination_is_one_that_does_not_exist(world: World) -> None:
    """The same rejection, cached or not, and nothing is counted for its owner."""
    dst = await world.destination(organisation=ACME)
    for _ in ("not cached", "cached"):
        (foreign,) = await world.post(dst, event(1), organisation=BETA)
        (nowhere,) = await world.post(NOWHERE, event(1), organisation=BETA)
        assert (foreign.status, foreign.rejection) == (nowhere.status, nowhere.rejection)
        assert foreign.rejection is not None
        assert foreign.rejection.reason == "destination_unknown"
        await world.post(dst, event(2), organisation=ACME)
    counts = await world.counts(dst, ACME)
    assert (counts["accepted"], counts["rejected"]) == (1, 0)


async def test_names_and_duplicates_are_of_an_organisation(world: World) -> None:
    """On one advertiser: a pinned name binds no other, and a mapped eventId is no foreign duplicate."""
    by_event = {**BY_ORDER, "event_type": {"path": "kind"}}
    one = await world.destination(
        advertiser="7", organisation=ACME, mapping={**by_event, "event_name": "One"}
    )
    two = await world.destination(
        advertiser="7", organisation=BETA, mapping={**by_event, "event_name": "Two"}
    )
    sent = {**event(1), "kind": "OFF_AMAZON_PURCHASES", "order": "o-1"}
    (first,) = await world.post(one, sent, organisation=ACME)
    (second,) = await world.post(two, sent, organisation=BETA)
    assert (first.status, second.status) == ("accepted", "accepted"), (first, second)
    (again,) = await world.post(two, {**sent, "event_id": "other"}, organisation=BETA)
    assert again.status == "duplicate"


async def test_an_erasure_concerns_its_own_organisation(world: World) -> None:
    """The same person, waiting with another organisation, is delivered."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(mine, event(3), organisation=ACME)
    await world.post(theirs, event(3), organisation=BETA)
    await erase(world, organisation=ACME)
    await world.work_until(mine, organisation=ACME, erased=1)
    await world.until(theirs, organisation=BETA, delivered=1)


async def test_a_large_post_is_evaluated_in_slices_with_the_same_results(world: World) -> None:
    """In the same order, rejections included."""
    mine = await world.destination(organisation=ACME)
    events = [event(number) for number in range(120)]
    events[70] = {"event_id": "ord-70"}
    whole = await world.post(mine, *events, organisation=ACME)
    assert [result.event_id for result in whole] == [each["event_id"] for each in events]
    assert [result.index for result in whole if result.status == "rejected"] == [70]
    again = await world.post(mine, *events, organisation=ACME)
    assert Counter(result.status for result in again) == {"duplicate": 119, "rejected": 1}


async def test_a_shutdown_answers_posts_that_are_being_evaluated(world: World) -> None:
    """Some are stored, the others are not accepted; none waits for ever."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(theirs, event(1), organisation=BETA)
    posts = [
        asyncio.create_task(
            world.try_post(mine, *[event(100 * number + n) for n in range(90)], organisation=ACME)
        )
        for number in range(1, 4)
    ]
    await turns(2)
    world.intake.close()
    for results in await asyncio.wait_for(asyncio.gather(*posts), 20):
        assert results is None or {result.status for result in results} == {"accepted"}


async def test_suspended_under_load_and_resumed_every_event_is_delivered_once(world: World) -> None:
    """Nothing is sent while it is suspended; another organisation goes on."""
    mine, theirs = (
        await world.destination(organisation=ACME, rate=50, burst=1),
        await world.destination(organisation=BETA, rate=50, burst=1),
    )
    world.stop_clock()
    world.work()
    accepted = 0
    for number in range(30):
        (result,) = await world.post(mine, event(number), organisation=ACME)
        accepted += result.status == "accepted"
        if number == 10:
            await world.advance(2)
        if number == 15:
            await suspend(world, ACME, True)
    sent = sum(world.amazon.times.values())
    await world.post(theirs, event(100), organisation=BETA)
    await world.advance(60)
    assert (await world.counts(theirs, BETA))["delivered"] == 1
    assert 0 < sum(world.amazon.times.values()) - 1 == sent < accepted
    assert (await world.counts(mine, ACME))["held"] == accepted - sent
    await suspend(world, ACME, False)
    await world.advance(60)
    assert (await world.counts(mine, ACME))["delivered"] == accepted
    assert set(world.amazon.times.values()) == {1}


async def test_usage_is_exact_before_and_after_the_days_are_dropped(world: World) -> None:
    """Events, requests and bytes of each organisation, as its rows say, on both sides of midnight."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(mine, event(1), event(2), organisation=ACME)
    await world.post(theirs, event(3), organisation=BETA)
    await world.work_until(mine, organisation=ACME, delivered=2)
    await world.until(theirs, organisation=BETA, delivered=1)
    await world.pass_midnight()
    await world.post(mine, event(4), organisation=ACME)
    await world.until(mine, organisation=ACME, delivered=3)
    # Of whatever days they are: midnight may also pass while this runs.
    first, last = (await world.fetch("SELECT min(day), max(day) FROM counts"))[0]
    async with world.resources.pool.acquire() as c:
        before = await usage.by_day(c, ACME, first, last)
        stored = await c.fetch(
            "SELECT sum(bytes)::int FROM batch_states s JOIN destinations d ON d.number = s.destination "
            "WHERE d.organisation_id = 'acme' GROUP BY day ORDER BY day"
        )
        used = [(day.events, day.requests, day.bytes) for day in before if day.events]
        assert used == [(2, 1, stored[0][0]), (1, 1, stored[1][0])]
        for day in before:
            await usage.record_day(c, day.day)
        await c.execute("TRUNCATE attempts, batch_states")
        assert await usage.by_day(c, ACME, first, last) == before
